# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is."""

from __future__ import annotations

from dataclasses import replace

from backend.jobs import Job
from backend.queue import FairQueue


def job(share: str, order: int, priority: int = 0, state: str = "queued") -> Job:
    return Job(f"{share}{order}", "owner", "client", "name", share, "", "draft", 3, state=state, priority=priority,
               queued_order=order)


def names(queue: FairQueue, jobs: list[Job]) -> list[str]:
    return [entry.job_id for entry in queue.order(jobs)]


def test_one_client_is_served_in_order_and_by_priority():
    jobs = [job("a", 3), job("a", 1), job("a", 2, priority=5)]
    assert names(FairQueue(), jobs) == ["a2", "a1", "a3"]


def test_clients_take_turns_however_much_one_sends():
    jobs = [job("a", n) for n in range(1, 6)] + [job("b", 6), job("c", 7)]
    assert names(FairQueue(), jobs) == ["a1", "b6", "c7", "a2", "a3", "a4", "a5"]


def test_who_has_nothing_running_comes_first():
    jobs = [job("a", 1, state="training"), job("a", 2, priority=9), job("b", 3)]
    assert names(FairQueue(), jobs) == ["b3", "a2"]


def test_who_was_served_longest_ago_comes_first():
    queue = FairQueue()
    queue.note_start(job("a", 1))
    queue.note_start(job("b", 2))
    assert names(queue, [job("b", 3), job("a", 4)]) == ["a4", "b3"]
    queue.note_start(job("a", 4))
    assert names(queue, [job("a", 5), job("b", 6)]) == ["b6", "a5"]


def test_only_queued_jobs_are_ordered():
    jobs = [replace(job("a", 1), state=state) for state in ("uploading", "paused", "done", "training", "draft")]
    assert names(FairQueue(), jobs) == []


def test_a_long_run_is_fair_to_the_last_job():
    queue, jobs, served = FairQueue(), [], []
    order = 0
    for share, count in (("hog", 40), ("a", 5), ("b", 5)):
        for _ in range(count):
            order += 1
            jobs.append(job(share, order))
    while jobs:
        first = queue.order(jobs)[0]
        queue.note_start(first)
        jobs = [entry for entry in jobs if entry.job_id != first.job_id]
        served.append(first.share)
    assert sorted(served[:15]) == ["a"] * 5 + ["b"] * 5 + ["hog"] * 5
