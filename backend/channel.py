# SPDX-License-Identifier: GPL-3.0-or-later
"""What the front process, its workers and the process that talks to Ray tell each other over pipes: typed records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any, Literal

from interngs.wire.codec import pack, unpack
from interngs.wire.errors import WireError
from interngs.wire.limits import Limits
from interngs.wire.records import BlobRef, CaptureRecord, DeviceInfo, ProgressInfo
from interngs.wire.typed import from_plain, to_plain

StopMode = Literal["pause", "cancel", "discard", "shutdown"]
RECORD_BYTES = 8 << 20
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Work:
    """A job for a worker: everything it needs, as plain data.

    Attributes:
        pipeline: ``module:function`` with the signature of ``interngs.pipeline.reconstruct``.
        folder: the job's own folder.
        blobs: folder of the inputs by content.
        device, threads: put over the settings.
        gpu: index for CUDA_VISIBLE_DEVICES; None on the CPU.
    """

    job_id: str
    attempt: int
    pipeline: str
    folder: str
    blobs: str
    capture: CaptureRecord
    settings: dict[str, Any]
    device: Literal["auto", "cpu", "cuda"]
    threads: int
    gpu: int | None
    resume: bool
    limits: Limits


@dataclass(frozen=True)
class Stop:
    """Stop and save: ``cancel`` and ``discard`` want no checkpoint."""

    mode: StopMode


@dataclass(frozen=True)
class Beat:
    """Sent every second: ``activity`` changes as long as the pipeline does something."""

    activity: int


@dataclass(frozen=True)
class StageBegan:
    name: str
    detail: str


@dataclass(frozen=True)
class Progressed:
    progress: ProgressInfo


@dataclass(frozen=True)
class Logged:
    message: str
    level: str


@dataclass(frozen=True)
class PreviewWritten:
    """A preview lies in the job's folder under ``previews/<number>``."""

    number: int
    step: int
    gaussians: int
    size_bytes: int


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint is on disk; ``folder_bytes`` is the size of the job's folder now."""

    step: int
    folder_bytes: int


@dataclass(frozen=True)
class Finished:
    """The run ended: result and report lie in the job's folder as ``result`` and ``report``, hashed and flushed.

    ``complete`` is false when the run was stopped; ``splat`` is None when there are no Gaussians yet.
    """

    complete: bool
    splat: BlobRef | None
    report: BlobRef | None
    gaussians: int
    sh_degree: int
    step: int
    folder_bytes: int


@dataclass(frozen=True)
class Failed:
    """The run failed for a reason that a second try would meet again."""

    code: str
    cause: str
    remedy: str


@dataclass(frozen=True)
class Exited:
    """The worker's process ended (said by the executor, not by the worker).

    ``tries``: starts of a worker that this end stands for, since the last checkpoint; an executor that tries again by
    itself says how often it did.
    """

    code: int
    tries: int = 1


# ---- between the front process and the one that talks to Ray --------------------------------------------------------


@dataclass(frozen=True)
class RaySetup:
    """The first record to the driver: ``RaySettings`` with ``files`` made whole (this server's own part of it).

    ``tries``: how often Ray may begin a task without a new checkpoint.  ``keep``: jobs whose files may be needed again;
    others were left behind by a server that broke off.
    """

    address: str
    jobs: int
    cpus_per_job: float
    gpus_per_job: float
    memory_bytes_per_job: int
    files: str
    environment: dict[str, Any]
    tries: int
    keep: tuple[str, ...]


@dataclass(frozen=True)
class Ready:
    """The driver's answer, and again when the cluster grows or shrinks: jobs that fit now, and what it is made of."""

    workers: int
    device: DeviceInfo


@dataclass(frozen=True)
class StopJob:
    """Ask a job to stop; of the given attempt."""

    job_id: str
    attempt: int
    mode: StopMode


@dataclass(frozen=True)
class KillJob:
    """End a job's task at once."""

    job_id: str
    attempt: int


@dataclass(frozen=True)
class ForgetJob:
    """Remove a job's files from where the cluster has them."""

    job_id: str


@dataclass(frozen=True)
class JobReport:
    """A worker's record, as ``bytes_of`` makes it."""

    job_id: str
    attempt: int
    record: bytes


Report = Beat | StageBegan | Progressed | Logged | PreviewWritten | Checkpointed | Finished | Failed | Exited
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (
    Work, Stop, Beat, StageBegan, Progressed, Logged, PreviewWritten, Checkpointed, Finished, Failed, Exited,
    RaySetup, Ready, StopJob, KillJob, ForgetJob, JobReport)}


def bytes_of(record: Any) -> bytes:
    """A record as bytes."""
    return pack([type(record).__name__, to_plain(record)])


def record_of(data: bytes) -> Any:
    """The record of ``bytes_of``.

    Raises:
        WireError: malformed or of unknown kind.
    """
    pair = unpack(data, RECORD_BYTES)
    if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] not in _KINDS:
        raise WireError("A worker's record is of unknown kind.")
    return from_plain(_KINDS[pair[0]], pair[1])


def write_record(stream: IO[bytes], record: Any) -> None:
    """Write a record in one piece."""
    data = bytes_of(record)
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
    stream.flush()


def read_record(stream: IO[bytes]) -> Any | None:
    """The next record; None at the end of the stream.

    Raises:
        WireError: the stream is cut inside a record or malformed.
    """
    head = stream.read(_LENGTH_BYTES)
    if not head:
        return None
    length = int.from_bytes(head, "little")
    if len(head) < _LENGTH_BYTES or length > RECORD_BYTES:
        raise WireError("A worker's record is malformed.")
    data = stream.read(length)
    if len(data) < length:
        raise WireError("A worker's record is cut short.")
    return record_of(data)
