# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that must survive: jobs, events, answers and who owns which blob, in SQLite; files beside it."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interngs.wire.codec import pack, unpack
from interngs.wire.errors import ErrorInfo, ServiceError
from interngs.wire.limits import PARTIAL_UPLOAD_KEPT_S, REPLIES_KEPT, REPLIES_KEPT_S
from interngs.wire.records import BlobRef, CaptureRecord, JobEvent, ProgressInfo, ResultInfo, check_id
from interngs.wire.typed import from_plain, to_plain

from .blobs import BlobFolder, part_name
from .jobs import Job
from .locks import FileLock
from .schema import migrate

_STORED_RECORD_BYTES = 1 << 20
_DISK_FULL = ("disk is full", "disk I/O error")


@dataclass(frozen=True)
class StoreFolders:
    """Where the parts of a store lie."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "store.sqlite3"

    @property
    def blobs(self) -> BlobFolder:
        """Photos, results and reports by content."""
        return BlobFolder(self.root / "blobs")

    @property
    def uploads(self) -> Path:
        """Partial uploads."""
        return self.root / "uploads"

    def job(self, job_id: str) -> Path:
        """The folder of a job; the id is checked, so this is always inside the store."""
        return self.root / "jobs" / check_id(job_id)


class Store:
    """One connection to the store; a thread's own.  The first one of a process opens with ``Store.open``."""

    def __init__(self, folders: StoreFolders, database: sqlite3.Connection, lock: FileLock | None = None) -> None:
        self.folders, self._db, self._lock = folders, database, lock

    @staticmethod
    def open(root: Path) -> Store:
        """Open a store for this process alone, made or migrated when needed.

        Raises:
            ServiceError: ``store-in-use``, ``store-too-new``.
        """
        folders = StoreFolders(root)
        lock = FileLock(root / "lock")
        if not lock.acquire(timeout_s=2.0):
            raise ServiceError("store-in-use", f"Another server uses the store {root}.",
                               "Stop it, or give this one another folder with --store.")
        try:
            for folder in (folders.uploads, folders.root / "jobs", folders.blobs.folder):
                folder.mkdir(parents=True, exist_ok=True)
            database = _connect(folders.database)
        except BaseException:
            lock.release()
            raise
        store = Store(folders, database, lock)
        try:
            migrate(database)
        except BaseException:
            store.close()
            raise
        return store

    def reader(self) -> Store:
        """Another connection, for reading in another thread; call it in that thread."""
        return Store(self.folders, _connect(self.folders.database))

    def close(self) -> None:
        """Close the connection; the opener's lock is given back."""
        self._db.close()
        if self._lock is not None:
            self._lock.release()

    # ---- transactions ------------------------------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """A transaction: on disk when the block ends, undone when it raises.

        Raises:
            ServiceError: ``disk-full``.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise _explained(error) from error

    @contextmanager
    def step(self) -> Iterator[None]:
        """A part of a batch that can fail alone."""
        self._db.execute("SAVEPOINT step")
        try:
            yield
        except BaseException as error:
            # SQLite ends the whole transaction by itself on some errors (full disk): then nothing is left to undo.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO step")
                self._db.execute("RELEASE step")
            if isinstance(error, sqlite3.OperationalError):
                raise _explained(error) from error
            raise
        self._db.execute("RELEASE step")

    # ---- facts -------------------------------------------------------------------------------------------------------

    def server_id(self) -> str:
        """The id of this store's server, made at first."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'server_id'").fetchone()
        if row is None:
            server_id = secrets.token_hex(16)
            self._db.execute("INSERT INTO meta VALUES ('server_id', ?)", (server_id,))
            return server_id
        return str(row[0])

    def stored_bytes(self, owner: str) -> int:
        """Bytes kept for an owner: blobs once each, and job folders."""
        (blobs,) = self._db.execute(
            "SELECT COALESCE(SUM(size), 0) FROM blobs JOIN blob_owners USING (sha256) WHERE owner = ?",
            (owner,)).fetchone()
        (folders,) = self._db.execute(
            "SELECT COALESCE(SUM(folder_bytes), 0) FROM jobs WHERE owner = ?", (owner,)).fetchone()
        return int(blobs) + int(folders)

    # ---- jobs --------------------------------------------------------------------------------------------------------

    def add_job(self, job: Job, capture: CaptureRecord, settings: dict[str, Any]) -> None:
        """Record a new job with its list of inputs."""
        self._db.execute(
            "INSERT INTO jobs (job_id, owner, client_id, client_name, share, title, preset, views, capture, settings,"
            " priority, created_s, state, updated_s, expected_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (job.job_id, job.owner, job.client_id, job.client_name, job.share, job.title, job.preset, job.views,
             pack(to_plain(capture)), json.dumps(settings), job.priority, job.created_s, job.state, job.updated_s,
             job.expected_s))
        self._db.executemany("INSERT INTO job_blobs VALUES (?, ?, ?, ?)",
                             [(job.job_id, ref.sha256, ref.size_bytes, kind)
                              for ref, kind in capture.blobs().items()])
        self.save_job(job)

    def save_job(self, job: Job) -> None:
        """Write what changes about a job."""
        self._db.execute(
            "UPDATE jobs SET state = ?, wanted = ?, updated_s = ?, queued_order = ?, stage = ?, progress = ?,"
            " result = ?, error = ?, last_seq = ?, attempt = ?, failures = ?, checkpoint_step = ?,"
            " folder_bytes = ?, fetched = ?"
            " WHERE job_id = ?",
            (job.state, job.wanted, job.updated_s, job.queued_order, job.stage, _dump(job.progress), _dump(job.result),
             _dump(job.error), job.last_seq, job.attempt, job.failures, job.checkpoint_step, job.folder_bytes,
             int(job.fetched), job.job_id))

    def jobs(self) -> list[Job]:
        """Every job, oldest first."""
        cursor = self._db.execute(f"SELECT {', '.join(_JOB_COLUMNS)} FROM jobs ORDER BY created_s, rowid")
        return [_job_of(dict(zip(_JOB_COLUMNS, row, strict=True))) for row in cursor]

    def work_of(self, job_id: str) -> tuple[CaptureRecord, dict[str, Any]]:
        """The capture and the settings of a job."""
        capture, settings = self._db.execute("SELECT capture, settings FROM jobs WHERE job_id = ?",
                                             (job_id,)).fetchone()
        return _load(CaptureRecord, capture), json.loads(settings)

    def owner_of(self, job_id: str) -> str | None:
        """Who owns a job."""
        row = self._db.execute("SELECT owner FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return None if row is None else str(row[0])

    def remove_job(self, job_id: str) -> list[str]:
        """Forget a job; gives the blobs that nobody needs any more, already forgotten."""
        owner = self.owner_of(job_id)
        hashes = [row[0] for row in self._db.execute("SELECT sha256 FROM job_blobs WHERE job_id = ?", (job_id,))]
        for table in ("job_blobs", "events", "jobs"):
            self._db.execute(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
        self._db.executemany(
            "DELETE FROM blob_owners WHERE sha256 = ? AND owner = ? AND NOT EXISTS (SELECT 1 FROM job_blobs"
            " JOIN jobs USING (job_id) WHERE job_blobs.sha256 = blob_owners.sha256 AND jobs.owner = blob_owners.owner)",
            [(sha256, owner) for sha256 in hashes])
        return self._forget_ownerless(hashes)

    def _forget_ownerless(self, hashes: list[str]) -> list[str]:
        gone = [sha256 for sha256 in hashes if self.is_known(sha256) and self._db.execute(
            "SELECT 1 FROM blob_owners WHERE sha256 = ?", (sha256,)).fetchone() is None]
        self._db.executemany("DELETE FROM blobs WHERE sha256 = ?", [(sha256,) for sha256 in gone])
        return gone

    # ---- events ------------------------------------------------------------------------------------------------------

    def add_event(self, job_id: str, event: JobEvent) -> None:
        """Record an event; its sequence number must be new."""
        self._db.execute("INSERT INTO events VALUES (?, ?, ?)", (job_id, event.seq, pack(to_plain(event))))

    def events(self, job_id: str, after_seq: int, most: int) -> list[JobEvent]:
        """The next events of a job."""
        cursor = self._db.execute("SELECT body FROM events WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                                  (job_id, after_seq, most))
        return [from_plain(JobEvent, unpack(row[0])) for row in cursor]

    # ---- blobs -------------------------------------------------------------------------------------------------------

    def has_blob(self, owner: str, sha256: str) -> bool:
        """Whether an owner has sent (or been given) a blob."""
        return self._db.execute("SELECT 1 FROM blob_owners WHERE sha256 = ? AND owner = ?",
                                (sha256, owner)).fetchone() is not None

    def is_known(self, sha256: str) -> bool:
        """Whether anyone owns a blob."""
        return self._db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def add_blob(self, owner: str, ref: BlobRef) -> None:
        """Record that a blob is on disk and belongs to an owner."""
        self._db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", (ref.sha256, ref.size_bytes, time.time()))
        self._db.execute("INSERT OR IGNORE INTO blob_owners VALUES (?, ?)", (ref.sha256, owner))

    def add_job_blob(self, job_id: str, ref: BlobRef, kind: str) -> None:
        """Record that a job needs a blob."""
        self._db.execute("INSERT OR IGNORE INTO job_blobs VALUES (?, ?, ?, ?)",
                         (job_id, ref.sha256, ref.size_bytes, kind))

    def drop_job_blobs(self, job_id: str, kinds: tuple[str, ...], but: tuple[str, ...] = ()) -> list[str]:
        """Let a job's older results go; gives the blobs that nobody needs any more."""
        marks = ", ".join("?" * len(kinds))
        hashes = [row[0] for row in self._db.execute(
            f"SELECT sha256 FROM job_blobs WHERE job_id = ? AND kind IN ({marks})", (job_id, *kinds))]
        hashes = [sha256 for sha256 in hashes if sha256 not in but]
        owner = self.owner_of(job_id)
        for sha256 in hashes:
            self._db.execute(f"DELETE FROM job_blobs WHERE job_id = ? AND sha256 = ? AND kind IN ({marks})",
                             (job_id, sha256, *kinds))
            self._db.execute(
                "DELETE FROM blob_owners WHERE sha256 = ? AND owner = ? AND NOT EXISTS (SELECT 1 FROM job_blobs"
                " JOIN jobs USING (job_id) WHERE job_blobs.sha256 = ? AND jobs.owner = ?)",
                (sha256, owner, sha256, owner))
        return self._forget_ownerless(hashes)

    def missing_inputs(self, job_id: str) -> list[BlobRef]:
        """The inputs of a job that its owner has not sent yet."""
        cursor = self._db.execute(
            "SELECT sha256, job_blobs.size FROM job_blobs JOIN jobs USING (job_id) WHERE job_id = ?"
            " AND kind NOT IN ('result', 'report') AND NOT EXISTS (SELECT 1 FROM blob_owners"
            " WHERE blob_owners.sha256 = job_blobs.sha256 AND blob_owners.owner = jobs.owner)"
            " ORDER BY job_blobs.rowid", (job_id,))
        return [BlobRef(sha256, size) for sha256, size in cursor]

    def is_wanted(self, owner: str, ref: BlobRef) -> bool:
        """Whether a job of this owner waits for a blob of this hash and size."""
        return self._db.execute(
            "SELECT 1 FROM job_blobs JOIN jobs USING (job_id) WHERE sha256 = ? AND size = ? AND owner = ?"
            " AND state IN ('draft', 'uploading')", (ref.sha256, ref.size_bytes, owner)).fetchone() is not None

    def is_referred(self, owner: str, sha256: str) -> bool:
        """Whether any job of this owner has a blob of this hash among its own."""
        return self._db.execute("SELECT 1 FROM job_blobs JOIN jobs USING (job_id) WHERE sha256 = ? AND owner = ?",
                                (sha256, owner)).fetchone() is not None

    # ---- stored answers ----------------------------------------------------------------------------------------------

    def reply(self, owner: str, client_id: str, request_id: str) -> bytes | None:
        """The stored answer to a request."""
        row = self._db.execute("SELECT frame FROM replies WHERE owner = ? AND client_id = ? AND request_id = ?",
                               (owner, client_id, request_id)).fetchone()
        return None if row is None else bytes(row[0])

    def add_reply(self, owner: str, client_id: str, request_id: str, frame: bytes) -> None:
        """Store the answer to a request, and let the oldest of this client go."""
        self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)",
                         (owner, client_id, request_id, frame, time.time()))
        self._db.execute(
            "DELETE FROM replies WHERE owner = ?1 AND client_id = ?2 AND rowid <= (SELECT rowid FROM replies"
            " WHERE owner = ?1 AND client_id = ?2 ORDER BY rowid DESC LIMIT 1 OFFSET ?3)",
            (owner, client_id, REPLIES_KEPT))

    # ---- clean-up ----------------------------------------------------------------------------------------------------

    def clean_up(self) -> dict[str, int]:
        """Remove what nothing refers to, after a crash: gives how many of each kind were removed."""
        removed = {"replies": self._db.execute(
            "DELETE FROM replies WHERE created_s < ?", (time.time() - REPLIES_KEPT_S,)).rowcount}
        known = {row[0] for row in self._db.execute("SELECT sha256 FROM blobs")}
        orphans = [sha256 for sha256 in self.folders.blobs.all() if sha256 not in known]
        for sha256 in orphans:
            self.folders.blobs.remove(sha256)
        removed["blobs"] = len(orphans)
        job_ids = {row[0] for row in self._db.execute("SELECT job_id FROM jobs")}
        folders = [path for path in (self.folders.root / "jobs").iterdir() if path.name not in job_ids]
        for path in folders:
            shutil.rmtree(path, ignore_errors=True)
        removed["job folders"] = len(folders)
        awaited = {part_name(owner, sha256) for owner, sha256 in self._db.execute(
            "SELECT DISTINCT owner, sha256 FROM job_blobs JOIN jobs USING (job_id)")}
        old = [path for path in self.folders.uploads.iterdir()
               if path.name not in awaited or time.time() - path.stat().st_mtime > PARTIAL_UPLOAD_KEPT_S]
        for path in old:
            path.unlink(missing_ok=True)
        removed["partial uploads"] = len(old)
        return removed

    def lost_blobs(self) -> list[str]:
        """Blobs that are recorded and not on disk (someone deleted them by hand)."""
        return [row[0] for row in self._db.execute("SELECT sha256 FROM blobs")
                if not self.folders.blobs.path(row[0]).exists()]

    def forget_blob(self, sha256: str) -> None:
        """Forget a blob that is gone, so that it can be sent again."""
        self._db.execute("DELETE FROM blob_owners WHERE sha256 = ?", (sha256,))
        self._db.execute("DELETE FROM blobs WHERE sha256 = ?", (sha256,))


