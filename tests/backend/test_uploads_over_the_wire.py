# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads: only what is missing, from the middle after a loss, checked before use, owned by who sent the bytes."""

from __future__ import annotations

import hashlib
import struct
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from backend.blobs import check_content
from interngs.errors import InternGSError
from interngs.formats.image_header import ImageHeader
from interngs.link import CaptureSource
from interngs.link.sources import BlobSource
from interngs.link.updates import TransferChanged, TransferFailed
from interngs.wire.limits import Limits

WAIT_S = 120.0


def blob_files(server) -> list[Path]:
    return [path for path in (server.store / "blobs").rglob("*") if path.is_file()]


def test_photos_are_sent_once(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.2"})
    client = follow(server.address)
    first = client.link.submit(capture, settings_of()).result(WAIT_S)
    client.wait_until(first.job_id, "training")
    report = client.link.preflight(capture, settings_of(seed=2)).result(WAIT_S)
    assert report.ok and report.missing == () and report.upload_bytes == 0
    assert report.seconds > 0 and report.memory_bytes > 0
    second = client.link.submit(capture, settings_of(seed=2)).result(WAIT_S)
    assert second.state == "queued"
    assert len(blob_files(server)) == 3


def test_two_clients_with_the_same_photos_at_once(start_server, follow, make_capture_in, settings_of, tmp_path):
    server = start_server()
    one, two = follow(server.address, "one"), follow(server.address, "two")
    capture = make_capture_in(tmp_path / "large", views=4, side=700)
    futures = [client.link.submit(capture, settings_of(seed=seed)) for seed, client in enumerate((one, two))]
    for client, future in zip((one, two), futures, strict=True):
        client.wait_until(future.result(WAIT_S).job_id, "done", timeout_s=60)
    stored = {path.name for path in blob_files(server)}
    assert {hashlib.sha256(view.image.read_bytes()).hexdigest() for view in capture.views} <= stored


@pytest.mark.parametrize("victim", ["server", "client"])
def test_an_upload_goes_on_in_the_middle(start_server, follow, make_capture_in, settings_of, tmp_path, victim):
    server = start_server()
    capture = make_capture_in(tmp_path / "large", views=2, side=2200)      # 14 MB each
    client = follow(server.address)
    job = client.link.submit(capture, settings_of()).result(WAIT_S)
    client.wait_for(lambda c: any(isinstance(u, TransferChanged) and u.bytes_done > 3e6 for u in c.updates))
    if victim == "server":
        server.kill()
        partial = sum(path.stat().st_size for path in (server.store / "uploads").iterdir())
        server.start()
    else:
        assert client.link.close(5.0)
        time.sleep(0.5)
        partial = sum(path.stat().st_size for path in (server.store / "uploads").iterdir())
        client = follow(server.address)
        assert client.link.attach(job.job_id).result(WAIT_S).state == "uploading"
        client.link.supply(job.job_id, capture).result(WAIT_S)
    assert partial > 1e6
    client.updates.clear()
    client.wait_until(job.job_id, "done", timeout_s=60)
    resumed = [update.bytes_done for update in client.updates if isinstance(update, TransferChanged)]
    assert resumed and min(resumed) >= partial * 0.9     # nothing before the cut was sent again


def test_a_discard_in_the_middle_of_an_upload_leaves_no_part_of_it(start_server, follow, make_capture_in, settings_of,
                                                                   tmp_path, monkeypatch):
    server = start_server()
    capture = make_capture_in(tmp_path / "large", views=2, side=2200)
    client = follow(server.address)
    read = BlobSource.read
    monkeypatch.setattr(BlobSource, "read", lambda *arguments: (time.sleep(0.02), read(*arguments))[1])
    job = client.link.submit(capture, settings_of()).result(WAIT_S)
    client.wait_for(lambda c: any(isinstance(u, TransferChanged) and u.bytes_done > 1e6 for u in c.updates))
    assert any((server.store / "uploads").iterdir())
    client.link.discard(job.job_id).result(WAIT_S)
    client.wait_for(lambda c: not any((server.store / "uploads").iterdir()))
    assert not blob_files(server)


def test_a_photo_that_changes_while_it_is_sent_is_named(start_server, follow, make_capture_in, settings_of, tmp_path):
    server = start_server()
    capture = make_capture_in(tmp_path / "large", views=2, side=2200)
    client = follow(server.address)
    job = client.link.submit(capture, settings_of()).result(WAIT_S)
    with capture.views[1].image.open("r+b") as opened:
        opened.seek(-100, 2)
        opened.write(b"x" * 50)
    failed = client.wait_for(lambda c: next((u for u in c.updates if isinstance(u, TransferFailed)), None))
    assert failed.job_id == job.job_id and failed.error.code == "hash-mismatch"
    assert client.link.jobs().result(WAIT_S)[0].state == "uploading"
    assert not blob_files(server) or all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name
                                         for path in blob_files(server))


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG file that says it is large."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(("content", "code"), [
    (png_bomb(13_000, 13_000), "image-too-large"), (png_bomb(2**31 - 1, 2**31 - 1), "image-too-large"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "image-unreadable"), (b"GIF89a" + b"\0" * 50, "image-type"),
    (b"\x80\x04\x95pickle", "image-type"),
], ids=["large", "absurd", "cut short", "GIF", "pickle"])
def test_files_that_are_no_fitting_images_are_refused_from_their_header(start_server, follow, capture, settings_of,
                                                                        monkeypatch, content, code):
    server = start_server()
    bad = capture.views[0].image
    client = follow(server.address)
    # The link would refuse them itself; a client that lies about them must be refused too.
    monkeypatch.setattr("interngs.link.sources.read_image_header", lambda path: ImageHeader("PNG", 56, 48))
    bad.write_bytes(content)
    job = client.link.submit(capture, settings_of()).result(WAIT_S)
    failed = client.wait_for(lambda c: next((u for u in c.updates if isinstance(u, TransferFailed)), None))
    assert failed.error.code == code and str(server.store) not in failed.error.cause
    assert client.link.discard(job.job_id).result(WAIT_S).state == "discarded"
    assert hashlib.sha256(content).hexdigest() not in {path.name for path in blob_files(server)}
    partial = hashlib.sha256(b"local\0" + hashlib.sha256(content).hexdigest().encode()).hexdigest()
    assert not (server.store / "uploads" / f"{partial}.part").exists()


