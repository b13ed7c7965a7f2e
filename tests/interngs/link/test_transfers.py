# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads and downloads against a server in memory that loses, repeats and interleaves."""

from __future__ import annotations

import hashlib
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from interngs.link.downloads import Download, Downloads
from interngs.link.sources import BlobSource
from interngs.link.uploads import Uploads
from interngs.wire.errors import ErrorInfo, WireError
from interngs.wire.limits import FETCH_BYTES, FETCH_WHOLE_BYTES
from interngs.wire.messages import Chunk, Failure, Fetch, UploadChunk, UploadOpen, UploadState
from interngs.wire.records import BlobRef

CREDIT = 4


def source(path: Path, content: bytes) -> BlobSource:
    path.write_bytes(content)
    return BlobSource(BlobRef(hashlib.sha256(content).hexdigest(), len(content)), "image", path)


class MemoryServer:
    """What a server does with uploads."""

    def __init__(self) -> None:
        self.parts: dict[str, bytearray] = {}
        self.sizes: dict[str, int] = {}
        self.sent = 0

    def answer(self, message: UploadOpen | UploadChunk) -> UploadState:
        if isinstance(message, UploadOpen):
            sha256 = message.blob.sha256
            self.sizes[sha256] = message.blob.size_bytes
            part = self.parts.setdefault(sha256, bytearray())
        else:
            sha256, self.sent = message.sha256, self.sent + len(message.payload)
            part = self.parts[sha256]
            if message.offset == len(part):
                part += bytes(message.payload)
        return UploadState(sha256, len(part), len(part) == self.sizes[sha256])


class Wire:
    """Messages on their way, at most ``CREDIT``."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, object]] = []
        self._ids = count()

    def send(self, message: object) -> str:
        request_id = str(next(self._ids))
        self.waiting.append((request_id, message))
        assert len(self.waiting) <= CREDIT
        return request_id


@pytest.fixture
def transfers() -> tuple[Uploads, list, list]:
    changed, failed = [], []
    uploads = Uploads(lambda *facts: changed.append(facts), lambda *facts: failed.append(facts))
    uploads.chunk_bytes = 1000
    return uploads, changed, failed


def run(uploads: Uploads, wire: Wire, server: MemoryServer, turns: int = 1000) -> None:
    for _ in range(turns):
        uploads.pump(wire.send, CREDIT)
        if not wire.waiting:
            return
        request_id, message = wire.waiting.pop(0)
        assert uploads.on_answer(request_id, server.answer(message))


def test_files_arrive_whole_and_progress_ends_at_the_total(transfers, tmp_path):
    uploads, changed, failed = transfers
    contents = {f"file{n}": bytes([n]) * (n * 777) for n in range(1, 9)}
    sources = {entry.ref.sha256: entry for name, content in contents.items()
               for entry in [source(tmp_path / name, content)]}
    server = MemoryServer()
    uploads.begin("job", [entry.ref for entry in sources.values()], sources)
    run(uploads, Wire(), server)
    assert {bytes(part) for part in server.parts.values()} == set(contents.values())
    total = sum(map(len, contents.values()))
    assert changed[-1] == ("job", total, total) and server.sent == total and not failed
    assert [done for _, done, _ in changed] == sorted(done for _, done, _ in changed)
    assert uploads.job_ids == []


def test_a_loss_in_the_middle_goes_on_where_the_server_stands(transfers, tmp_path):
    uploads, changed, _ = transfers
    entry = source(tmp_path / "file", bytes(range(256)) * 100)
    server, sources = MemoryServer(), {entry.ref.sha256: entry}
    uploads.begin("job", [entry.ref], sources)
    run(uploads, Wire(), server, turns=10)
    before = len(server.parts[entry.ref.sha256])
    assert 0 < before < entry.ref.size_bytes
    uploads.reset()
    sent_before = server.sent
    uploads.begin("job", [entry.ref], uploads.sources_of("job"))
    run(uploads, Wire(), server)
    assert bytes(server.parts[entry.ref.sha256]) == entry.path.read_bytes()
    assert server.sent - sent_before == entry.ref.size_bytes - before
    assert changed[-1][1:] == (entry.ref.size_bytes,) * 2


def test_two_senders_of_one_file_meet(tmp_path):
    entry, server = source(tmp_path / "file", bytes(range(256)) * 200), MemoryServer()
    pairs = []
    for _ in range(2):
        uploads = Uploads(lambda *facts: None, lambda *facts: None)
        uploads.chunk_bytes = 1000
        uploads.begin("job", [entry.ref], {entry.ref.sha256: entry})
        pairs.append((uploads, Wire()))
    for _ in range(2000):
        for uploads, wire in pairs:
            run(uploads, wire, server, turns=1)
    assert bytes(server.parts[entry.ref.sha256]) == entry.path.read_bytes()
    assert all(not uploads.job_ids for uploads, _ in pairs)


def test_a_file_that_shrinks_ends_its_upload_with_its_name(transfers, tmp_path):
    uploads, _, failed = transfers
    entry = source(tmp_path / "file", bytes(5000))
    uploads.begin("job", [entry.ref], {entry.ref.sha256: entry})
    entry.path.write_bytes(bytes(100))
    run(uploads, Wire(), MemoryServer())
    ((job, error),) = failed
    assert job == "job" and error.code == "file-changed" and str(entry.path) in error.cause and not uploads.job_ids


def test_a_refused_file_ends_the_upload(transfers, tmp_path):
    uploads, _, failed = transfers
    entry, wire = source(tmp_path / "file", bytes(500)), Wire()
    uploads.begin("job", [entry.ref], {entry.ref.sha256: entry})
    uploads.pump(wire.send, CREDIT)
    request_id, _ = wire.waiting.pop()
    uploads.on_answer(request_id, Failure("disk-full", "Full.", "Wait."))
    assert failed == [("job", ErrorInfo("disk-full", "Full.", "Wait."))] and not uploads.job_ids
    assert not uploads.on_answer(request_id, Failure("disk-full", "Full.", "Wait."))


# ---- downloads -------------------------------------------------------------------------------------------------------

class Got:
    """What a download ended with."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.error: ErrorInfo | None = None
        self.steps: list[int] = []

    def download(self, name: str, size: int, sha256: str | None = None) -> Download:
        return Download(name, size, bytes, lambda data: setattr(self, "data", data),
                        lambda error: setattr(self, "error", error), sha256,
                        lambda done, total: self.steps.append(done))


