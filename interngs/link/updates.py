# SPDX-License-Identifier: GPL-3.0-or-later
"""What a link tells the program that owns it: frozen records taken from the mailbox with ``Link.poll``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..scene.gaussians import Gaussians
from ..wire.errors import ErrorInfo
from ..wire.records import JobEvent, JobInfo, PreviewInfo, ProgressInfo
from .state import LinkState


@dataclass(frozen=True)
class StateChanged:
    """The link's state changed.  Newest wins."""

    state: LinkState


@dataclass(frozen=True)
class EventArrived:
    """A stored event of an attached job: in order, none left out, none twice."""

    job_id: str
    event: JobEvent


@dataclass(frozen=True)
class JobChanged:
    """State, queue position, error or result of a job changed.  Newest wins, per job."""

    job: JobInfo


@dataclass(frozen=True)
class ProgressChanged:
    """Progress of an attached job.  Newest wins, per job."""

    job_id: str
    progress: ProgressInfo


@dataclass(frozen=True, eq=False)
class PreviewArrived:
    """Gaussians of an attached job, at most its budget (rounded up to whole blocks), SH degree 0.

    Newest wins, per job.  ``info.gaussians`` is how many the job has.
    """

    job_id: str
    info: PreviewInfo
    gaussians: Gaussians


@dataclass(frozen=True)
class TransferChanged:
    """Bytes of a job's upload or of a result's download.  Newest wins, per job and direction."""

    job_id: str
    direction: Literal["upload", "download"]
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True)
class TransferFailed:
    """An upload or a preview's download of a job stopped for good; uploads go on with ``Link.supply``."""

    job_id: str
    direction: Literal["upload", "download"]
    error: ErrorInfo


@dataclass(frozen=True)
class ServerNotice:
    """The server says something to all: ``"stopping"``."""

    kind: str


Update = (StateChanged | EventArrived | JobChanged | ProgressChanged | PreviewArrived | TransferChanged
          | TransferFailed | ServerNotice)
