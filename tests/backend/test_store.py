# SPDX-License-Identifier: GPL-3.0-or-later
"""What must survive: transactions, migration, clean-up, ownership of blobs, a full disk."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backend.blobs import part_name
from backend.jobs import Job
from backend.locks import FileLock
from backend.schema import STEPS
from backend.store import Store
from backend.uploads import Uploads
from interngs.wire.errors import ErrorInfo, ServiceError
from interngs.wire.limits import PARTIAL_UPLOAD_KEPT_S, REPLIES_KEPT, Limits
from interngs.wire.records import BlobRef, CaptureRecord, JobEvent, ProgressInfo, ResultInfo, ViewRecord

ONE, TWO = BlobRef("11" * 32, 100), BlobRef("22" * 32, 200)
CAPTURE = CaptureRecord((ViewRecord("a", ONE, 10, 10), ViewRecord("b", TWO, 10, 10)))


def job(number: int = 1, owner: str = "local", **changes) -> Job:
    return replace(Job(f"{number:032x}", owner, "c", "name", "share", "title", "draft", 2, created_s=float(number)),
                   **changes)


@pytest.fixture
def store(tmp_path):
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()


def put_blob(store: Store, ref: BlobRef, content: bytes = b"x") -> Path:
    path = store.folders.blobs.path(ref.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_jobs_come_back_as_they_were(store):
    full = job(state="training", wanted="pause", updated_s=5.0, queued_order=3, stage="optimise",
               progress=ProgressInfo("optimise", 1, 2), result=ResultInfo(ONE, 5, 1, True, 7, TWO),
               error=ErrorInfo("a", "b", "c"), last_seq=9, attempt=2, failures=1, checkpoint_step=40, folder_bytes=77,
               fetched=True)
    with store.batch():
        store.add_job(job(), CAPTURE, {"preset": "draft", "seed": 1})
        store.save_job(full)
        store.add_event(full.job_id, JobEvent(1, "log", 2.0, "hello"))
        store.add_event(full.job_id, JobEvent(2, "state", 2.0, state="training"))
    assert store.jobs() == [full]
    assert store.work_of(full.job_id) == (CAPTURE, {"preset": "draft", "seed": 1})
    assert [event.seq for event in store.events(full.job_id, 0, 10)] == [1, 2]
    assert [event.text for event in store.events(full.job_id, 0, 1)] == ["hello"]
    assert store.events(full.job_id, 2, 10) == []


def test_a_batch_is_all_or_nothing_and_a_step_fails_alone(store):
    with pytest.raises(KeyError), store.batch():
        store.add_job(job(1), CAPTURE, {})
        raise KeyError
    assert store.jobs() == []
    with store.batch():
        store.add_job(job(1), CAPTURE, {})
        with pytest.raises(KeyError), store.step():
            store.add_job(job(2), CAPTURE, {})
            raise KeyError
        store.add_job(job(3), CAPTURE, {})
    assert [entry.job_id for entry in store.jobs()] == [job(1).job_id, job(3).job_id]


def test_blobs_belong_to_who_sent_them(store):
    with store.batch():
        store.add_job(job(1, "anna", state="uploading"), CAPTURE, {})
        store.add_job(job(2, "ben", state="uploading"), CAPTURE, {})
        store.add_blob("anna", ONE)
    assert store.has_blob("anna", ONE.sha256) and not store.has_blob("ben", ONE.sha256)
    assert store.missing_inputs(job(1).job_id) == [TWO] and store.missing_inputs(job(2).job_id) == [ONE, TWO]
    assert store.is_wanted("ben", ONE) and not store.is_wanted("carl", ONE)
    assert not store.is_wanted("ben", BlobRef(ONE.sha256, 101))
    assert store.stored_bytes("anna") == 100 and store.stored_bytes("ben") == 0
    with store.batch():
        store.add_blob("ben", ONE)
        assert store.remove_job(job(1).job_id) == []        # ben still has it
        assert not store.has_blob("anna", ONE.sha256)
        assert store.remove_job(job(2).job_id) == [ONE.sha256]


def test_a_blob_that_two_jobs_use_stays_with_the_second(store):
    with store.batch():
        for number in (1, 2):
            store.add_job(job(number), CAPTURE, {})
        store.add_blob("local", ONE)
        assert store.remove_job(job(1).job_id) == []
        assert store.has_blob("local", ONE.sha256)
        assert store.remove_job(job(2).job_id) == [ONE.sha256]


def test_answers_are_kept_to_a_bound(store):
    with store.batch():
        for number in range(REPLIES_KEPT + 5):
            store.add_reply("local", "c", f"r{number}", b"%d" % number)
    assert store.reply("local", "c", "r4") is None and store.reply("local", "c", "r5") == b"5"
    assert store.reply("local", "other", "r5") is None and store.reply("anna", "c", "r5") is None


def test_only_one_server_opens_a_store(store):
    with pytest.raises(ServiceError) as refused:
        Store.open(store.folders.root)
    assert refused.value.code == "store-in-use"


def test_a_lock_is_free_again_after_release(tmp_path):
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.acquire() and not two.acquire(0.1)
    one.release()
    assert two.acquire()
    two.release()


def test_a_store_of_the_future_is_refused(tmp_path):
    Store.open(tmp_path).close()
    database = sqlite3.connect(tmp_path / "store.sqlite3")
    assert database.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    database.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    database.close()
    with pytest.raises(ServiceError) as refused:
        Store.open(tmp_path)
    assert refused.value.code == "store-too-new"


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    Store.open(tmp_path).close()
    monkeypatch.setattr("backend.schema.STEPS", (*STEPS, "CREATE TABLE extra (a); nonsense;"))
    with pytest.raises(sqlite3.OperationalError):
        Store.open(tmp_path)
    monkeypatch.setattr("backend.schema.STEPS", (*STEPS, "CREATE TABLE extra (a);"))
    opened = Store.open(tmp_path)
    opened.close()
    database = sqlite3.connect(tmp_path / "store.sqlite3")
    assert database.execute("PRAGMA user_version").fetchone() == (len(STEPS) + 1,)
    database.close()


def test_orphans_are_removed_at_start_and_lost_blobs_found(store):
    known, orphan = put_blob(store, ONE), put_blob(store, TWO)
    with store.batch():
        store.add_job(job(1), CAPTURE, {})
        store.add_blob("local", ONE)
    for name in (job(1).job_id, "dead"):
        (store.folders.root / "jobs" / name).mkdir()
    # TWO is still to come; the third belongs to no job.
    fresh, old, unknown = (store.folders.uploads / name for name in (
        part_name("local", TWO.sha256), part_name("local", ONE.sha256), part_name("else", TWO.sha256)))
    for path in (fresh, old, unknown):
        path.write_bytes(b"x")
    os.utime(old, (0, time.time() - PARTIAL_UPLOAD_KEPT_S - 10))
    with store.batch():
        removed = store.clean_up()
    assert removed == {"replies": 0, "blobs": 1, "job folders": 1, "partial uploads": 2}
    assert known.exists() and not orphan.exists() and fresh.exists() and not old.exists()
    assert not unknown.exists()
    assert store.lost_blobs() == []
    known.unlink()
    assert store.lost_blobs() == [ONE.sha256]
    with store.batch():
        store.forget_blob(ONE.sha256)
    assert store.missing_inputs(job(1).job_id) == [ONE, TWO]


def test_a_full_disk_undoes_the_batch_and_says_so(store):
    # SQLite's own bound on pages fails as a full disk does: "database or disk is full".
    with store.batch():
        store.add_job(job(1), CAPTURE, {})
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ServiceError) as refused, store.batch():
        for number in range(2, 2000):
            store.add_job(job(number), CAPTURE, {"text": "x" * 500})
    assert refused.value.code == "disk-full"
    assert [entry.job_id for entry in store.jobs()] == [job(1).job_id]
    store._db.execute("PRAGMA max_page_count = 1000000")
    with store.batch():
        store.add_job(job(2), CAPTURE, {})


def test_a_chunk_that_meets_a_full_disk_is_taken_back(tmp_path, store):
    uploads = Uploads(store.folders.uploads, store.folders.blobs, Limits())
    uploads.open("local", ONE, "image")
    assert uploads.write("local", ONE.sha256, 0, b"a" * 40) == 40
    part = uploads._parts["local", ONE.sha256]

    class FullDisk:
        """A file whose disk is full in the middle of a write."""

        def __init__(self, file) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            self._file.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name: str):
            return getattr(self._file, name)

    real, part.file = part.file, FullDisk(part.file)
    with pytest.raises(ServiceError) as refused:
        uploads.write("local", ONE.sha256, 40, b"b" * 40)
    assert refused.value.code == "disk-full"
    part.file = real
    assert uploads.open("local", ONE, "image") == 40
    uploads.close()
    again = Uploads(store.folders.uploads, store.folders.blobs, Limits())
    assert again.open("local", ONE, "image") == 40
    with pytest.raises(ServiceError, match="longer than"):
        again.write("local", ONE.sha256, 40, b"b" * 61)
    again.write("local", ONE.sha256, 40, b"b" * 60)
    with pytest.raises(ServiceError) as wrong:
        again.finish("local", ONE.sha256)
    assert wrong.value.code == "hash-mismatch" and not list(store.folders.uploads.iterdir())


def test_many_uploads_keep_few_files_open(tmp_path, store, monkeypatch):
    monkeypatch.setattr("backend.uploads._OPEN_FILES", 3)
    uploads = Uploads(store.folders.uploads, store.folders.blobs, Limits())
    refs = [BlobRef(f"{number:064x}", 10) for number in range(10)]
    for ref in refs:
        uploads.open("local", ref, "image")
    for ref in refs:
        assert uploads.write("local", ref.sha256, 0, b"abc") == 3
    assert len(uploads._parts) == 3
    assert [uploads.open("local", ref, "image") for ref in refs] == [3] * 10
    uploads.close()
