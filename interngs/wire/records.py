# SPDX-License-Identifier: GPL-3.0-or-later
"""The records that messages carry: captures, jobs, progress, events, facts of a server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..scene.cameras import Camera
from ..scene.capture import Distortion
from .errors import ErrorInfo, WireError
from .limits import Limits
from .states import Command, JobState

BlobKind = Literal["image", "mask", "depth", "points", "splat"]
RENDER_PRESET = "render"
"""What stands in ``JobInfo.preset`` of a job that renders."""
EventKind = Literal["state", "stage", "log", "checkpoint", "result"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{32}")


def check_sha256(text: str) -> str:
    """``text`` when it is a SHA-256 in lower-case hex.

    Raises:
        WireError: it is not.
    """
    if not _SHA256.fullmatch(text):
        raise WireError("A hash is not 64 lower-case hex digits.")
    return text


def check_id(text: str) -> str:
    """``text`` when it is an id of 32 lower-case hex digits (jobs, requests, clients).

    Raises:
        WireError: it is not.
    """
    if not _ID.fullmatch(text):
        raise WireError("An id is not 32 lower-case hex digits.")
    return text


@dataclass(frozen=True)
class BlobRef:
    """Bytes by content: SHA-256 in hex and their number."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        check_sha256(self.sha256)
        if self.size_bytes < 0:
            raise WireError("A blob's size is negative.")


@dataclass(frozen=True)
class CameraRecord:
    """A ``Camera`` as it travels: ``K`` (9 numbers) and ``camera_from_world`` (16), rows first."""

    K: tuple[float, ...]
    camera_from_world: tuple[float, ...]
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if len(self.K) != 9 or len(self.camera_from_world) != 16:
            raise WireError("A camera has not 9 and 16 numbers.")

    @staticmethod
    def of(camera: Camera) -> CameraRecord:
        """The record of a camera."""
        return CameraRecord(tuple(camera.K.ravel().tolist()), tuple(camera.camera_from_world.ravel().tolist()),
                            camera.width_px, camera.height_px)

    def to_camera(self) -> Camera:
        """The camera of a record."""
        return Camera(np.array(self.K, np.float64).reshape(3, 3),
                      np.array(self.camera_from_world, np.float64).reshape(4, 4), self.width_px, self.height_px)


@dataclass(frozen=True)
class ViewRecord:
    """One view of a capture: its blobs, its camera, and the size in its image's header (as stored, before any turn)."""

    name: str
    image: BlobRef
    width_px: int
    height_px: int
    camera: CameraRecord | None = None
    distortion_model: str = "PINHOLE"
    distortion: tuple[float, ...] = ()
    mask: BlobRef | None = None
    depth: BlobRef | None = None

    def to_distortion(self) -> Distortion:
        """The lens distortion in the library's record."""
        return Distortion(self.distortion_model, self.distortion)


@dataclass(frozen=True)
class PlacementRecord:
    """Where a splat of a render stands in one frame: its number, and world_from_splat (16 numbers, rows first)."""

    splat: int
    world_from_splat: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.world_from_splat) != 16:
            raise WireError("A placement has not 16 numbers.")

    def to_matrix(self) -> np.ndarray:
        """[4, 4] float64."""
        return np.array(self.world_from_splat, np.float64).reshape(4, 4)


@dataclass(frozen=True)
class FrameRecord:
    """One frame of a render: its number in the scene, its camera, and the splats that are seen in it."""

    number: int
    camera: CameraRecord
    placements: tuple[PlacementRecord, ...]


@dataclass(frozen=True)
class RenderRecord:
    """Finished splats to be rendered, in place of views to be reconstructed."""

    splats: tuple[BlobRef, ...]
    frames: tuple[FrameRecord, ...]


@dataclass(frozen=True)
class CaptureRecord:
    """What a job works on, as it travels: the views of a capture, or (with none) a render."""

    views: tuple[ViewRecord, ...]
    source: str = ""
    points: BlobRef | None = None
    render: RenderRecord | None = None

    def blobs(self) -> dict[BlobRef, BlobKind]:
        """Every blob of the capture with its kind, each once, in view order."""
        found: dict[BlobRef, BlobKind] = {}
        for view in self.views:
            found.setdefault(view.image, "image")
            if view.mask is not None:
                found.setdefault(view.mask, "mask")
            if view.depth is not None:
                found.setdefault(view.depth, "depth")
        if self.points is not None:
            found.setdefault(self.points, "points")
        for splat in self.render.splats if self.render is not None else ():
            found.setdefault(splat, "splat")
        return found


