# SPDX-License-Identifier: GPL-3.0-or-later
"""The socket thread: connects, keeps alive, comes back, and moves requests, events and bytes.  Owns every socket."""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import zmq

from ..errors import InternGSError
from ..scene.gaussians import Gaussians
from ..wire import limits
from ..wire.errors import ErrorInfo, ServiceError
from ..wire.messages import (
    Attach,
    Attached,
    BulkHello,
    BulkReady,
    Chunk,
    Done,
    EventAck,
    EventPush,
    Failure,
    GetInputs,
    Goodbye,
    Hello,
    JobPush,
    Message,
    Notice,
    Ping,
    Pong,
    PreviewPush,
    ProgressPush,
    UploadState,
    Welcome,
)
from ..wire.previews import read_preview
from ..wire.records import ServerInfo
from ..wire.version import PROTOCOL, PROTOCOL_MIN
from .address import is_loopback, parse_address
from .beside import Beside
from .connection import HANDSHAKE_BROKEN, HANDSHAKE_CUT, Connection
from .downloads import Download, Downloads
from .keys import ClientFiles
from .mailbox import Mailbox
from .requests import Request, Requests
from .state import LinkState, Phase
from .updates import PreviewArrived, ServerNotice, StateChanged, TransferChanged, TransferFailed
from .uploads import Uploads
from .wake import Wake
from .watches import Watch, Watches, preview_bytes

_LOG = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S = 5.0
_LONGEST_POLL_S = 0.5
_HANDSHAKES_BEFORE_REFUSED = 3
"""Handshakes that must break the same way before it is called a changed key: one alone may be a server that died."""
_FINAL_FAILURES = ("key-refused", "protocol-unsupported", "capability-missing")
CLOSED = ServiceError("link-closed", "The link was closed before the answer came.", "Connect again.")