def test_the_link_itself_refuses_what_cannot_be_read(follow, start_server, capture, settings_of, tmp_path):
    client = follow(start_server().address)
    missing = CaptureSource((replace(capture.views[0], image=tmp_path / "none.png"), *capture.views[1:]))
    with pytest.raises(InternGSError) as refused:
        client.link.submit(missing, settings_of()).result(WAIT_S)
    assert refused.value.code == "image-missing"
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InternGSError):
        client.link.preflight(CaptureSource((replace(capture.views[0], image=tmp_path / "text.png"),)),
                              settings_of()).result(WAIT_S)


def test_quota_and_bounds(start_server, follow, make_capture_in, settings_of, tmp_path):
    server = start_server(environment={"STAND_IN_STEP_S": "0.001"},
                          limits={"jobs_waiting": 2, "stored_bytes": 300_000, "jobs_kept": 3})
    client = follow(server.address)
    finished = []
    for number in range(4):      # results of 500 Gaussians and 3 photos: about 70 kB a job
        capture = make_capture_in(tmp_path / f"photos{number}", seed=number)
        job = client.link.submit(capture, settings_of(steps=2, seed=number)).result(WAIT_S)
        finished.append(client.wait_until(job.job_id, "done"))
    kept = [job.job_id for job in client.link.jobs().result(WAIT_S)]
    assert kept == [job.job_id for job in reversed(finished[1:])]       # the oldest finished one was cleared
    large = make_capture_in(tmp_path / "large", views=3, side=300)
    with pytest.raises(InternGSError) as refused:
        client.link.submit(large, settings_of()).result(WAIT_S)
    assert refused.value.code == "quota-exceeded"


def test_the_quota_clears_what_was_fetched_before_what_was_not(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.001"}, limits={"jobs_kept": 2})
    client = follow(server.address)
    jobs = []
    for steps in (2, 3):
        job = client.link.submit(capture, settings_of(steps=steps)).result(WAIT_S)
        jobs.append(client.wait_until(job.job_id, "done"))
    client.link.fetch_result(jobs[1]).result(WAIT_S)
    time.sleep(0.3)     # the front process notes the end of the download after it has sent the last byte
    third = client.link.submit(capture, settings_of(steps=4)).result(WAIT_S)
    assert {job.job_id for job in client.link.jobs().result(WAIT_S)} == {jobs[0].job_id, third.job_id}


@pytest.mark.parametrize("content", [png_bomb(13_000, 13_000), png_bomb(2**31 - 1, 2**31 - 1)],
                         ids=["large", "absurd"])
def test_image_bombs_cost_little(tmp_path, content):
    bomb = tmp_path / "bomb"
    bomb.write_bytes(content)
    began = time.process_time()
    with pytest.raises(InternGSError):
        check_content(bomb, "image", Limits())
    assert time.process_time() - began < 0.1
    tracemalloc.start()
    try:
        with pytest.raises(InternGSError):
            check_content(bomb, "image", Limits())
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_the_queue_has_an_end(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.5"}, limits={"jobs_waiting": 2})
    client = follow(server.address)
    first = client.link.submit(capture, settings_of(steps=1000)).result(WAIT_S)
    client.wait_until(first.job_id, "preparing", "training")
    for seed in (1, 2):
        client.link.submit(capture, settings_of(seed=seed)).result(WAIT_S)
    with pytest.raises(InternGSError) as refused:
        client.link.submit(capture, settings_of(seed=3)).result(WAIT_S)
    assert refused.value.code == "queue-full"


def test_a_full_disk_refuses_new_work_and_keeps_the_old(start_server, follow, capture, settings_of):
    server = start_server()
    client = follow(server.address)
    done = client.wait_until(client.link.submit(capture, settings_of()).result(WAIT_S).job_id, "done")
    server.stop()
    server.options["min_free_bytes"] = 1 << 60       # as if the disk were full
    server.start()
    client.wait_for(lambda c: c.link.state.is_up and c.link.state.restarted)
    with pytest.raises(InternGSError) as refused:
        client.link.submit(capture, settings_of(seed=1)).result(WAIT_S)
    assert refused.value.code == "disk-full"
    assert not client.link.health().result(WAIT_S).accepts_work
    assert len(client.link.fetch_result(done).result(WAIT_S).gaussians) == 500
