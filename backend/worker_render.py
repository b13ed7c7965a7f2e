# SPDX-License-Identifier: GPL-3.0-or-later
"""A render in a worker: splats from blobs, frames to one result file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from interngs.render.cpu.library import set_threads
from interngs.render.device import choose_device
from interngs.render.final import FrameRenderer, exr_of
from interngs.storage import atomic_write
from interngs.wire.records import ProgressInfo, RenderRecord
from interngs.wire.results import frames_parts, read_result

from .blobs import BlobFolder
from .channel import Finished, Progressed, StageBegan, Work
from .job_folder import JobFolder


def render_frames(work: Work, render: RenderRecord, send: Callable[[Any], None],
                  should_stop: Callable[[], bool]) -> Finished:
    """Render every frame; those that an earlier run of the job finished are taken from its folder.

    Raises:
        InternGSError: a splat or a placement is refused, or there is no renderer for the device.
    """
    folder, blobs = JobFolder(Path(work.folder)), BlobFolder(Path(work.blobs))
    send(StageBegan("load", f"{len(render.splats)} splats"))
    splats = [read_result(np.memmap(blobs.path(ref.sha256), np.uint8, "r").data) for ref in render.splats]
    if work.threads:
        set_threads(work.threads)
    device, reason = choose_device(work.device)
    renderer = FrameRenderer(splats, device)
    send(StageBegan("render", f"{len(render.frames)} frames; {reason}"))
    began_s, files = time.monotonic(), {}
    for done, frame in enumerate(render.frames):
        if should_stop():
            return Finished(False, None, None, 0, 0, 0, folder.size_bytes())
        kept = folder.work / f"{frame.number}.exr"
        if not kept.exists():
            camera = frame.camera.to_camera()
            made = renderer.render(camera, [(each.splat, each.to_matrix()) for each in frame.placements])
            atomic_write(kept, exr_of(made, float(camera.K[1, 1] / camera.K[0, 0])))
        files[frame.number] = kept.read_bytes()
        left_s = (time.monotonic() - began_s) / (done + 1) * (len(render.frames) - done - 1)
        send(Progressed(ProgressInfo("render", done + 1, len(render.frames), seconds_left=left_s)))
    splat = folder.write_hashed("result", frames_parts(files))
    report = {"complete": True, "kind": "render", "frames": sorted(files), "device": reason,
              "seconds": time.monotonic() - began_s}
    return Finished(True, splat, folder.write_hashed("report", [json.dumps(report).encode()]), 0, 0, len(files),
                    folder.size_bytes())
