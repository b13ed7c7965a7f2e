# SPDX-License-Identifier: GPL-3.0-or-later
"""Pause, resume, cancel and discard on running jobs, also while the bulk lane is busy."""

from __future__ import annotations

import time

import numpy as np
import pytest
import stand_in_pipeline

from interngs.errors import InternGSError
from interngs.link.updates import ProgressChanged, TransferChanged

SLOW = {"STAND_IN_STEP_S": "0.05"}

# What is promised here holds whichever executor runs the jobs; on Ray it takes minutes (see also test_ray.py).
pytestmark = pytest.mark.parametrize("start_server", ["local", pytest.param("ray", marks=pytest.mark.slow)],
                                     indirect=True)
WAIT_S = 120.0


def wait_for_step(client, job_id: str, step: int) -> None:
    client.wait_for(lambda c: any(isinstance(u, ProgressChanged) and u.job_id == job_id and u.progress.step >= step
                                  for u in c.updates))


def test_pause_and_resume_go_on_from_the_checkpoint(start_server, follow, capture, settings_of):
    server = start_server(environment=SLOW)
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=60, checkpoint_every=1000)).result(WAIT_S)
    wait_for_step(client, job.job_id, 15)
    asked = client.link.pause(job.job_id).result(WAIT_S)
    assert asked.wanted == "pause"
    paused = client.wait_until(job.job_id, "paused")
    assert paused.wanted is None and paused.result.partial
    client.updates.clear()
    client.link.resume(job.job_id).result(WAIT_S)
    client.wait_until(job.job_id, "done")
    rows = [(what, step) for _, _, what, step, _ in server.work()]
    assert [what for what, _ in rows] == ["start", "stopped", "start", "done"]
    assert rows[0][1] == 0 and rows[1][1] == rows[2][1] >= 15 and rows[3][1] == 60


def test_cancel_keeps_the_gaussians_so_far(start_server, follow, capture, settings_of):
    server = start_server(environment=SLOW)
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=10_000, gaussians=200)).result(WAIT_S)
    wait_for_step(client, job.job_id, 5)
    client.link.cancel(job.job_id).result(WAIT_S)
    cancelled = client.wait_until(job.job_id, "cancelled")
    result = client.link.fetch_result(cancelled).result(WAIT_S)
    assert result.info.partial and result.info.step >= 5
    expected = stand_in_pipeline.some_gaussians(200, result.info.step)
    np.testing.assert_array_equal(result.gaussians.means, expected.means)

    client.updates.clear()
    client.link.resume(job.job_id).result(WAIT_S)
    client.wait_until(job.job_id, "training")
    assert server.work()[-1][2:4] == ("start", result.info.step)


def test_cancel_acts_within_two_seconds_in_a_step_that_hangs(start_server, follow, capture, settings_of,
                                                             patience_factor):
    server = start_server()
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(seed=stand_in_pipeline.SLOW_STEP, gaussians=200)).result(WAIT_S)
    wait_for_step(client, job.job_id, 25)
    began = time.monotonic()
    client.link.cancel(job.job_id).result(WAIT_S)
    cancelled = client.wait_until(job.job_id, "cancelled")
    assert time.monotonic() - began < 2.0 * patience_factor
    assert cancelled.result is not None and cancelled.result.partial and cancelled.result.step <= 20


def test_pause_ends_a_worker_that_does_not_stop(start_server, follow, capture, settings_of):
    server = start_server(pause_grace_s=1.0)
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(seed=stand_in_pipeline.HANG, checkpoint_every=5)).result(WAIT_S)
    wait_for_step(client, job.job_id, 25)
    client.link.pause(job.job_id).result(WAIT_S)
    client.wait_until(job.job_id, "paused")
    client.updates.clear()
    client.link.resume(job.job_id).result(WAIT_S)
    client.wait_until(job.job_id, "done")
    assert [row[2:4] for row in server.work()] == [("start", 0), ("start", 25), ("done", 40)]


def test_discard_leaves_nothing(start_server, follow, capture, settings_of):
    server = start_server(environment=SLOW)
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=10_000)).result(WAIT_S)
    wait_for_step(client, job.job_id, 5)
    client.link.discard(job.job_id).result(WAIT_S)
    client.wait_until(job.job_id, "discarded")
    assert client.link.jobs().result(WAIT_S) == ()
    client.wait_for(lambda c: not list((server.store / "jobs").iterdir()))
    assert not [path for path in (server.store / "blobs").rglob("*") if path.is_file()]
    with pytest.raises(InternGSError, match="no such job"):
        client.link.attach(job.job_id).result(WAIT_S)


def test_commands_while_nothing_runs(start_server, follow, capture, settings_of):
    server = start_server(environment=SLOW)
    client = follow(server.address)
    first = client.link.submit(capture, settings_of(steps=10_000)).result(WAIT_S)
    second = client.link.submit(capture, settings_of(steps=10_000, seed=1)).result(WAIT_S)
    client.wait_until(first.job_id, "training")
    assert client.wait_until(second.job_id, "queued").queue_position == 0
    assert client.link.pause(second.job_id).result(WAIT_S).state == "paused"
    assert client.link.cancel(second.job_id).result(WAIT_S).state == "cancelled"
    assert client.link.resume(second.job_id).result(WAIT_S).state == "queued"
    with pytest.raises(InternGSError) as refused:
        client.link.resume(second.job_id).result(WAIT_S)
    assert refused.value.code == "illegal-move"
    assert client.link.discard(second.job_id).result(WAIT_S).state == "discarded"
    assert [job.job_id for job in client.link.jobs().result(WAIT_S)] == [first.job_id]
    client.link.discard(first.job_id).result(WAIT_S)


def test_pause_acts_in_time_while_photos_are_uploaded(start_server, follow, make_capture_in, settings_of, tmp_path,
                                                     patience_factor):
    server = start_server(environment=SLOW)
    client = follow(server.address)
    job = client.link.submit(make_capture_in(tmp_path / "small"), settings_of(steps=10_000)).result(WAIT_S)
    wait_for_step(client, job.job_id, 5)
    large = make_capture_in(tmp_path / "large", views=12, side=1100, seed=5)     # 12 photos of 3.6 MB
    upload = client.link.submit(large, settings_of()).result(WAIT_S)
    client.wait_for(lambda c: any(isinstance(u, TransferChanged) and u.job_id == upload.job_id and u.bytes_done > 0
                                  for u in c.updates))
    began = time.monotonic()
    client.link.pause(job.job_id).result(WAIT_S)
    client.wait_until(job.job_id, "paused")
    assert time.monotonic() - began < 2.0 * patience_factor
    client.wait_until(upload.job_id, "done", timeout_s=60)
