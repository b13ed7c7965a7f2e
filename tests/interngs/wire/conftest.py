# SPDX-License-Identifier: GPL-3.0-or-later
"""One example of every message, with every optional field set."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.wire import messages as m
from interngs.wire import records as r
from interngs.wire.errors import ErrorInfo
from interngs.wire.limits import Limits

SHA, OTHER, ID = "a1" * 32, "b2" * 32, "c3" * 16


def examples() -> list[m.Message]:
    """One of each type."""
    camera = r.CameraRecord(tuple(float(i) for i in range(9)), tuple(0.5 * i for i in range(16)), 640, 480)
    image, mask = r.BlobRef(SHA, 1000), r.BlobRef(OTHER, 200)
    views = (r.ViewRecord("left ü.jpg", image, 640, 480, camera, "OPENCV", (0.1, -0.2, 0.0, 0.0), mask, mask),
             r.ViewRecord("right.jpg", image, 640, 480))
    capture = r.CaptureRecord(views, "COLMAP", r.BlobRef(OTHER, 50))
    settings = {"preset": "draft", "seed": 3, "optimise": {"steps": 100, "sh_degree": None, "grow": False}}
    progress = r.ProgressInfo("optimise", 10, 100, 0.25, 21.5, 1000, 12.5)
    result = r.ResultInfo(image, 1000, 3, True, 90, mask)
    error = ErrorInfo("worker-lost", "It broke off.", "Resume it.")
    job = r.JobInfo(ID, "chair", "training", 3, "draft", 1.5, 2.5, 7, "Blender", "pause", 2, 0, "optimise", progress,
                    result, error, 1)
    preview = r.PreviewInfo(4, 100, 5000, 100_512)
    server = r.ServerInfo(ID, ID, "0.1.0", 2, 2.0, 4, ("resume",), Limits(), (r.DeviceInfo("GPU", "cuda", 10, 5),),
                          (r.PriorInfo("dust3r", False, "CC BY-NC-SA 4.0", False),), 1, 2, 3)
    finding = r.Finding("warning", "no-overlap", "It sees nothing.", "Add one.", "left ü.jpg")
    event = r.JobEvent(3, "result", 5.5, "text", "detail", "warning", 9, "done", error, result)
    health = r.Health("0.1.0", ID, 10.0, (r.DeviceInfo("CPU", "cpu"),), 5, 10, True, 1, {"done": 3}, 1, 1000)
    payload = np.arange(10, dtype=np.uint8)
    return [
        m.Hello(1, 2, ID, "Blender", "0.1.0", ("resume",)), m.Ping(5), m.Pair("x" * 40, "desk"),
        m.PreflightCapture(capture, settings), m.Submit(capture, settings, "chair", 2), m.GetInputs(ID), m.ListJobs(3),
        m.Attach(ID, 4), m.Detach(ID), m.CommandJob(ID, "pause"), m.GetHealth(), m.EventAck(ID, 3), m.Goodbye(),
        m.Welcome(server, ID, 47801), m.Pong(5), m.Paired("ab"),
        m.PreflightReport(r.Preflight(True, (finding,), 60.5, 1000, 10, (image,))), m.Accepted(job, (image, mask)),
        m.JobList((job, job), 2), m.Attached(job, preview), m.JobStateAnswer(job), m.HealthReport(health), m.Done(),
        m.Failure("bad-message", "It was bad.", "Mend it."), m.EventPush(ID, event), m.ProgressPush(ID, progress),
        m.PreviewPush(ID, preview), m.JobPush(job), m.Notice("stopping"), m.BulkHello(ID), m.BulkReady(1000, 8),
        m.UploadOpen(image, "image"), m.UploadChunk(SHA, 10, payload), m.UploadState(SHA, 20, False),
        m.Fetch(f"blob:{SHA}", 0, 10), m.Chunk(f"blob:{SHA}", 0, 10, payload),
    ]


@pytest.fixture(params=examples(), ids=lambda message: type(message).__name__)
def message(request: pytest.FixtureRequest) -> m.Message:
    """Each message in turn."""
    return request.param


@pytest.fixture
def all_messages() -> list[m.Message]:
    """All of them."""
    return examples()