def _explained(error: sqlite3.OperationalError) -> Exception:
    """The refusal that a full disk is; any other error as it is."""
    return disk_full() if any(text in str(error) for text in _DISK_FULL) else error


def disk_full() -> ServiceError:
    """The refusal of new work on a full disk."""
    return ServiceError("disk-full", "The server's disk is full.",
                        "Discard finished jobs, or ask who runs the server to free space; nothing stored is lost.")


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")
    return database


_JOB_COLUMNS = ("job_id", "owner", "client_id", "client_name", "share", "title", "preset", "views", "state", "wanted",
                "priority", "created_s", "updated_s", "queued_order", "stage", "progress", "result", "error",
                "last_seq", "attempt", "failures", "checkpoint_step", "folder_bytes", "fetched", "expected_s")


def _dump(record: Any) -> bytes | None:
    return None if record is None else pack(to_plain(record))


def _load(kind: Any, data: bytes | None) -> Any:
    return None if data is None else from_plain(kind, unpack(data, _STORED_RECORD_BYTES))


def _job_of(row: dict[str, Any]) -> Job:
    values = dict(row)
    values["progress"] = _load(ProgressInfo, row["progress"])
    values["result"] = _load(ResultInfo, row["result"])
    values["error"] = _load(ErrorInfo, row["error"])
    values["fetched"] = bool(row["fetched"])
    return Job(**values)