def downloads_here(range_bytes: int = FETCH_BYTES) -> Downloads:
    """Downloads whose every part runs in the test's own thread."""
    made = Downloads(lambda work: work(), lambda work: work())
    made.agree(range_bytes)
    return made


def content(size: int) -> bytes:
    return np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()


def chunk(data: bytes, message: Fetch) -> Chunk:
    part = np.frombuffer(data[message.offset:message.offset + message.length], np.uint8)
    return Chunk(message.name, message.offset, len(data), part)


@pytest.mark.parametrize("size", [0, 1, FETCH_BYTES - 1, FETCH_BYTES, FETCH_BYTES + 1, 5 * FETCH_BYTES + 7])
@pytest.mark.parametrize("order", ["in order", "backwards"])
def test_an_object_arrives_whole(size, order):
    data, got, wire, downloads = content(size), Got(), Wire(), downloads_here()
    downloads.add(got.download("blob", size, hashlib.sha256(data).hexdigest()))
    for _ in range(20):
        downloads.pump(wire.send, CREDIT)
        if wire.waiting:
            request_id, message = wire.waiting.pop(0 if order == "in order" else -1)
            assert downloads.on_answer(request_id, chunk(data, message))
    assert got.data == data and got.error is None
    assert size == 0 or got.steps[-1] == size


