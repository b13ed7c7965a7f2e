# SPDX-License-Identifier: GPL-3.0-or-later
"""One frozen dataclass for each message; its type name on the wire stands beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .limits import FETCH_WHOLE_BYTES
from .records import (
    BlobKind,
    BlobRef,
    CaptureRecord,
    Health,
    JobEvent,
    JobInfo,
    Preflight,
    PreviewInfo,
    ProgressInfo,
    ServerInfo,
    Settings,
)
from .states import Command


class Message:
    """Base of all messages."""


# ---- control lane: requests ------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Hello(Message):
    """First message of a client."""

    protocol_min: int
    protocol_max: int
    client_id: str
    client_name: str
    version: str
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ping(Message):
    nonce: int


@dataclass(frozen=True)
class Pair(Message):
    """Asks to be let in: ``public_key`` is the client's own CURVE key (Z85), sent over a pairing code's key."""

    public_key: str
    name: str


@dataclass(frozen=True)
class PreflightCapture(Message):
    capture: CaptureRecord
    settings: Settings


@dataclass(frozen=True)
class Submit(Message):
    capture: CaptureRecord
    settings: Settings
    title: str = ""
    priority: int = 0


@dataclass(frozen=True)
class GetInputs(Message):
    job_id: str


@dataclass(frozen=True)
class ListJobs(Message):
    """Newest first, from ``offset`` on."""

    offset: int = 0


@dataclass(frozen=True)
class Attach(Message):
    job_id: str
    after_seq: int = 0


@dataclass(frozen=True)
class Detach(Message):
    job_id: str


@dataclass(frozen=True)
class CommandJob(Message):
    job_id: str
    command: Command


@dataclass(frozen=True)
class GetHealth(Message):
    pass


@dataclass(frozen=True)
class EventAck(Message):
    """No answer: all events up to ``seq`` were taken."""

    job_id: str
    seq: int


@dataclass(frozen=True)
class Goodbye(Message):
    """No answer."""


# ---- control lane: answers -------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Welcome(Message):
    server: ServerInfo
    session: str
    bulk_port: int


@dataclass(frozen=True)
class Pong(Message):
    nonce: int


@dataclass(frozen=True)
class Paired(Message):
    key_id: str


@dataclass(frozen=True)
class PreflightReport(Message):
    report: Preflight


@dataclass(frozen=True)
class Accepted(Message):
    job: JobInfo
    missing: tuple[BlobRef, ...]


@dataclass(frozen=True)
class JobList(Message):
    jobs: tuple[JobInfo, ...]
    total: int


@dataclass(frozen=True)
class Attached(Message):
    job: JobInfo
    preview: PreviewInfo | None = None


@dataclass(frozen=True)
class JobStateAnswer(Message):
    job: JobInfo


@dataclass(frozen=True)
class HealthReport(Message):
    health: Health


@dataclass(frozen=True)
class Done(Message):
    pass


@dataclass(frozen=True)
class Failure(Message):
    code: str
    cause: str
    remedy: str


# ---- control lane: pushes --------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class EventPush(Message):
    job_id: str
    event: JobEvent


@dataclass(frozen=True)
class ProgressPush(Message):
    """Newest wins, per job."""

    job_id: str
    progress: ProgressInfo


@dataclass(frozen=True)
class PreviewPush(Message):
    """Newest wins, per job."""

    job_id: str
    preview: PreviewInfo


@dataclass(frozen=True)
class JobPush(Message):
    """Newest wins, per job."""

    job: JobInfo


@dataclass(frozen=True)
class Notice(Message):
    kind: str


# ---- bulk lane -------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class BulkHello(Message):
    session: str


@dataclass(frozen=True)
class BulkReady(Message):
    """``fetch_bytes``: the longest range that may be asked for; older servers take ``FETCH_WHOLE_BYTES``."""

    chunk_bytes: int
    credit: int
    fetch_bytes: int = FETCH_WHOLE_BYTES


@dataclass(frozen=True)
class UploadOpen(Message):
    blob: BlobRef
    kind: BlobKind


@dataclass(frozen=True, eq=False)
class UploadChunk(Message):
    """``payload`` [n] uint8 goes to ``offset``."""

    sha256: str
    offset: int
    payload: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class UploadState(Message):
    """The server has ``offset`` bytes; ``stored`` once the whole blob is checked and on disk."""

    sha256: str
    offset: int
    stored: bool


@dataclass(frozen=True)
class Fetch(Message):
    name: str
    offset: int
    length: int


@dataclass(frozen=True, eq=False)
class Chunk(Message):
    """``payload`` [n] uint8 from ``offset`` of an object of ``total`` bytes."""

    name: str
    offset: int
    total: int
    payload: np.ndarray = field(repr=False)


TYPES: dict[str, type[Message]] = {
    "hello": Hello, "ping": Ping, "pair": Pair, "preflight": PreflightCapture, "submit": Submit, "inputs": GetInputs,
    "jobs": ListJobs, "attach": Attach, "detach": Detach, "command": CommandJob, "health": GetHealth,
    "event-ack": EventAck, "goodbye": Goodbye,
    "welcome": Welcome, "pong": Pong, "paired": Paired, "preflight-report": PreflightReport, "accepted": Accepted,
    "job-list": JobList, "attached": Attached, "job-state": JobStateAnswer, "health-report": HealthReport,
    "done": Done, "failure": Failure,
    "event": EventPush, "progress": ProgressPush, "preview": PreviewPush, "job": JobPush, "notice": Notice,
    "bulk-hello": BulkHello, "bulk-ready": BulkReady, "upload-open": UploadOpen, "upload-chunk": UploadChunk,
    "upload-state": UploadState, "fetch": Fetch, "chunk": Chunk,
}
"""Type name on the wire -> class."""

NAMES: dict[type[Message], str] = {kind: name for name, kind in TYPES.items()}
"""Class -> type name on the wire."""