@dataclass(frozen=True)
class Finding:
    """One remark of the preflight; ``view`` names the view it is about."""

    level: Literal["error", "warning"]
    code: str
    cause: str
    remedy: str
    view: str | None = None


@dataclass(frozen=True)
class ProgressInfo:
    """The newest progress of a job; ``seconds_left`` is of the whole job, None while unknown."""

    stage: str
    step: int
    total_steps: int
    loss: float | None = None
    psnr_db: float | None = None
    gaussians: int | None = None
    seconds_left: float | None = None

    @property
    def fraction(self) -> float:
        """Share of the stage that is done, 0..1."""
        return self.step / max(self.total_steps, 1)


@dataclass(frozen=True)
class PreviewInfo:
    """A preview that can be fetched: ``number`` counts up, the first ``size_bytes`` of it are the whole."""

    number: int
    step: int
    gaussians: int
    size_bytes: int


@dataclass(frozen=True)
class ResultInfo:
    """What a job gave: the Gaussians and the report as blobs; ``partial`` when the job was stopped before its end."""

    splat: BlobRef
    gaussians: int
    sh_degree: int
    partial: bool
    step: int
    report: BlobRef | None = None


@dataclass(frozen=True)
class JobEvent:
    """One stored event of a job; which fields are set depends on ``kind``.

    ``state``: state (and error when failed).  ``stage``: text is its name, detail what it does.  ``log``: text and
    level.  ``checkpoint``: step.  ``result``: result.
    """

    seq: int
    kind: EventKind
    time_s: float
    text: str = ""
    detail: str = ""
    level: str = "info"
    step: int | None = None
    state: JobState | None = None
    error: ErrorInfo | None = None
    result: ResultInfo | None = None


@dataclass(frozen=True)
class JobInfo:
    """A job as its owner sees it.

    Attributes:
        wanted: a command that was accepted and is under way.
        created_s, updated_s: Unix time by the server's clock.
        queue_position: 0 is next; None when not queued.
        starts_in_s: seconds from this message until a queued job is expected to start; None when not queued or unknown.
        stage: the newest stage's name.
        last_seq: sequence number of the newest event.
        attempts: starts of a worker since the last checkpoint or resume.
    """

    job_id: str
    title: str
    state: JobState
    views: int
    preset: str
    created_s: float
    updated_s: float
    last_seq: int
    client_name: str = ""
    wanted: Command | None = None
    priority: int = 0
    queue_position: int | None = None
    stage: str = ""
    progress: ProgressInfo | None = None
    result: ResultInfo | None = None
    error: ErrorInfo | None = None
    attempts: int = 0
    starts_in_s: float | None = None


@dataclass(frozen=True)
class DeviceInfo:
    """A GPU, or the CPU: free and total memory in bytes, None where unknown."""

    name: str
    kind: Literal["cuda", "cpu"]
    memory_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True)
class PriorInfo:
    """A prior's network that the server knows: present or not, its licence, whether commercial use is allowed."""

    name: str
    present: bool
    licence: str = ""
    commercial_use: bool | None = None


@dataclass(frozen=True)
class ServerInfo:
    """What a server says of itself in its hello."""

    server_id: str
    epoch: str
    version: str
    protocol: int
    heartbeat_s: float
    heartbeat_misses: int
    capabilities: tuple[str, ...]
    limits: Limits
    devices: tuple[DeviceInfo, ...] = ()
    priors: tuple[PriorInfo, ...] = ()
    workers: int = 0
    queue_length: int = 0
    stored_bytes: int = 0


Settings = dict[str, Any]
"""``interngs.config.PipelineConfig`` in its ``to_dict`` form, or the part of it that differs from its preset."""


@dataclass(frozen=True)
class Preflight:
    """The judgement of a capture before anything is sent.

    Attributes:
        ok: no finding is an error.
        seconds: expected time of the job on this server, roughly (within a factor of two).
        memory_bytes: expected peak memory of the worker, roughly.
        upload_bytes: bytes that would have to be sent.
        missing: the blobs these bytes are.
    """

    ok: bool
    findings: tuple[Finding, ...]
    seconds: float
    memory_bytes: int
    upload_bytes: int
    missing: tuple[BlobRef, ...] = field(default=())


@dataclass(frozen=True)
class Health:
    """The state of a server for its operator and the panel."""

    version: str
    epoch: str
    uptime_s: float
    devices: tuple[DeviceInfo, ...]
    disk_free_bytes: int
    disk_total_bytes: int
    accepts_work: bool
    sessions: int
    jobs: dict[str, Any]
    workers: int
    resident_bytes: int | None = None
