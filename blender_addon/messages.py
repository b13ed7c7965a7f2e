# SPDX-License-Identifier: GPL-3.0-or-later
"""From an error's code to an artist's words: a headline, what to do in Blender, and details to copy; knows no bpy."""

from __future__ import annotations

import platform
import traceback
from dataclasses import dataclass

from ..interngs import __version__
from ..interngs.errors import InternGSError

HEADLINES = {
    "address-invalid": "That is no server address",
    "base-empty": "There are no Gaussians",
    "blob-missing": "The backend no longer has these data",
    "camera-gone": "A camera was removed",
    "camera-no-scale": "A camera has no size",
    "camera-not-perspective": "Only perspective cameras can be used",
    "camera-sheared": "A camera is mirrored or sheared",
    "cameras-do-not-overlap": "The cameras share no view",
    "capability-missing": "This backend is too old for that",
    "capture-interrupted": "The capture was interrupted",
    "clean-flat-region": "The crop is flat",
    "clean-no-cameras": "A filter lacks its cameras or depth",
    "clean-setting": "A filter's number is out of range",
    "cycles-disabled": "Cycles is switched off",
    "depth-shape": "That file is no depth map",
    "disk-full": "A disk is full",
    "export-frames": "The frame range is the wrong way round",
    "export-no-name": "The file has no name",
    "export-nothing": "There is nothing to export",
    "export-same-file": "Two splats would become one file",
    "file-changed": "A photograph changed while it was sent",
    "floor-picks": "Those points make no floor",
    "floor-points": "No floor was found",
    "hash-mismatch": "Something was damaged on the way",
    "image-missing": "A photograph is missing",
    "image-too-large": "A photograph is too large",
    "image-turned": "A photograph is stored turned",
    "image-type": "That file is no photograph",
    "image-unreadable": "A photograph cannot be read",
    "import-mode": "Leave edit mode first",
    "internal": "The backend failed",
    "key-refused": "The backend does not know this computer",
    "limit-exceeded": "That is more than the backend allows",
    "link-closed": "The connection was closed",
    "marks-not-ready": "The filters are still measuring",
    "no-cameras": "No camera to render",
    "no-photos": "There are no photographs",
    "no-posed-photos": "There is no photograph to compare with",
    "not-a-splat": "That object holds no Gaussians",
    "not-writable": "The file could not be written",
    "offline": "Blender is set to stay offline",
    "out-of-memory": "The backend ran out of memory",
    "pairing-code": "The pairing line does not fit",
    "ply-not-gaussians": "That PLY holds no Gaussians",
    "pose-missing": "Some photographs have no camera",
    "protocol-unsupported": "Add-on and backend do not fit each other",
    "queue-full": "Too many jobs wait",
    "quota-exceeded": "Your space on the backend is used up",
    "render-failed": "A camera could not be rendered",
    "scale-distance": "That distance cannot be used",
    "server-key-changed": "Warning: this is not the backend you paired with",
    "server-unreachable": "The backend does not answer",
    "splat-changed": "The splat changed meanwhile",
    "splat-format": "That file type is not possible here",
    "splat-malformed": "The file cannot be read",
    "splat-truncated": "The file is cut short",
    "splat-unreadable": "The file cannot be opened",
    "stopping": "The backend is stopping",
    "transform-flat": "A scale of zero flattens the splat",
    "transform-not-affine": "The transform cannot be applied",
    "unexpected": "Something unforeseen happened",
    "unknown-job": "The backend does not have this job",
    "usd-binary": "Binary USD is read by the command line only",
    "worker-error": "The reconstruction failed",
    "worker-lost": "The reconstruction stopped again and again",
}

REMEDIES = {
    "capability-missing": "Update the backend, then connect again.",
    "file-changed": "Wait until the photograph is written, then press Reconstruct again.",
    "image-missing": "Restore the file, or remove it from the list of photographs.",
    "key-refused": "Ask for a pairing line ('interngs-backend keys pair') and paste it under Backend > Pair.",
    "out-of-memory": "Choose a lower preset or a smaller Largest Side, then press Resume or Reconstruct again.",
    "pairing-code": "Copy the whole line that the backend printed; a line works once and only for a short time.",
    "pose-missing": "Give each photograph a camera, import a pose file, or set Poses to Estimate.",
    "protocol-unsupported": "Update the older one of the two, then connect again.",
    "queue-full": "Wait for a job to end, or cancel one in the job list.",
    "quota-exceeded": "Discard old jobs in the job list.",
    "server-key-changed": "Do not go on unless you know why: ask who runs the backend. If it was set up anew, forget "
                          "its key in the add-on's preferences and pair again.",
    "server-unreachable": "Check the address, and that the backend runs; or press Start Local Backend.",
    "unknown-job": "Choose a job from the list, or press Reconstruct.",
    "worker-error": "Copy the details into a report; Resume goes on from the last checkpoint.",
}


@dataclass(frozen=True)
class Explained:
    """An error as the panel shows it.

    Attributes:
        code: stable short name.
        headline: a few words.
        cause: one sentence, what happened and why.
        remedy: one sentence, what to do next.
        details: text for "copy details".
    """

    code: str
    headline: str
    cause: str
    remedy: str
    details: str


def explain(error: BaseException, while_doing: str = "", blender: str = "") -> Explained:
    """An artist's words for any error.

    Args:
        error: what was raised.
        while_doing: what the add-on was about, for the details.
        blender: Blender's version, for the details.
    """
    if isinstance(error, InternGSError):
        code, cause, remedy = error.code, error.cause, error.remedy
    else:
        code, cause = "unexpected", f"{type(error).__name__}: {error}".rstrip(": ")
        remedy = "Try it again; if it comes back, copy the details into a report."
    trace = "" if isinstance(error, InternGSError) else "".join(traceback.format_exception(error))
    lines = [f"Intern-GS {__version__}, Blender {blender or 'unknown'}, {platform.platform()}",
             f"while: {while_doing}" if while_doing else "", f"code: {code}", f"cause: {cause}", f"remedy: {remedy}",
             trace]
    return Explained(code, HEADLINES.get(code, "That did not work"), cause, REMEDIES.get(code, remedy),
                     "\n".join(filter(None, lines)))
