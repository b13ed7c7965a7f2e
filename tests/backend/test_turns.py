# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares, expected starts, and long jobs that make way for short ones."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from backend.auth import KEY
from backend.config import ServerConfig
from backend.jobs import Job
from backend.queue import FairQueue, expected_starts
from backend.turns import Running, Turns
from interngs.link.keys import key_id_of
from interngs.wire.records import ProgressInfo

WAIT_S = 120.0


def job(name: str, order: int = 0, expected_s: float = 10.0, state: str = "queued", share: str = "a", **more) -> Job:
    return Job(name, "owner", "client", "name", share, "", "draft", 3, state=state, queued_order=order,
               expected_s=expected_s, **more)


def worker(trained_s: float = 100.0) -> Running:
    now_s = time.monotonic()
    return Running(1, now_s, now_s - trained_s - 5.0, now_s - trained_s)


def served_seconds(queue: FairQueue, jobs: list[Job], seconds: float) -> dict[str, float]:
    """Worker time of each share when one worker takes job after job for so long."""
    used: dict[str, float] = {}
    while sum(used.values()) < seconds:
        first = queue.order(jobs)[0]
        queue.note_start(first)
        queue.note_end(first, first.expected_s)
        used[first.share] = used.get(first.share, 0.0) + first.expected_s
        jobs = [entry for entry in jobs if entry.job_id != first.job_id]
    return used


def test_worker_time_is_shared_and_not_the_number_of_jobs():
    jobs = [job(f"a{n}", n, 100.0, share="a") for n in range(50)]
    jobs += [job(f"b{n}", n, 10.0, share="b") for n in range(500)]
    used = served_seconds(FairQueue(), jobs, 2000.0)
    assert used["a"] == pytest.approx(used["b"], rel=0.15)


def test_a_weight_gives_that_much_more():
    jobs = [job(f"{share}{n}", n, 10.0, share=share) for share in ("a", "b") for n in range(200)]
    used = served_seconds(FairQueue(lambda share: 3.0 if share == "a" else 1.0), jobs, 1200.0)
    assert used["a"] == pytest.approx(3.0 * used["b"], rel=0.1)


def test_who_was_idle_has_saved_up_nothing():
    queue = FairQueue()
    for n in range(100):
        queue.note_start(job(f"a{n}", n, 10.0, share="a"))
    jobs = [job(f"{share}{n}", n, 10.0, share=share) for share in ("a", "b") for n in range(100, 150)]
    used = served_seconds(queue, jobs, 400.0)
    assert used["a"] == pytest.approx(used["b"], rel=0.15)


def test_what_a_job_took_counts_and_not_what_was_expected():
    queue = FairQueue()
    first = job("a1", 1, 1000.0, share="a")
    queue.note_start(first)
    queue.note_end(first, 2.0)
    queue.note_start(job("b1", 1, 10.0, share="b"))
    assert [entry.job_id for entry in queue.order([job("a2", 2), job("b2", 3, share="b")])] == ["a2", "b2"]


def test_expected_starts_follow_the_workers_that_get_free():
    ordered = [job("x", 1, 10.0), job("y", 2, 5.0), job("z", 3, 5.0)]
    assert expected_starts(ordered, [7.0, 20.0], 2) == {"x": 7.0, "y": 17.0, "z": 20.0}
    assert expected_starts(ordered, [], 1) == {"x": 0.0, "y": 10.0, "z": 15.0}
    assert expected_starts(ordered, [], 0) == {}


def test_a_long_job_makes_way_for_the_first_short_one_and_only_once():
    turns, running = Turns(ServerConfig()), {"long": worker()}
    jobs = {entry.job_id: entry for entry in (
        job("long", state="training", expected_s=1000.0), job("other long", 1, 1000.0, share="b"),
        job("short", 2, 20.0, share="c"), job("short 2", 3, 20.0, share="c"))}
    assert [entry.job_id for entry in turns.who_makes_way(jobs, running)] == ["long"]
    running["long"].makes_way = True
    assert turns.who_makes_way(jobs, running) == []
    # Its place goes to the short job, whoever else waits.
    jobs["long"] = replace(jobs["long"], state="queued")
    assert turns.order(jobs.values())[0].job_id == "short"
    turns.started(jobs["short"])
    jobs["short"] = replace(jobs["short"], state="training")
    assert turns.order(jobs.values())[0].job_id != "short"


