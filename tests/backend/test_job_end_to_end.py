# SPDX-License-Identifier: GPL-3.0-or-later
"""A job from photos to Gaussians through a real server and a real worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import stand_in_pipeline

from interngs.link.updates import PreviewArrived, ProgressChanged, TransferChanged


def test_a_job_runs_from_photos_to_result(start_server, follow, capture, settings_of):
    server = start_server()
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(), title="three photos", preview_budget=None).result(10)
    assert job.state == "uploading"
    done = client.wait_until(job.job_id, "done")

    fetched = client.link.fetch_result(done).result(10)
    expected = stand_in_pipeline.some_gaussians(500, 40)
    np.testing.assert_array_equal(fetched.gaussians.means, expected.means)
    np.testing.assert_array_equal(fetched.gaussians.sh, expected.sh)
    assert fetched.report["complete"] is True and fetched.report["psnr"] is None
    assert not done.result.partial and done.result.gaussians == 500 and done.result.sh_degree == 1
