# SPDX-License-Identifier: GPL-3.0-or-later
"""The database's tables by version, and the steps from each version to the next."""

from __future__ import annotations

import sqlite3

from interngs.wire.errors import ServiceError

_VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    job_id TEXT PRIMARY KEY, owner TEXT NOT NULL, client_id TEXT NOT NULL, client_name TEXT NOT NULL,
    share TEXT NOT NULL, title TEXT NOT NULL, preset TEXT NOT NULL, views INTEGER NOT NULL,
    capture BLOB NOT NULL, settings TEXT NOT NULL,
    state TEXT NOT NULL, wanted TEXT, priority INTEGER NOT NULL, created_s REAL NOT NULL, updated_s REAL NOT NULL,
    queued_order INTEGER NOT NULL DEFAULT 0, stage TEXT NOT NULL DEFAULT '', progress BLOB, result BLOB, error BLOB,
    last_seq INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    checkpoint_step INTEGER NOT NULL DEFAULT -1, folder_bytes INTEGER NOT NULL DEFAULT 0,
    fetched INTEGER NOT NULL DEFAULT 0);
CREATE INDEX jobs_of_owner ON jobs (owner, created_s);
CREATE TABLE events (
    job_id TEXT NOT NULL REFERENCES jobs, seq INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (job_id, seq)) WITHOUT ROWID;
CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, created_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE blob_owners (
    sha256 TEXT NOT NULL REFERENCES blobs, owner TEXT NOT NULL, PRIMARY KEY (sha256, owner)) WITHOUT ROWID;
CREATE TABLE job_blobs (
    job_id TEXT NOT NULL REFERENCES jobs, sha256 TEXT NOT NULL, size INTEGER NOT NULL, kind TEXT NOT NULL,
    UNIQUE (job_id, sha256, kind));
CREATE INDEX job_blobs_by_hash ON job_blobs (sha256);
CREATE TABLE replies (
    owner TEXT NOT NULL, client_id TEXT NOT NULL, request_id TEXT NOT NULL, frame BLOB NOT NULL,
    created_s REAL NOT NULL, UNIQUE (owner, client_id, request_id));
"""

_VERSION_2 = "ALTER TABLE jobs ADD COLUMN expected_s REAL NOT NULL DEFAULT 0;"

STEPS = (_VERSION_1, _VERSION_2)
"""Script ``i`` turns a database of version ``i`` into one of version ``i + 1``; released scripts never change."""


def migrate(database: sqlite3.Connection) -> None:
    """Bring a database to the newest version, each step whole or not at all.

    Raises:
        ServiceError: ``store-too-new``.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise ServiceError("store-too-new", f"The store has version {version}; this server knows up to {len(STEPS)}.",
                           "Use the newer server, or give this one another folder with --store.")
    for number in range(version, len(STEPS)):
        database.executescript(f"BEGIN IMMEDIATE; {STEPS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
