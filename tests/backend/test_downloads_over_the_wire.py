# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads over real sockets: whole, and going on in the middle after a killed server or a lost connection."""

from __future__ import annotations

import time

import numpy as np
import pytest
import stand_in_pipeline

from interngs.link.downloads import Download
from interngs.link.updates import TransferChanged

WAIT_S = 120.0
GAUSSIANS, STEPS = 200_000, 2       # 18 MB of result


@pytest.mark.parametrize("victim", ["server", "connection"])
def test_a_download_goes_on_in_the_middle(start_server, follow, capture, settings_of, monkeypatch, victim):
    taken: list[int] = []
    take = Download.take

    def slowly(self, wanted, chunk):
        time.sleep(0.02)
        taken.append(len(chunk.payload))
        return take(self, wanted, chunk)

    server = start_server()
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=STEPS, gaussians=GAUSSIANS)).result(WAIT_S)
    done = client.wait_until(job.job_id, "done", timeout_s=60)
    monkeypatch.setattr(Download, "take", slowly)
    fetched = client.link.fetch_result(done)
    client.wait_for(lambda c: any(isinstance(u, TransferChanged) and u.direction == "download" and u.bytes_done > 3e6
                                  for u in c.updates))
    if victim == "server":
        server.kill()
        before = sum(taken)
        server.start()
    else:
        client.link._engine.post(lambda: client.link._engine._lost(None))
        before = sum(taken)
    result = fetched.result(WAIT_S)
    size = done.result.splat.size_bytes + (done.result.report.size_bytes if done.result.report else 0)
    # Nothing that was there before the cut was sent again.
    assert 3e6 < before < size and sum(taken) == size
    expected = stand_in_pipeline.some_gaussians(GAUSSIANS, STEPS)
    np.testing.assert_array_equal(result.gaussians.sh, expected.sh)
    assert result.gaussians.means.flags.writeable


def test_a_result_on_a_disk_that_changed_it_is_not_used(start_server, follow, capture, settings_of):
    server = start_server()
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=STEPS)).result(WAIT_S)
    done = client.wait_until(job.job_id, "done", timeout_s=60)
    (blob,) = (server.store / "blobs").rglob(done.result.splat.sha256)
    with blob.open("r+b") as opened:
        opened.seek(-1, 2)
        opened.write(b"\x01")
    error = client.link.fetch_result(done).exception(WAIT_S)
    assert error.code == "hash-mismatch" and "disk" in error.remedy
