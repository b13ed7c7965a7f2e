# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs next, which long job makes way for a short one, and when waiting jobs can expect to start."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from interngs.link.keys import key_id_of

from .auth import KEY
from .config import ServerConfig
from .jobs import Job
from .queue import FairQueue, expected_starts


@dataclass
class Running:
    """What is known of a worker at work; times are monotonic.

    Attributes:
        activity, active_s: the newest sign of life and when it came.
        began_s, training_s: when the worker was started, and when it began to train.
        stop_deadline_s: until when it may take to stop; None while it need not.
        makes_way: it was asked to stop so that a short job can run.
    """

    activity: int
    active_s: float
    began_s: float
    training_s: float | None = None
    stop_deadline_s: float | None = None
    makes_way: bool = False


class Turns:
    """The order of jobs.  A short job (by its estimate) may take the place of a long one at the long one's checkpoint.

    A long job trains for ``yield_after_s`` at least before it makes way, so it always gets on, and a short job waits no
    longer for it than that and the time of a checkpoint.  Only training makes way: the stages before it would have to
    begin anew.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._queue = FairQueue(self._weight_of)
        self._promised: dict[str, str] = {}
        self._starts_at_s: dict[str, float] = {}
        self.positions: dict[str, int] = {}

    def _weight_of(self, share: str) -> float:
        return self._config.shares.get(key_id_of(share.removeprefix(KEY)), 1.0) if share.startswith(KEY) else 1.0

    def order(self, jobs: Iterable[Job]) -> list[Job]:
        """The queued jobs, next first: those for which a long job makes way, then the others in fair order."""
        ordered = self._queue.order(jobs)
        return sorted(ordered, key=lambda job: job.job_id not in self._promised)

    def started(self, job: Job) -> None:
        """A job starts now."""
        self._promised.pop(job.job_id, None)
        self._queue.note_start(job)

    def ended(self, job: Job, running: Running) -> None:
        """A job's worker has ended."""
        self._queue.note_end(job, time.monotonic() - running.began_s)

    def who_makes_way(self, jobs: Mapping[str, Job], running: Mapping[str, Running]) -> list[Job]:
        """The long jobs that are to stop now, each for one short job that waits; call it when no worker is free."""
        queued = [job for job in self.order(jobs.values()) if self._is_short(job)]
        self._promised = {job.job_id: self._promised[job.job_id] for job in queued if job.job_id in self._promised}
        waiting = [job for job in queued if job.job_id not in self._promised]
        able = [jobs[job_id] for job_id, worker in running.items() if job_id in jobs
                and self._can_make_way(jobs[job_id], worker)]
        able.sort(key=lambda job: (job.priority, running[job.job_id].began_s))
        chosen = able[:len(waiting)]
        for short, long in zip(waiting, chosen, strict=False):
            self._promised[short.job_id] = long.job_id
        return chosen

    def _is_short(self, job: Job) -> bool:
        return 0.0 < job.expected_s <= self._config.short_job_s

    def _can_make_way(self, job: Job, worker: Running) -> bool:
        left_s = job.progress.seconds_left if job.progress is not None else None
        return (job.state == "training" and job.wanted is None and not worker.makes_way
                and job.expected_s > self._config.short_job_s and worker.training_s is not None
                and time.monotonic() - worker.training_s >= self._config.yield_after_s
                and (left_s is None or left_s > self._config.yield_after_s))

    # ---- what waiting people are told --------------------------------------------------------------------------------

    def place(self, jobs: Mapping[str, Job], running: Mapping[str, Running], workers: int) -> list[Job]:
        """Work out positions and expected starts anew; gives the queued jobs whose position changed."""
        now_s = time.monotonic()
        ordered = self.order(jobs.values())
        busy_s = [_seconds_left(jobs[job_id], worker, now_s) for job_id, worker in running.items() if job_id in jobs]
        self._starts_at_s = {job_id: now_s + wait_s
                             for job_id, wait_s in expected_starts(ordered, busy_s, workers).items()}
        positions = {job.job_id: place for place, job in enumerate(ordered)}
        moved = [job for job in ordered if self.positions.get(job.job_id) != positions[job.job_id]]
        self.positions = positions
        return moved

    def starts_in_s(self, job_id: str) -> float | None:
        """Seconds until a queued job is expected to start, as last worked out."""
        starts_at_s = self._starts_at_s.get(job_id)
        return None if starts_at_s is None else max(0.0, starts_at_s - time.monotonic())


def _seconds_left(job: Job, worker: Running, now_s: float) -> float:
    if job.progress is not None and job.progress.seconds_left is not None:
        return max(0.0, job.progress.seconds_left)
    return max(0.0, job.expected_s - (now_s - worker.began_s))
