# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels show, gathered in one place; read and written on the main thread only; knows no bpy."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ...interngs.link.state import LinkState
from ...interngs.wire.records import Health, JobInfo, Preflight, ProgressInfo
from ..messages import Explained

LOG_LINES = 200


@dataclass
class CaptureProgress:
    """A scene capture that runs: renders done and in all, the camera now rendered, and the wish to stop."""

    done: int = 0
    total: int = 0
    camera: str = ""
    cancel_wanted: bool = False


@dataclass
class Transfer:
    """Bytes moved and in all."""

    done: int = 0
    total: int = 0

    @property
    def fraction(self) -> float:
        """0..1."""
        return self.done / self.total if self.total else 0.0


@dataclass
class SessionState:
    """The panels' view of the session.

    Attributes:
        link: the connection.
        jobs: this client's jobs on the server, newest first.
        progress, transfers: newest of each job.
        logs: newest lines, of all attached jobs.
        preflight, preflight_key: the newest estimate, and what it was made for.
        waiting: requests without an answer yet, in an artist's words.
        error: what went wrong last, until dismissed.
        capture: the scene capture that runs, if any.
        hidden_jobs: jobs whose object the artist deleted; they are not shown again unasked.
    """

    link: LinkState = field(default_factory=LinkState)
    jobs: tuple[JobInfo, ...] = ()
    progress: dict[str, ProgressInfo] = field(default_factory=dict)
    uploads: dict[str, Transfer] = field(default_factory=dict)
    downloads: dict[str, Transfer] = field(default_factory=dict)
    logs: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    preflight: Preflight | None = None
    preflight_key: str = ""
    health: Health | None = None
    waiting: dict[str, str] = field(default_factory=dict)
    error: Explained | None = None
    capture: CaptureProgress | None = None
    hidden_jobs: set[str] = field(default_factory=set)

    def show_error(self, explained: Explained) -> None:
        """Show an error until it is dismissed or another comes."""
        self.error = explained

    def job(self, job_id: str) -> JobInfo | None:
        """A job of the list by its id."""
        return next((each for each in self.jobs if each.job_id == job_id), None)

    def put_job(self, job: JobInfo) -> None:
        """Add a job to the list, or bring it up to date; a discarded one leaves."""
        others = tuple(each for each in self.jobs if each.job_id != job.job_id)
        if job.state == "discarded":
            self.jobs = others
            return
        self.jobs = tuple(sorted((*others, job), key=lambda each: -each.created_s))


_current = SessionState()


def session_state() -> SessionState:
    """The session's state."""
    return _current


def reset_session_state() -> None:
    """Forget everything (add-on disabled)."""
    global _current  # noqa: PLW0603 - one session for one Blender
    _current = SessionState()
