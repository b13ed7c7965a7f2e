# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of an executor: it starts work, stops it, and delivers what the work reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..channel import Report, StopMode, Work

Deliver = Callable[[str, int, Report], None]
"""Called from any thread with (job id, attempt, report); the last report of an attempt is ``Exited``."""


class Executor(Protocol):
    """Runs jobs somewhere.  All methods are called from one thread and return at once, but ``close``."""

    @property
    def workers(self) -> int:
        """How many jobs can run at the same time."""
        ...

    def can_start(self) -> bool:
        """Whether there is room for another job now."""
        ...

    def start(self, work: Work) -> None:
        """Start a job; device, threads and GPU of ``work`` are set by the executor."""
        ...

    def stop(self, job_id: str, mode: StopMode) -> None:
        """Ask a job to stop; nothing when it does not run."""
        ...

    def kill(self, job_id: str) -> None:
        """End a job's work at once; ``Exited`` follows."""
        ...

    def forget(self, job_id: str) -> None:
        """A job will not be resumed: remove what is kept for it outside its folder."""
        ...

    def close(self, timeout_s: float) -> None:
        """Ask all work to stop with a checkpoint, wait, and end what is left."""
        ...
