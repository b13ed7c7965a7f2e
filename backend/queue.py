# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is: fair between clients, by priority and age within one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from interngs.wire.states import ACTIVE

from .jobs import Job


class FairQueue:
    """Orders queued jobs.  Holds no jobs itself, only when each client was last served."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._turn = 0

    def note_start(self, job: Job) -> None:
        """A job of this client starts now."""
        self._turn += 1
        self._served[job.share] = self._turn

    def order(self, jobs: Iterable[Job]) -> list[Job]:
        """The queued jobs among ``jobs``, next first.

        The client with the fewest running jobs first, then the one served longest ago; within a client higher
        priority first, then the one queued first.
        """
        jobs = list(jobs)
        running = Counter(job.share for job in jobs if job.state in ACTIVE)
        served = dict(self._served)
        turn = self._turn
        waiting: dict[str, list[Job]] = {}
        queued = [job for job in jobs if job.state == "queued"]
        for job in sorted(queued, key=lambda job: (job.priority, -job.queued_order)):
            waiting.setdefault(job.share, []).append(job)
        ordered = []
        while waiting:
            share = min(waiting, key=lambda name: (running[name], served.get(name, 0), -waiting[name][-1].priority,
                                                   waiting[name][-1].queued_order))
            ordered.append(waiting[share].pop())
            if not waiting[share]:
                del waiting[share]
            turn += 1
            running[share] += 1
            served[share] = turn
        return ordered
