# SPDX-License-Identifier: GPL-3.0-or-later
"""What the front process and the process that talks to Ray tell each other, beside a worker's records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interngs.wire.records import DeviceInfo

from ..channel import StopMode, register_records


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
    """A worker's record, as ``channel.bytes_of`` makes it."""

    job_id: str
    attempt: int
    record: bytes


register_records(RaySetup, Ready, StopJob, KillJob, ForgetJob, JobReport)
