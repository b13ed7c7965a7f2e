# SPDX-License-Identifier: GPL-3.0-or-later
"""The bulk lane's thread: chunks in to partial files, ranges of blobs and previews out, within bounded memory."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import numpy as np
import zmq

from interngs.errors import InternGSError
from interngs.wire.codec import encode
from interngs.wire.errors import ErrorInfo, ServiceError, WireError
from interngs.wire.limits import (
    BULK_FRAME_BYTES,
    CHUNK_BYTES,
    CHUNK_MOST_BYTES,
    CREDIT,
    FETCH_BYTES,
    FETCH_WHOLE_BYTES,
)
from interngs.wire.messages import (
    BulkHello,
    BulkReady,
    Chunk,
    Failure,
    Fetch,
    Message,
    UploadChunk,
    UploadOpen,
    UploadState,
)
from interngs.wire.records import check_id, check_sha256

from .config import ServerConfig
from .job_folder import JobFolder
from .lane import Outbox, decode_or_refuse, open_router, receive, send
from .service import Service
from .session import Session, Sessions
from .store import Store
from .uploads import Uploads

_LOG = logging.getLogger(__name__)
_IN_FLIGHT_PER_PEER = 8 << 20
"""Bytes handed to the socket for one client and not yet taken by the system: what a slow reader can hold."""
_IN_FLIGHT = 24 << 20
"""The same for all clients; past it each still gets one range at a time, cut to ``FETCH_WHOLE_BYTES``, so that slow
readers can neither starve others nor hold more."""
_BUFFER_BYTES = (64 << 10, FETCH_WHOLE_BYTES, 2 << 20, FETCH_BYTES)
_BUFFERS_KEPT_S = 5.0
_OPEN_FILES = 64
_TICK_S = 0.5
_FORGET_EVERY_S = 3.0
_BLOCKED_POLL_MS = 1
_HELLO_FIRST = ErrorInfo("hello-first", "The server does not know this connection.", "Say hello first.")


@dataclass(eq=False)
class _Peer:
    """A bulk connection.  ``wanted``: ranges asked for and not sent yet; ``sent``: what is in flight."""

    routing_id: bytes
    session: Session
    wanted: deque[tuple[Fetch, str]] = field(default_factory=deque)
    sent: deque[tuple[zmq.MessageTracker, bytearray, int]] = field(default_factory=deque)
    in_flight: int = 0

    def settle(self, buffers: Buffers) -> None:
        """Forget what the system has taken."""
        while self.sent and self.sent[0][0].done:
            _, buffer, length = self.sent.popleft()
            self.in_flight -= length
            buffers.give_back(buffer)


class Buffers:
    """Memory of ranges on their way out, used again: fresh pages would cost more than the copy into them."""

    def __init__(self) -> None:
        self._free: dict[int, list[bytearray]] = {}

    def take(self, length: int) -> bytearray:
        """A buffer of at least ``length`` bytes."""
        size = next(step for step in _BUFFER_BYTES if step >= length)
        free = self._free.get(size)
        return free.pop() if free else bytearray(size)

    def give_back(self, buffer: bytearray) -> None:
        """Keep a buffer that nobody uses any more."""
        self._free.setdefault(len(buffer), []).append(buffer)

    def drop(self) -> None:
        """Give the memory back to the system."""
        self._free.clear()


class BulkLane:
    """Owns the bulk socket and the files it reads and writes."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], config: ServerConfig, sessions: Sessions,
                 control_port: int) -> None:
        self._config, self._sessions = config, sessions
        self._outbox = Outbox()
        self._stopping = threading.Event()
        self._peers: OrderedDict[bytes, _Peer] = OrderedDict()
        self._files: OrderedDict[str, tuple[FileIO, int]] = OrderedDict()
        self._buffers = Buffers()
        self._sent_s = 0.0
        port = config.bulk_port
        if port is None:
            port = control_port + 1 if config.port else 0
        self._router, self.port = open_router(context, config, port, BULK_FRAME_BYTES, CREDIT, 2)
        self._store: Store
        self._uploads: Uploads
        self.service: Service

    def post(self, routing_id: bytes, message: Message, request_id: str, protocol: int) -> None:
        """Send a message to a client; from any thread."""
        self._outbox.put(routing_id, message, request_id, protocol)

    def stop(self) -> None:
        """End the thread; from any thread."""
        self._stopping.set()
        self._outbox.wake.set()

    def run(self) -> None:
        """The thread's whole life; the store must be open."""
        self._store = self.service.store.reader()
        self._uploads = Uploads(self._store.folders.uploads, self._store.folders.blobs, self._config.limits)
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._outbox.wake.fileno(), zmq.POLLIN)
        next_tick_s = next_forget_s = 0.0
        try:
            while not self._stopping.is_set():
                waiting = any(peer.wanted for peer in self._peers.values())
                ready = dict(poller.poll(_BLOCKED_POLL_MS if waiting else int(1000 * _TICK_S)))
                if self._outbox.wake.fileno() in ready:
                    self._outbox.wake.clear()
                for posted in self._outbox.take():
                    send(self._router, *posted)
                for routing_id, user, frames in receive(self._router):
                    self._on_frames(routing_id, user, frames)
                self._send_wanted()
                now_s = time.monotonic()
                if now_s >= next_tick_s:
                    next_tick_s = now_s + _TICK_S
                    self._drop_gone()
                if now_s >= next_forget_s:
                    next_forget_s = now_s + _FORGET_EVERY_S
                    self._uploads.forget(self._store.is_referred)
        finally:
            self._uploads.close()
            for file, _ in self._files.values():
                file.close()
            self._router.close(0)
            self._store.close()

    def _on_frames(self, routing_id: bytes, user: str, frames: list[zmq.Frame]) -> None:
        envelope = decode_or_refuse(self._router, routing_id, frames)
        peer = self._peers.get(routing_id)
        if envelope is None:
            if peer is not None:
                peer.session.note_bad_message(time.monotonic())
            return
        message, request_id = envelope.message, envelope.request_id
        if isinstance(message, BulkHello):
            session = self._sessions.by_token(message.session, user)
            if session is not None:
                self._peers[routing_id] = _Peer(routing_id, session)
                ready = BulkReady(CHUNK_BYTES, CREDIT, FETCH_BYTES)
                send(self._router, routing_id, ready, request_id, session.protocol)
                return
        if peer is None or peer.session.gone or peer.session.user != user:
            send(self._router, routing_id, Failure(*_of(_HELLO_FIRST)), request_id, envelope.protocol)
            return
        if time.monotonic() < peer.session.ignored_until_s:
            return
        peer.session.heard_s = time.monotonic()
        try:
            self._on_message(peer, message, request_id)
        except InternGSError as error:
            self._answer(peer, Failure(error.code, error.cause, error.remedy), request_id)

    def _answer(self, peer: _Peer, message: Message, request_id: str) -> None:
        send(self._router, peer.routing_id, message, request_id, peer.session.protocol)

    def _on_message(self, peer: _Peer, message: Message, request_id: str) -> None:
        if isinstance(message, UploadOpen):
            self._open_upload(peer, message, request_id)
        elif isinstance(message, UploadChunk):
            self._take_chunk(peer, message, request_id)
        elif isinstance(message, Fetch):
            if len(peer.wanted) >= 2 * CREDIT:
                raise ServiceError("upload-credit", "More ranges are asked for than the credit allows.", "Wait.")
            peer.wanted.append((message, request_id))
        else:
            raise ServiceError("bad-message", "The bulk lane does not know this message.", "Update the client.")

    # ---- up ----------------------------------------------------------------------------------------------------------

    def _open_upload(self, peer: _Peer, message: UploadOpen, request_id: str) -> None:
        owner, ref = peer.session.owner, message.blob
        if self._store.has_blob(owner, ref.sha256):
            self._answer(peer, UploadState(ref.sha256, ref.size_bytes, True), request_id)
            return
        if not self._store.is_wanted(owner, ref):
            raise ServiceError("blob-unwanted", "No job waits for this file.", "Submit a job first.")
        offset = self._uploads.open(owner, ref, message.kind)
        self._after_bytes(peer, ref.sha256, offset, request_id)

    def _take_chunk(self, peer: _Peer, message: UploadChunk, request_id: str) -> None:
        owner, sha256 = peer.session.owner, check_sha256(message.sha256)
        if message.payload.dtype != np.uint8 or message.payload.ndim != 1 or len(message.payload) > CHUNK_MOST_BYTES:
            raise WireError("A chunk is no run of bytes.")
        if not self._uploads.is_announced(owner, sha256):
            # Another connection of this owner finished it: the client asks anew.
            stored = self._store.has_blob(owner, sha256)
            self._answer(peer, UploadState(sha256, 0, stored), request_id)
            return
        offset = self._uploads.write(owner, sha256, message.offset, message.payload.data)
        self._after_bytes(peer, sha256, offset, request_id)

    def _after_bytes(self, peer: _Peer, sha256: str, offset: int, request_id: str) -> None:
        if self._uploads.is_whole(peer.session.owner, sha256):
            ref = self._uploads.finish(peer.session.owner, sha256)
            self.service.post_stored(peer.session, peer.routing_id, ref, request_id)
        else:
            self._answer(peer, UploadState(sha256, offset, False), request_id)

    # ---- down --------------------------------------------------------------------------------------------------------

    def _send_wanted(self) -> None:
        """Send ranges to all clients in turn, as far as the memory bounds allow."""
        total = 0
        for peer in self._peers.values():
            peer.settle(self._buffers)
            total += peer.in_flight
        progress = True
        while progress:
            progress = False
            for peer in list(self._peers.values()):
                fits = peer.in_flight < _IN_FLIGHT_PER_PEER and total < _IN_FLIGHT
                if peer.wanted and (fits or not peer.in_flight):
                    total += self._send_range(peer, FETCH_BYTES if total < _IN_FLIGHT else FETCH_WHOLE_BYTES)
                    progress = True

    def _send_range(self, peer: _Peer, most: int) -> int:
        """Send a client's next range, or its first ``most`` bytes; gives the bytes sent."""
        wanted, request_id = peer.wanted.popleft()
        try:
            buffer, length, total = self._read(peer, wanted, most)
        except InternGSError as error:
            self._answer(peer, Failure(error.code, error.cause, error.remedy), request_id)
            return 0
        payload = np.frombuffer(buffer, np.uint8, length)
        header, body = encode(Chunk(wanted.name, wanted.offset, total, payload), request_id, peer.session.protocol)
        try:
            self._router.send_multipart([peer.routing_id, header], zmq.NOBLOCK | zmq.SNDMORE)
            tracker = self._router.send(body, zmq.NOBLOCK, copy=False, track=True)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self._drop(peer)
            return 0
        peer.sent.append((tracker, buffer, length))
        peer.in_flight += length
        self._sent_s = time.monotonic()
        if wanted.offset + length == total and wanted.name.startswith("blob:"):
            self.service.post_fetched(peer.session.owner, wanted.name.removeprefix("blob:"))
        return length

    def _read(self, peer: _Peer, wanted: Fetch, most: int) -> tuple[bytearray, int, int]:
        """A buffer that begins with the range's first bytes, how many they are, and the size of the whole object.

        Raises:
            InternGSError: no such object for this owner, or no such range, or the disk fails.
        """
        if not 0 < wanted.length <= FETCH_BYTES or wanted.offset < 0:
            raise WireError("A range is empty or too long.")
        file, size = self._open_object(peer, wanted.name)
        if wanted.offset + wanted.length > size:
            raise WireError("A range ends behind its object.")
        length = min(wanted.length, most)
        buffer = self._buffers.take(length)
        try:
            file.seek(wanted.offset)
            got = file.readinto(memoryview(buffer)[:length])
        except OSError as error:
            raise _UNREADABLE from error
        if got != length:
            raise _UNREADABLE
        return buffer, length, size

    def _open_object(self, peer: _Peer, name: str) -> tuple[FileIO, int]:
        kind, _, rest = name.partition(":")
        key = f"{peer.session.owner}\0{name}"
        if key in self._files:
            self._files.move_to_end(key)
            return self._files[key]
        if kind == "blob":
            path = self._blob_path(peer.session.owner, rest)
        elif kind == "preview":
            path = self._preview_path(peer.session.owner, rest)
        else:
            raise WireError("An object's name is of unknown kind.")
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise _GONE if kind == "preview" else _MISSING from error
        size = file.seek(0, 2)
        self._files[key] = file, size
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)[1][0].close()
        return file, size

    def _blob_path(self, owner: str, sha256: str) -> Path:
        path = self._store.folders.blobs.path(sha256)
        if not self._store.has_blob(owner, sha256):
            raise _MISSING
        return path

    def _preview_path(self, owner: str, rest: str) -> Path:
        job_id, _, number = rest.partition(":")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise WireError("A preview's number is none.")
        if self._store.owner_of(check_id(job_id)) != owner:
            raise ServiceError("unknown-job", "There is no such job on this server.", "List the jobs.")
        return JobFolder(self._store.folders.job(job_id)).preview(int(number))

    # ---- ends --------------------------------------------------------------------------------------------------------

    def _drop_gone(self) -> None:
        for peer in list(self._peers.values()):
            if peer.session.gone:
                self._drop(peer)
        if any(peer.wanted for peer in self._peers.values()):
            return
        # Files of previews that were replaced, and of discarded jobs, must not be held open.
        while self._files:
            self._files.popitem()[1][0].close()
        if time.monotonic() - self._sent_s > _BUFFERS_KEPT_S:
            self._buffers.drop()

    def _drop(self, peer: _Peer) -> None:
        self._peers.pop(peer.routing_id, None)


def _of(error: ErrorInfo) -> tuple[str, str, str]:
    return error.code, error.cause, error.remedy


_MISSING = ServiceError("blob-missing", "There is no such file on this server.", "Ask for the job again.")
_UNREADABLE = ServiceError("internal", "The server could not read a file of this job.", "Tell who runs the server.")
_GONE = ServiceError("preview-gone", "The preview was replaced by a newer one.", "Take the newest.")
