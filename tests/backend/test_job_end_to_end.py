# SPDX-License-Identifier: GPL-3.0-or-later
"""A job from photos to Gaussians through a real server and a real worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import stand_in_pipeline

from interngs.events import Done, Log, Progress, Stage
from interngs.link import CaptureSource, Link, ViewSource
from interngs.link.commands import connected, find_job, jobs, run
from interngs.link.local_backend import LocalBackend
from interngs.link.updates import PreviewArrived, ProgressChanged, TransferChanged
from interngs.scene.capture import CaptureFiles, SparsePoints, ViewFile

WAIT_S = 120.0


def test_a_job_runs_from_photos_to_result(start_server, follow, capture, settings_of):
    server = start_server()
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(gaussians=700), title="three photos",
                             preview_budget=None).result(WAIT_S)
    assert job.state == "uploading"
    done = client.wait_until(job.job_id, "done")

    fetched = client.link.fetch_result(done).result(WAIT_S)
    expected = stand_in_pipeline.some_gaussians(700, 40)
    np.testing.assert_array_equal(fetched.gaussians.means, expected.means)
    np.testing.assert_array_equal(fetched.gaussians.sh, expected.sh)
    assert fetched.report["complete"] is True and fetched.report["psnr"] is None
    assert not done.result.partial and done.result.gaussians == 700 and done.result.sh_degree == 1

    client.wait_for(lambda c: len(c.events(job.job_id)) == done.last_seq)
    events = client.events(job.job_id)
    assert [event.seq for event in events] == list(range(1, done.last_seq + 1))
    assert [event.state for event in events if event.kind == "state"] == [
        "uploading", "queued", "preparing", "training", "finishing", "done"]
    assert [event.text for event in events if event.kind == "stage"] == ["load", "geometry", "optimise", "clean"]
    assert [event.step for event in events if event.kind == "checkpoint"] == [10, 20, 30, 40, 40]
    assert any(event.text == "3 views, first 56x48" for event in events if event.kind == "log")
    progress = [update.progress for update in client.updates if isinstance(update, ProgressChanged)]
    assert progress[-1].step == 40 and progress[-1].psnr_db == 20.0
    uploads = [update for update in client.updates if isinstance(update, TransferChanged)
               and update.direction == "upload"]
    assert uploads[-1].bytes_done == uploads[-1].bytes_total > 0


def test_previews_arrive_whole_while_training(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.05"})
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=200, gaussians=300), preview_budget=None).result(WAIT_S)
    preview = client.wait_for(lambda c: next((u for u in c.updates if isinstance(u, PreviewArrived)
                                              and u.info.step > 0), None))
    original = stand_in_pipeline.some_gaussians(300, preview.info.step)
    assert len(preview.gaussians) == 300 == preview.info.gaussians
    assert preview.gaussians.sh_degree == 0
    order = np.argsort(original.means[:, 1])
    np.testing.assert_allclose(np.sort(preview.gaussians.means[:, 1]), original.means[order, 1], atol=1e-5)
    client.link.cancel(job.job_id).result(WAIT_S)


def test_masks_depth_and_points_reach_the_pipeline(start_server, follow, capture, settings_of, tmp_path):
    depth = np.full((48, 56), 4.0, np.float32)
    np.save(tmp_path / "depth.npy", depth)
    first, second, third = capture.views
    views = (replace(first, mask=second.image, depth=depth), replace(second, depth=tmp_path / "depth.npy"),
             ViewSource(third.name, third.image, third.camera))
    points = SparsePoints(np.zeros((5, 3)), np.zeros((5, 3), np.uint8))
    server = start_server()
    client = follow(server.address)
    job = client.link.submit(CaptureSource(views, "all kinds", points), settings_of()).result(WAIT_S)
    client.wait_until(job.job_id, "done")


def test_the_commands_give_the_events_of_a_local_run(start_server, capture, settings_of, tmp_path):
    server = start_server()
    files = CaptureFiles(tuple(ViewFile(view.name, view.image, view.camera) for view in capture.views), "files")
    with connected(server.address, tmp_path / "cli") as link:
        events = list(run(link, files, settings_of(), title="by command"))
        assert isinstance(events[-1], Done) and events[-1].report["complete"]
        assert [event.name for event in events if isinstance(event, Stage)] == [
            "upload", "load", "geometry", "optimise", "clean"]
        assert any(isinstance(event, Log) for event in events) and any(isinstance(event, Progress) for event in events)
        (job,) = jobs(link)
        assert find_job(link, job.job_id[:6]) == find_job(link, "by command") == job


def test_a_local_backend_starts_and_ends_with_its_owner(tmp_path):
    import sys
    backend = LocalBackend.start(Path(sys.executable), tmp_path / "store",
                                 folder=Path(__file__).resolve().parents[2])
    address = backend.wait_until_ready()
    link = Link("owner", tmp_path / "client")
    try:
        link.connect(address)
        assert link.health().result(WAIT_S).accepts_work
    finally:
        assert link.close()
    assert backend.stop(10.0)
    assert backend.process.returncode == 0
