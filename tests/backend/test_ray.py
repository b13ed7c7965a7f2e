# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs on a Ray cluster: done, paused and resumed; a machine that is lost in the middle of a job."""

from __future__ import annotations

import time

import pytest

from interngs.link.updates import ProgressChanged

WAIT_S = 120.0
NODE = {"include_dashboard": False, "object_store_memory": 80_000_000}


def wait_for_step(client, job_id: str, step: int) -> None:
    client.wait_for(lambda c: any(isinstance(u, ProgressChanged) and u.job_id == job_id and u.progress.step >= step
                                  for u in c.updates), timeout_s=60)


@pytest.mark.parametrize("start_server", ["ray"], indirect=True)
def test_a_job_is_paused_resumed_and_leaves_no_files(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.05"})
    client = follow(server.address)
    assert "Ray cluster" in client.link.state.server.devices[0].name
    job = client.link.submit(capture, settings_of(steps=60, checkpoint_every=1000), preview_budget=None).result(WAIT_S)
    wait_for_step(client, job.job_id, 15)
    client.link.pause(job.job_id).result(WAIT_S)
    assert client.wait_until(job.job_id, "paused", timeout_s=40).result.partial
    client.updates.clear()
    client.link.resume(job.job_id).result(WAIT_S)
    done = client.wait_until(job.job_id, "done", timeout_s=60)
    assert client.link.fetch_result(done).result(WAIT_S).report["steps"] == 60
    rows = server.work()
    assert [row[2] for row in rows] == ["start", "stopped", "start", "done"]
    assert rows[1][3] == rows[2][3] >= 15
    client.wait_for(lambda c: not list((server.store / "ray-files").rglob(job.job_id)))
    assert server.stop() == 0


@pytest.mark.parametrize("start_server", ["ray"], indirect=True)
def test_a_lost_machine_is_replaced_from_the_checkpoint(ray_cluster, start_server, follow, capture, settings_of):
    # Jobs of three CPUs: they fit the added machines alone, so that the cluster's head stays.
    first = ray_cluster.add_node(num_cpus=3, **NODE)
    server = start_server(environment={"STAND_IN_STEP_S": "0.1"}, ray={"cpus_per_job": 3.0})
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=120)).result(WAIT_S)
    wait_for_step(client, job.job_id, 25)
    second = ray_cluster.add_node(num_cpus=3, **NODE)
    began = time.monotonic()
    ray_cluster.remove_node(first, allow_graceful=False)
    client.wait_until(job.job_id, "done", timeout_s=120)
    rows = server.work()
    assert [row[2] for row in rows] == ["start", "start", "done"]
    assert rows[1][3] >= 20 and rows[0][1] != rows[1][1]
    assert any("another worker" in event.text for event in client.events(job.job_id)), time.monotonic() - began
    ray_cluster.remove_node(second)