class Engine:
    """Runs in its own thread; every method but ``post`` and ``stop`` belongs to that thread."""

    def __init__(self, files: ClientFiles, client_name: str, version: str, mailbox: Mailbox) -> None:
        self._files, self._client_name, self._version = files, client_name, version
        self.mailbox = mailbox
        self.state = LinkState()
        self.watches = Watches(mailbox)
        self.requests = Requests()
        self.uploads = Uploads(lambda job, done, total: mailbox.put(TransferChanged(job, "upload", done, total)),
                               lambda job, error: mailbox.put(TransferFailed(job, "upload", error)))
        self.arrivals = Beside("interngs-link-arrivals")
        self.downloads = Downloads(self.arrivals.do, self.post)
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = Wake()
        self._idle_poller = zmq.Poller()
        self._idle_poller.register(self._wake.fileno(), zmq.POLLIN)
        self._stopping = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._connection: Connection | None = None
        self._hello_id = ""
        self._bulk_credit = 0
        self._deadline_s = 0.0
        self._heard_s = 0.0
        self._ping_nonce, self._ping_sent_s, self._ping_open = 0, 0.0, False
        self._backoff_s = limits.RETRY_FIRST_S
        self._broken_handshakes = 0
        self._preview_active = False

    # ---- from other threads ------------------------------------------------------------------------------------------

    def post(self, action: Callable[[], None]) -> None:
        """Run ``action`` in the socket thread soon; from any thread."""
        self._posted.append(action)
        self._wake.set()
        if self.state.phase == "closed":
            self._do_posted()       # nobody else will; what it asks for fails at once

    def _do_posted(self) -> None:
        while True:
            try:
                action = self._posted.popleft()
            except IndexError:
                return
            action()

    def stop(self) -> None:
        """Ask the thread to end; from any thread."""
        self._stopping.set()
        self._wake.set()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The thread's whole life."""
        self._context = zmq.Context(io_threads=1)
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._goodbye()
            self._drop_connection()
            self._context.destroy(linger=0)
            self.arrivals.stop()
            self._set_state(phase="closed", retry_at_s=None, error=ErrorInfo.of(CLOSED))
            self._do_posted()
            self.requests.fail_all(CLOSED)
            self.downloads.fail_all(ErrorInfo.of(CLOSED))
            self._wake.close()

    def _turn(self) -> None:
        connection = self._connection
        poller = self._idle_poller if connection is None else connection.poller
        ready = dict(poller.poll(int(1000 * self._poll_s()) + 1))
        if self._wake.fileno() in ready:
            self._wake.clear()
        self._do_posted()
        if connection is not None and connection is self._connection:
            self._receive(connection)
        self._tick()

    def _poll_s(self) -> float:
        now = time.monotonic()
        if self.state.phase == "lost" and self.state.retry_at_s is not None:
            return max(0.0, min(_LONGEST_POLL_S, self.state.retry_at_s - now))
        if self.state.phase == "connecting":
            return max(0.0, min(_LONGEST_POLL_S, self._deadline_s - now))
        return _LONGEST_POLL_S / 5 if self.state.is_up else _LONGEST_POLL_S

    def _tick(self) -> None:
        now = time.monotonic()
        if self._connection is None:
            if self.state.phase == "lost" and self.state.retry_at_s is not None and now >= self.state.retry_at_s:
                self._attempt()
            return
        trouble = self._connection.trouble()
        if trouble is not None:
            self._lost(trouble.refusal)
        elif self.state.phase == "connecting":
            if now >= self._deadline_s:
                self._lost(None)
        else:
            self._heartbeat(now)
            if self._connection is not None:
                self._pump(now)

    # ---- connecting --------------------------------------------------------------------------------------------------

    def connect(self, address: str) -> None:
        """Leave the server at hand, if any, and go to another."""
        if self.state.phase == "closed":
            return
        self.disconnect()
        self._backoff_s, self._broken_handshakes = limits.RETRY_FIRST_S, 0
        self.state = LinkState(address=address)
        self._attempt()

    def disconnect(self) -> None:
        """Leave the server; open requests fail, watches and uploads are forgotten."""
        self._goodbye()
        self._drop_connection()
        self.requests.fail_all(ServiceError("server-unreachable", "The link was disconnected.", "Connect again."))
        self.downloads.fail_all(ErrorInfo("server-unreachable", "The link was disconnected.", "Connect again."))
        self.watches.by_job.clear()
        for job_id in self.uploads.job_ids:
            self.uploads.drop(job_id)
        if self.state.phase not in ("idle", "closed"):
            self._set_state(phase="idle", retry_at_s=None, error=None, server=None, round_trip_s=None)

    def _attempt(self) -> None:
        assert self._context is not None
        self._set_state(phase="connecting", retry_at_s=None)
        try:
            host, port = parse_address(self.state.address)
            client_id, keys = self._files.identity()
            server_key = self._files.server_key(self.state.address)
            if server_key is None and not is_loopback(host):
                raise ServiceError("key-refused", f"This computer has no key for {self.state.address}.",
                                   "Pair with it: run 'interngs-backend keys pair' there and enter the line it prints.")
            self._connection = Connection(self._context, host, port, keys, server_key)
            self._connection.poller.register(self._wake.fileno(), zmq.POLLIN)
            self._hello_id = secrets.token_hex(16)
            self._connection.send_hello(Hello(PROTOCOL_MIN, PROTOCOL, client_id, self._client_name, self._version),
                                        self._hello_id)
        except (InternGSError, zmq.ZMQError) as error:
            refusal = (ErrorInfo.of(error) if isinstance(error, InternGSError) else
                       ErrorInfo("server-unreachable", f"The address cannot be used: {error}.", "Check the address."))
            self._refuse(refusal)
            return
        self._deadline_s = time.monotonic() + _CONNECT_TIMEOUT_S

    def _refuse(self, error: ErrorInfo) -> None:
        self._drop_connection()
        self._set_state(phase="refused", error=error, retry_at_s=None)
        self.requests.fail_all(error.to_error())
        self.downloads.fail_all(error)

    def _lost(self, refusal: ErrorInfo | None) -> None:
        """The connection ended: try again later, or stop when that cannot help."""
        may_mend = refusal in (HANDSHAKE_BROKEN, HANDSHAKE_CUT)
        self._broken_handshakes = self._broken_handshakes + 1 if may_mend else 0
        often = self._broken_handshakes >= _HANDSHAKES_BEFORE_REFUSED
        # A server that answered before may be down behind a tunnel, which hangs up for it: that one is tried again.
        if refusal is not None and (not may_mend or (often and self.state.server is None)):
            self._refuse(refusal)
            return
        self._drop_connection()
        wait_s = self._backoff_s * random.uniform(0.5, 1.0)
        self._backoff_s = min(2.0 * self._backoff_s, limits.RETRY_LONGEST_S)
        error = refusal if often else None
        self._set_state(phase="lost", retry_at_s=time.monotonic() + wait_s, round_trip_s=None, error=error or ErrorInfo(
            "server-unreachable", f"The server at {self.state.address} does not answer.",
            "Check that it runs and that the address is right; the link tries again by itself."))

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._bulk_credit = 0
        self._ping_open = False
        self.requests.reset()
        self.uploads.reset()
        self.downloads.reset()

    def _goodbye(self) -> None:
        if self._connection is not None and self.state.is_up:
            self._connection.send(Goodbye())

    def _on_welcome(self, welcome: Welcome) -> None:
        assert self._connection is not None
        before: ServerInfo | None = self.state.server
        restarted = before is not None and before.epoch != welcome.server.epoch
        self._connection.protocol = min(welcome.server.protocol, PROTOCOL)
        self._backoff_s, self._broken_handshakes = limits.RETRY_FIRST_S, 0
        self._ping_sent_s = time.monotonic()
        self._connection.open_bulk(welcome.bulk_port)
        self._connection.send_bulk(BulkHello(welcome.session), self._hello_id)
        self._set_state(phase="connected", server=welcome.server, error=None,
                        restarted=restarted or self.state.restarted)
        for watch in list(self.watches.by_job.values()):
            self.attach(watch)
        for job_id in self.uploads.job_ids:
            self.refresh_upload(job_id)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def request(self, message: Message, answered: Callable[[Any], None],
                failed: Callable[[InternGSError], None]) -> None:
        """Send a request now or as soon as the server is back."""
        if self.state.phase in ("idle", "refused", "closed"):
            error = self.state.error or ErrorInfo("server-unreachable", "There is no server.", "Connect to one first.")
            failed(error.to_error())
            return
        self.requests.add(Request(message, answered, failed))

    def attach(self, watch: Watch, answered: Callable[[Attached], None] | None = None,
               failed: Callable[[InternGSError], None] | None = None) -> None:
        """(Re)attach to a job from the newest event seen."""
        self.watches.by_job[watch.job_id] = watch
        watch.acknowledged = watch.last_seq

        def on_attached(answer: Attached) -> None:
            self.watches.on_attached(answer)
            if answered is not None:
                answered(answer)

        def on_failed(error: InternGSError) -> None:
            if error.code == "unknown-job":
                self.watches.on_gone(watch.job_id)
            if failed is not None:
                failed(error)
            elif error.code not in ("unknown-job", CLOSED.code):
                _LOG.warning("job %s is not watched: %s", watch.job_id[:8], error.cause)

        self.request(Attach(watch.job_id, watch.last_seq), on_attached, on_failed)

    def refresh_upload(self, job_id: str) -> None:
        """Ask what a job still lacks and go on uploading that."""
        sources = self.uploads.sources_of(job_id)
        self.request(GetInputs(job_id), lambda answer: self.uploads.begin(job_id, answer.missing, sources),
                     lambda error: self.uploads.drop(job_id))

    # ---- traffic -----------------------------------------------------------------------------------------------------

    def _receive(self, connection: Connection) -> None:
        for envelope in connection.receive(connection.control):
            self._heard_s = time.monotonic()
            self._on_control(envelope.message, envelope.request_id)
            if connection is not self._connection:
                return
        if connection.bulk is not None:
            for envelope in connection.receive(connection.bulk):
                self._heard_s = time.monotonic()
                self._on_bulk(envelope.message, envelope.request_id)

    def _on_control(self, message: Message, request_id: str) -> None:
        if request_id and request_id == self._hello_id:
            if isinstance(message, Welcome):
                self._on_welcome(message)
            elif isinstance(message, Failure):
                error = ErrorInfo(message.code, message.cause, message.remedy)
                self._refuse(error) if message.code in _FINAL_FAILURES else self._lost(None)
        elif isinstance(message, Failure) and message.code == "hello-first":
            self._lost(None)    # the server has forgotten this session: say hello anew, requests keep their ids
        elif isinstance(message, Pong):
            self._on_pong(message)
        elif not (request_id and self.requests.on_answer(request_id, message, time.monotonic())):
            self._on_push(message)

    def _on_push(self, message: Message) -> None:
        if isinstance(message, EventPush):
            if not self.watches.on_event(message):
                self.attach(self.watches.by_job[message.job_id])
        elif isinstance(message, ProgressPush):
            self.watches.on_progress(message)
        elif isinstance(message, PreviewPush):
            self.watches.offer(message.job_id, message.preview)
        elif isinstance(message, JobPush):
            self.watches.on_job(message.job)
            if message.job.state in ("cancelled", "failed", "discarded"):
                self.uploads.drop(message.job.job_id)
            elif message.job.state not in ("draft", "uploading"):
                self.uploads.finish(message.job.job_id)
            if message.job.state == "discarded":
                self.watches.by_job.pop(message.job.job_id, None)
        elif isinstance(message, Notice):
            self.mailbox.put(ServerNotice(message.kind))
        elif not isinstance(message, (Done, Failure)):
            _LOG.warning("the server sent an unexpected %s", type(message).__name__)

    def _on_bulk(self, message: Message, request_id: str) -> None:
        if isinstance(message, BulkReady):
            self._bulk_credit = max(1, min(message.credit, limits.CREDIT))
            self.uploads.chunk_bytes = max(1, min(message.chunk_bytes, limits.CHUNK_MOST_BYTES))
            self.downloads.agree(message.fetch_bytes)
        elif isinstance(message, (UploadState, Failure)) and self.uploads.on_answer(request_id, message):
            return
        elif isinstance(message, (Chunk, Failure)):
            self.downloads.on_answer(request_id, message)

    def _heartbeat(self, now_s: float) -> None:
        assert self.state.server is not None
        interval = self.state.server.heartbeat_s
        silent_s = now_s - max(self._heard_s, 0.0)
        if silent_s > interval * self.state.server.heartbeat_misses:
            self._lost(None)
            return
        late = self._ping_open and now_s - self._ping_sent_s > interval
        phase: Phase = "slow" if late else "connected"
        if phase != self.state.phase:
            self._set_state(phase=phase)
        if not self._ping_open and now_s - self._ping_sent_s >= interval and self._connection is not None:
            self._ping_nonce += 1
            self._ping_open, self._ping_sent_s = True, now_s
            self._connection.send(Ping(self._ping_nonce))

    def _on_pong(self, pong: Pong) -> None:
        if self._ping_open and pong.nonce == self._ping_nonce:
            self._ping_open = False
            self._set_state(phase="connected", round_trip_s=time.monotonic() - self._ping_sent_s)

    def _pump(self, now_s: float) -> None:
        connection = self._connection
        assert connection is not None
        for request_id, message in self.requests.due(now_s):
            connection.send(message, request_id)
        for job_id, seq in self.watches.acknowledgements():
            connection.send(EventAck(job_id, seq))
        if not self._bulk_credit:
            return

        def send(message: Message) -> str:
            request_id = secrets.token_hex(8)
            connection.send_bulk(message, request_id)
            return request_id

        self._begin_preview()
        # Half of the credit is kept for uploads while there are any.
        half = self._bulk_credit // 2
        self.uploads.pump(send, min(half, self._bulk_credit - self.downloads.in_flight))
        self.downloads.pump(send, self._bulk_credit - half if self.uploads.job_ids else self._bulk_credit)

    def _begin_preview(self) -> None:
        offered = None if self._preview_active else self.watches.next_preview()
        if offered is None:
            return
        watch, info = offered
        self._preview_active = True

        def finished(gaussians: Gaussians) -> None:
            self._preview_active = False
            if watch.job_id in self.watches.by_job:
                self.mailbox.put(PreviewArrived(watch.job_id, info, gaussians))

        def failed(error: ErrorInfo) -> None:
            self._preview_active = False
            if error.code == "bad-message":
                self.mailbox.put(TransferFailed(watch.job_id, "download", error))
            elif error.code != "preview-gone":
                _LOG.info("a preview was not fetched: %s", error.cause)

        self.downloads.add(Download(f"preview:{watch.job_id}:{info.number}", preview_bytes(info, watch.budget),
                                    read_preview, finished, failed))

    def _set_state(self, **changes: Any) -> None:
        before = self.state
        self.state = replace(before, **changes)
        # A new round trip alone is no news worth waking a panel for; it reads the snapshot.
        if replace(self.state, round_trip_s=None) != replace(before, round_trip_s=None):
            self.mailbox.put(StateChanged(self.state))
