# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that decides: takes requests, reports and uploads in turn, in transactions; knows no sockets."""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from interngs.errors import InternGSError
from interngs.storage import DISK_FULL_ERRORS
from interngs.wire.errors import ServiceError
from interngs.wire.messages import Failure, Message, Notice, UploadState
from interngs.wire.records import BlobRef

from .channel import Exited, Report
from .config import ServerConfig
from .executor.base import Executor
from .handlers import answer_request
from .health import Devices, disk_bytes
from .jobs import Job
from .lifecycle import Lifecycle
from .session import Session, Sessions
from .store import Store, disk_full
from .stream import Streams

_LOG = logging.getLogger(__name__)
_AT_ONCE = 64
_TICK_S = 0.2
_RETRY_S = 1.0
_MAKE_WAY_S = 0.5

SendControl = Callable[[Session, Message, str], None]
SendBulk = Callable[[bytes, Message, str, int], None]
"""Called with (routing id, message, request id, protocol)."""


@dataclass(frozen=True)
class _Item:
    """One thing to do; ``failed`` answers for a request whose work was undone, None for what must be done later."""

    work: Callable[[], None]
    failed: Callable[[InternGSError], None] | None


class Service:
    """Owns the store, the jobs and the streams; every method but ``post_*`` and ``stop`` runs in its thread."""

    def __init__(self, config: ServerConfig, sessions: Sessions, devices: Devices, send_control: SendControl,
                 send_bulk: SendBulk) -> None:
        self.config, self.sessions, self.devices = config, sessions, devices
        self.epoch = secrets.token_hex(16)
        self.started_s = time.monotonic()
        self.bulk_port = 0
        self._send_control, self._send_bulk = send_control, send_bulk
        self._inbox: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._deferred: list[_Item] = []
        self._deferred_until_s = 0.0
        self._outgoing: list[Callable[[], None]] = []
        self._after_commit: list[Callable[[], None]] = []
        self._stopping = threading.Event()
        self._queue_changed = True
        self._make_way_s = 0.0
        self.store: Store
        self.lifecycle: Lifecycle
        self.streams: Streams
        self.server_id = ""

    # ---- from other threads ------------------------------------------------------------------------------------------

    def post_request(self, session: Session, message: Message, request_id: str) -> None:
        """A client's request."""
        self._inbox.put(_Item(lambda: answer_request(self, session, message, request_id),
                              lambda error: self.reply_failure(session, request_id, error)))

    def post_ping(self, session: Session) -> None:
        """A client gave a sign of life: its newest-wins slots can be sent."""
        self._inbox.put(_Item(lambda: self.streams.on_sign_of_life(session), lambda error: None))

    def post_gone(self, session: Session) -> None:
        """A session is over."""
        self._inbox.put(_Item(lambda: self.streams.drop(session), lambda error: None))

    def post_report(self, job_id: str, attempt: int, report: Report) -> None:
        """A worker said something."""
        def work() -> None:
            self._queue_changed = self._queue_changed or isinstance(report, Exited)
            self.lifecycle.on_report(job_id, attempt, report)

        self._inbox.put(_Item(work, None))

    def post_stored(self, session: Session, routing_id: bytes, ref: BlobRef, request_id: str) -> None:
        """An upload is whole, checked and in its place on disk: record it, then tell the client."""
        def work() -> None:
            there = self.store.folders.blobs.path(ref.sha256).exists()
            if there:
                self.store.add_blob(session.owner, ref)
                self.lifecycle.uploaded(session.owner)
                self._queue_changed = True
            state = UploadState(ref.sha256, ref.size_bytes if there else 0, there)
            self._outgoing.append(lambda: self._send_bulk(routing_id, state, request_id, session.protocol))

        def failed(error: InternGSError) -> None:
            self._send_bulk(routing_id, Failure(error.code, error.cause, error.remedy), request_id, session.protocol)

        self._inbox.put(_Item(work, failed))

    def post_fetched(self, owner: str, sha256: str) -> None:
        """A blob was downloaded to its end."""
        self._inbox.put(_Item(lambda: self.lifecycle.fetched(owner, sha256), None))

    def stop(self) -> None:
        """Ask the thread to end in good order; from any thread."""
        self._stopping.set()
        self._inbox.put(None)

    # ---- sending, after the transaction ------------------------------------------------------------------------------

    def send(self, session: Session, message: Message, request_id: str = "") -> None:
        """Send a message on the control lane once the present transaction is on disk."""
        self._outgoing.append(lambda: self._send_control(session, message, request_id))

    def reply_failure(self, session: Session, request_id: str, error: InternGSError) -> None:
        """Answer a request with an error, now."""
        self._send_control(session, Failure(error.code, error.cause, error.remedy), request_id)

    # ---- the thread --------------------------------------------------------------------------------------------------

    def open(self, make_executor: Callable[[Service], Executor]) -> None:
        """Open the store and bring jobs back; in the service's thread, before ``run``.

        Raises:
            ServiceError: the store is in use, too new, or its disk is full.
        """
        self.store = Store.open(self.config.store)
        self.streams = Streams(self.send, self.store.events, self.config.limits.jobs_kept)
        self.lifecycle = Lifecycle(self.store, self.config, self.streams, self._after_commit.append)
        with self.store.batch():
            self.server_id = self.store.server_id()
            removed = self.store.clean_up()
            for sha256 in self.store.lost_blobs():
                _LOG.error("a blob is gone from the store", extra={"blob": sha256[:12]})
                self.store.forget_blob(sha256)
            self.lifecycle.load()
        self._flush()
        _LOG.info("store opened", extra={"jobs": len(self.lifecycle.jobs), "removed": removed})
        self.lifecycle.executor = make_executor(self)

    def run(self) -> None:
        """The thread's whole life after ``open``."""
        while not self._stopping.is_set():
            self._take(self._wait())
            self.lifecycle.tick()
        self._drain()
        self.store.close()

    def _wait(self) -> list[_Item]:
        """The next items: waits a moment for the first, takes what else is there."""
        items: list[_Item] = []
        try:
            item = self._inbox.get(timeout=_TICK_S)
            while True:
                if item is not None:
                    items.append(item)
                if len(items) >= _AT_ONCE:
                    break
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass
        if self._deferred and time.monotonic() >= self._deferred_until_s:
            items, self._deferred = self._deferred + items, []
        return items

    def _take(self, items: list[_Item]) -> None:
        if items and not self._take_together(items) and len(items) > 1:
            for item in items:
                self._take_together([item])
        try:
            self._start_jobs()
        except ServiceError as error:
            _LOG.error("jobs cannot be started: %s", error.cause)
            self._queue_changed = True

    def _take_together(self, items: list[_Item]) -> bool:
        """Do items in one transaction; False when it was undone as a whole (a single item is then settled here)."""
        before = dict(self.lifecycle.jobs)
        try:
            with self.store.batch():
                for item in items:
                    self._do(item)
        except ServiceError as error:
            self._outgoing.clear()
            self._after_commit.clear()
            self.lifecycle.reload(before)
            if len(items) == 1:
                self._settle(items[0], error)
            return False
        self._flush()
        return True

    def _do(self, item: _Item) -> None:
        """One item in its own part of the transaction."""
        jobs = dict(self.lifecycle.jobs)
        sent, later = len(self._outgoing), len(self._after_commit)
        try:
            with self.store.step():
                item.work()
        except (InternGSError, OSError) as caught:
            error = _explained(caught)
            self._undo(jobs, sent, later)
            if item.failed is None and error.code == "disk-full":
                self._defer(item)
            elif item.failed is not None:
                self._outgoing.append(lambda failed=item.failed, error=error: failed(error))  # type: ignore[misc]
            else:
                _LOG.error("a report could not be taken: %s", error.cause)
        except Exception:  # noqa: BLE001 - one request's bug must not end the service
            _LOG.exception("internal error")
            self._undo(jobs, sent, later)
            if item.failed is not None:
                broken = ServiceError("internal", "The server failed in answering this.", "Report this as a bug.")
                self._outgoing.append(lambda failed=item.failed: failed(broken))  # type: ignore[misc]

    def _undo(self, jobs: dict[str, Job], sent: int, later: int) -> None:
        del self._outgoing[sent:]
        del self._after_commit[later:]
        self.lifecycle.reload(jobs)

    def _settle(self, item: _Item, error: ServiceError) -> None:
        """The disk refused an item: a request is told so, anything else is done later."""
        if item.failed is not None:
            item.failed(error)
        else:
            self._defer(item)

    def _defer(self, item: _Item) -> None:
        self._deferred.append(item)
        self._deferred_until_s = time.monotonic() + _RETRY_S

    def _flush(self) -> None:
        """The transaction is on disk: do and say what depended on it."""
        actions, self._after_commit[:] = list(self._after_commit), []
        for action in actions:
            try:
                action()
            except OSError:
                _LOG.exception("clean-up failed; the next start does it")
        outgoing, self._outgoing = self._outgoing, []
        for say in outgoing:
            say()

    def _start_jobs(self) -> None:
        """Start what can be started, each job in a transaction of its own; then tell the others where they stand."""
        executor = self.lifecycle.executor
        while executor is not None and (job := self.lifecycle.next_job()) is not None:
            before = dict(self.lifecycle.jobs)
            try:
                with self.store.batch():
                    work = self.lifecycle.begin(job)
            except ServiceError:
                self.lifecycle.reload(before)
                raise
            self._flush()
            self._queue_changed = True
            try:
                executor.start(work)
            except OSError as error:
                _LOG.error("a worker could not be started: %s", error)
                self.post_report(work.job_id, work.attempt, Exited(-1))
        self._make_way()
        if self._queue_changed:
            self._queue_changed = False
            self.lifecycle.tell_positions()
            self._flush()

    def _make_way(self) -> None:
        """Let long jobs make way for short ones, looked at now and then."""
        if time.monotonic() < self._make_way_s:
            return
        self._make_way_s = time.monotonic() + _MAKE_WAY_S
        for job in self.lifecycle.who_makes_way():
            with self.store.batch():
                self.lifecycle.make_way(job)
            self._flush()

    def _drain(self) -> None:
        """End in good order: no new work, workers write checkpoints and stop, their last reports are taken."""
        self.lifecycle.draining = True
        for session in self.sessions.all():
            if session.ready:
                self._send_control(session, Notice("stopping"), "")
        if self.lifecycle.executor is not None:
            self.lifecycle.executor.close(self.config.pause_grace_s)
        deadline_s = time.monotonic() + 2.0
        while time.monotonic() < deadline_s and (self.lifecycle.is_anything_active() or not self._inbox.empty()):
            self._take(self._wait())

    def note_queue_changed(self) -> None:
        """Watchers of queued jobs are to be told where theirs stand."""
        self._queue_changed = True

    # ---- rooms for work ----------------------------------------------------------------------------------------------

    def check_accepts_work(self) -> None:
        """Raise ``ServiceError`` when no new work is taken (the server stops, or its disk is nearly full)."""
        if self._stopping.is_set():
            raise ServiceError("stopping", "The server is stopping.", "Try again when it is back.")
        if disk_bytes(self.config.store)[0] < self.config.min_free_bytes:
            raise disk_full()

    @property
    def accepts_work(self) -> bool:
        """Whether new work is taken now."""
        try:
            self.check_accepts_work()
        except ServiceError:
            return False
        return True


def _explained(error: InternGSError | OSError) -> InternGSError:
    if isinstance(error, InternGSError):
        return error
    if error.errno in DISK_FULL_ERRORS:
        return disk_full()
    _LOG.error("the system refused a file", exc_info=error)
    return ServiceError("internal", "The server could not read or write a file.", "Tell who runs the server.")
