# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is: fair between clients by their shares, by priority and age within one; and when it will be."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from interngs.wire.states import ACTIVE

from .jobs import Job

_Key = tuple[float, float, int, int, int, str]
_SHORTEST_S = 1.0
"""Least worker time that a start counts, so that turns alternate when nothing is known of the jobs."""


def one_each(share: str) -> float:
    """The weights when nobody set any."""
    return 1.0


class FairQueue:
    """Orders queued jobs.  Holds no jobs itself, only how much worker time each client was given.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): a client's tag advances by the worker time of its jobs over
    its weight, and the lowest tag is next.  Who was idle starts at the tag of the job that started last, so waiting
    saves up nothing.
    """

    def __init__(self, weight_of: Callable[[str], float] = one_each) -> None:
        """``weight_of``: how many times the worker time of others a client may have."""
        self._weight_of = weight_of
        self._tags: dict[str, float] = {}
        self._now = 0.0
        self._turns: dict[str, int] = {}
        self._charged: dict[str, float] = {}

    def note_start(self, job: Job) -> None:
        """A job starts now: its client is charged the time that it is expected to take."""
        cost = max(_SHORTEST_S, job.expected_s)
        self._now = max(self._now, self._tags.get(job.share, 0.0))
        self._tags[job.share] = self._now + cost / self._weight_of(job.share)
        self._turns[job.share] = max(self._turns.values(), default=0) + 1
        self._charged[job.job_id] = cost

    def note_end(self, job: Job, used_s: float) -> None:
        """Its worker has ended after ``used_s``: what was charged becomes what it took."""
        charged = self._charged.pop(job.job_id, None)
        if charged is not None:
            self._tags[job.share] += (max(_SHORTEST_S, used_s) - charged) / self._weight_of(job.share)

    def order(self, jobs: Iterable[Job]) -> list[Job]:
        """The queued jobs among ``jobs``, next first.

        The client with the fewest running jobs for its weight first, then the one that was given least, then the one
        served longest ago; within a client higher priority first, then the one queued first.
        """
        jobs = list(jobs)
        running = Counter(job.share for job in jobs if job.state in ACTIVE)
        waiting: dict[str, list[Job]] = {}
        queued = [job for job in jobs if job.state == "queued"]
        for job in sorted(queued, key=lambda job: (job.priority, -job.queued_order)):
            waiting.setdefault(job.share, []).append(job)
        turn = max(self._turns.values(), default=0)
        heap = [self._key(share, jobs_of[-1], running[share], self._tags.get(share, 0.0), self._turns.get(share, 0))
                for share, jobs_of in waiting.items()]
        heapq.heapify(heap)
        ordered = []
        while heap:
            _, tag, _, _, _, share = heapq.heappop(heap)
            job = waiting[share].pop()
            ordered.append(job)
            turn += 1
            running[share] += 1
            if waiting[share]:      # no other client's key has changed
                tag += max(_SHORTEST_S, job.expected_s) / self._weight_of(share)
                heapq.heappush(heap, self._key(share, waiting[share][-1], running[share], tag, turn))
        return ordered

    def _key(self, share: str, job: Job, running: int, tag: float, turn: int) -> _Key:
        """What decides between clients: the smallest is next."""
        return (running / self._weight_of(share), max(self._now, tag), turn, -job.priority, job.queued_order, share)


def expected_starts(ordered: Sequence[Job], busy_s: Sequence[float], workers: int) -> dict[str, float]:
    """Seconds from now until each job of ``ordered`` starts, when every worker takes the next as it gets free.

    Args:
        busy_s: seconds that each running job still takes.
        workers: how many jobs run at the same time.
    """
    free_at = sorted([*busy_s, *[0.0] * max(0, workers - len(busy_s))])
    heapq.heapify(free_at)
    starts = {}
    for job in ordered:
        if not free_at:
            break
        starts[job.job_id] = heapq.heappop(free_at)
        heapq.heappush(free_at, starts[job.job_id] + job.expected_s)
    return starts