def test_a_lost_connection_asks_only_for_what_is_missing():
    data, got, wire, downloads = content(6 * FETCH_WHOLE_BYTES), Got(), Wire(), downloads_here()
    downloads.add(got.download("blob", len(data), hashlib.sha256(data).hexdigest()))
    downloads.pump(wire.send, CREDIT)
    for request_id, message in [wire.waiting.pop(0), wire.waiting.pop(1)]:     # the first and the third
        downloads.on_answer(request_id, chunk(data, message))
    downloads.reset()
    wire.waiting.clear()
    asked = []
    while got.data is None:
        downloads.pump(wire.send, CREDIT)
        request_id, message = wire.waiting.pop(0)
        asked.append(message.offset // FETCH_WHOLE_BYTES)
        downloads.on_answer(request_id, chunk(data, message))
    assert got.data == data and sorted(asked) == [1, 3, 4, 5]


def test_a_range_answered_in_part_is_asked_for_again_from_where_it_ended():
    data, got, wire, downloads = content(16 * FETCH_BYTES + 5), Got(), Wire(), downloads_here()
    downloads.add(got.download("blob", len(data), hashlib.sha256(data).hexdigest()))
    longest = 0
    while got.data is None and got.error is None:
        downloads.pump(wire.send, CREDIT)
        request_id, message = wire.waiting.pop(0)
        longest = max(longest, message.length)
        part = Fetch(message.name, message.offset, min(message.length, FETCH_WHOLE_BYTES))
        assert downloads.on_answer(request_id, chunk(data, part))
    assert got.data == data and longest == FETCH_BYTES and got.steps == sorted(got.steps)


@pytest.mark.parametrize("told, asked", [(0, FETCH_WHOLE_BYTES), (FETCH_WHOLE_BYTES, FETCH_WHOLE_BYTES),
                                         (2 << 20, 2 << 20), (1 << 40, FETCH_BYTES)])
def test_ranges_are_as_long_as_both_sides_take(told, asked):
    got, wire, downloads = Got(), Wire(), downloads_here(told)
    downloads.add(got.download("blob", 16 * FETCH_BYTES))
    downloads.pump(wire.send, CREDIT)
    assert [message.length for _, message in wire.waiting] == [asked] * CREDIT


def test_bytes_are_hashed_and_read_beside_the_thread_that_takes_them():
    """What was taken can be looked at any time later, and once: a slow hash holds up no chunk."""
    data, got, wire, beside, back = content(4 * FETCH_WHOLE_BYTES), Got(), Wire(), [], []
    downloads = Downloads(beside.append, back.append)
    downloads.agree(FETCH_BYTES)
    downloads.add(got.download("blob", len(data), hashlib.sha256(data).hexdigest()))
    downloads.pump(wire.send, CREDIT)
    for request_id, message in wire.waiting:
        downloads.on_answer(request_id, chunk(data, message))
    assert len(beside) == 4 and not back and got.data is None
    for work in beside:
        work()
    assert len(back) == 1 and got.data is None
    back[0]()
    assert got.data == data


def test_what_cannot_be_read_ends_the_download():
    def refuse(data):
        raise WireError("The bytes are no result.")

    failed, wire, downloads = [], Wire(), downloads_here()
    downloads.add(Download("blob", 100, refuse, failed.append, failed.append))
    downloads.pump(wire.send, CREDIT)
    request_id, message = wire.waiting.pop()
    downloads.on_answer(request_id, chunk(bytes(100), message))
    assert [error.code for error in failed] == ["bad-message"]


def test_a_download_that_no_memory_holds_fails_with_words():
    got, downloads = Got(), downloads_here()
    downloads.add(got.download("blob", 1 << 62))
    assert got.error.code == "out-of-memory"


def test_wrong_bytes_are_not_used():
    data, got, wire, downloads = content(1000), Got(), Wire(), downloads_here()
    downloads.add(got.download("blob", len(data), hashlib.sha256(b"other").hexdigest()))
    downloads.pump(wire.send, CREDIT)
    request_id, message = wire.waiting.pop()
    downloads.on_answer(request_id, chunk(data, message))
    assert got.data is None and got.error.code == "hash-mismatch"


@pytest.mark.parametrize("answer", [
    Failure("preview-gone", "Gone.", "Take the newest."), Chunk("blob", 5, 1000, np.zeros(1000, np.uint8)),
    Chunk("blob", 0, 1000, np.zeros(999, np.uint8)),
])
def test_refusals_and_wrong_ranges_end_a_download(answer):
    got, wire, downloads = Got(), Wire(), downloads_here()
    downloads.add(got.download("blob", 1000))
    downloads.pump(wire.send, CREDIT)
    downloads.on_answer(wire.waiting.pop()[0], answer)
    assert got.data is None and got.error is not None
    downloads.pump(wire.send, CREDIT)
    assert wire.waiting == []