@pytest.mark.parametrize(("change", "trained_s"), [
    ({"state": "preparing"}, 100.0), ({"wanted": "pause"}, 100.0), ({"expected_s": 100.0}, 100.0), ({}, 30.0),
    ({"progress": ProgressInfo("optimise", 1, 2, seconds_left=30.0)}, 100.0),
])
def test_who_need_not_make_way(change, trained_s):
    jobs = {"long": replace(job("long", state="training", expected_s=1000.0), **change), "short": job("short", 1, 20.0)}
    assert Turns(ServerConfig()).who_makes_way(jobs, {"long": worker(trained_s)}) == []


def test_nobody_makes_way_for_a_long_job():
    jobs = {"long": job("long", state="training", expected_s=1000.0), "next": job("next", 1, 500.0)}
    assert Turns(ServerConfig()).who_makes_way(jobs, {"long": worker()}) == []


def test_a_promise_ends_with_its_job():
    turns, running = Turns(ServerConfig()), {"long": worker()}
    jobs = {"long": job("long", state="training", expected_s=1000.0), "short": job("short", 1, 20.0)}
    turns.who_makes_way(jobs, running)
    running["long"].makes_way = True
    jobs["short"] = replace(jobs["short"], state="cancelled")
    assert turns.who_makes_way(jobs, running) == []
    jobs["second"] = job("second", 2, 20.0)
    running["long"].makes_way = False
    assert [entry.job_id for entry in turns.who_makes_way(jobs, running)] == ["long"]


def test_shares_are_named_by_key_id():
    public = "k" * 40
    config = ServerConfig(shares={key_id_of(public): 4.0})
    jobs = [job("a1", 1), job("b1", 2, share=KEY + public), job("b2", 3, share=KEY + public)]
    jobs += [job("run a", state="training"), job("run b", state="training", share=KEY + public)]
    assert [entry.job_id for entry in Turns(config).order(jobs)] == ["b1", "b2", "a1"]


def test_a_short_job_does_not_wait_for_a_long_one(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.03"}, yield_after_s=0.5)
    client = follow(server.address)
    long = client.link.submit(capture, settings_of(steps=10_000, checkpoint_every=5000)).result(WAIT_S)
    client.wait_until(long.job_id, "training")
    short = client.link.submit(capture, settings_of(steps=20, seed=1)).result(WAIT_S)
    client.wait_until(short.job_id, "done", timeout_s=60)
    client.wait_for(lambda c: server.work()[-1][:1] == (long.job_id,) and server.work()[-1][2] == "start")
    rows = [(row[0] == long.job_id, row[2], row[3]) for row in server.work()]
    step = rows[1][2]
    assert rows == [(True, "start", 0), (True, "stopped", step), (False, "start", 0), (False, "done", 20),
                    (True, "start", step)] and step > 0
    assert any("makes way" in event.text for event in client.events(long.job_id))
    client.link.discard(long.job_id).result(WAIT_S)


def test_waiting_jobs_tell_when_they_start(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.05"}, short_job_s=0)
    client = follow(server.address)
    running = client.link.submit(capture, settings_of(steps=10_000)).result(WAIT_S)
    client.wait_until(running.job_id, "training")
    waiting = client.link.submit(capture, settings_of(steps=10_000, seed=1)).result(WAIT_S)
    client.wait_until(waiting.job_id, "queued")
    last = client.link.submit(capture, settings_of(steps=100, seed=2)).result(WAIT_S)
    client.wait_until(last.job_id, "queued")
    listed = {entry.job_id: entry for entry in client.link.jobs().result(WAIT_S)}
    assert listed[running.job_id].starts_in_s is None
    assert 0.0 <= listed[waiting.job_id].starts_in_s < listed[last.job_id].starts_in_s
    assert listed[last.job_id].queue_position == 1
    for entry in (last, waiting, running):
        client.link.discard(entry.job_id).result(WAIT_S)
