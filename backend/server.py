# SPDX-License-Identifier: GPL-3.0-or-later
"""The control lane's thread: lets clients in, answers pings at once, hands requests on; never waits for a disk."""

from __future__ import annotations

import logging
import threading
import time

import zmq

from interngs.errors import InternGSError
from interngs.wire.errors import ErrorInfo
from interngs.wire.limits import CONTROL_FRAME_BYTES
from interngs.wire.messages import Failure, Goodbye, Hello, Message, Pair, Paired, Ping, Pong
from interngs.wire.version import PROTOCOL_MIN

from .auth import PAIRING, Gatekeeper
from .config import ServerConfig
from .keys import KeyFolder
from .lane import Outbox, decode_or_refuse, open_router, receive, send
from .service import Service
from .session import Session, Sessions

_LOG = logging.getLogger(__name__)
_QUEUED_IN = 500
_TICK_S = 0.5
_HELLO_FIRST = ErrorInfo("hello-first", "The server does not know this connection.", "Say hello first.")
_TOO_FAST = ErrorInfo("too-fast", "Messages come faster than the server allows.", "Wait a moment and try again.")
_TOO_MANY = ErrorInfo("too-many-sessions", "The server has no place for another client.", "Try again later.")
_ONLY_PAIRING = ErrorInfo("key-refused", "A pairing code's key can only pair.", "Connect again with your own key.")


class ControlLane:
    """Owns the control socket and the gatekeeper's."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], config: ServerConfig, sessions: Sessions) -> None:
        self._config, self._sessions = config, sessions
        self._keys = KeyFolder(config.keys)
        self._outbox = Outbox()
        self._stopping = threading.Event()
        self._next_tick_s = 0.0
        self._allow_list: object = None
        self._gatekeeper = Gatekeeper(context, self._keys if config.uses_keys else None)
        self._router, self.port = open_router(context, config, config.port, CONTROL_FRAME_BYTES, _QUEUED_IN, 1)
        self.service: Service

    def post(self, session: Session, message: Message, request_id: str) -> None:
        """Send a message to a session; from any thread."""
        self._outbox.put(session.routing_id, message, request_id, session.protocol)

    def stop(self) -> None:
        """End the thread once everything posted is sent; from any thread."""
        self._stopping.set()
        self._outbox.wake.set()

    def run(self) -> None:
        """The thread's whole life."""
        poller = zmq.Poller()
        poller.register(self._gatekeeper.socket, zmq.POLLIN)
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._outbox.wake.fileno(), zmq.POLLIN)
        while not self._stopping.is_set():
            ready = dict(poller.poll(int(1000 * _TICK_S)))
            if self._gatekeeper.socket in ready:
                self._gatekeeper.answer()
            if self._outbox.wake.fileno() in ready:
                self._outbox.wake.clear()
            self._send_posted()
            for routing_id, user, frames in receive(self._router):
                self._on_frames(routing_id, user, frames)
            now_s = time.monotonic()
            if now_s >= self._next_tick_s:
                self._next_tick_s = now_s + _TICK_S
                self._drop_silent(now_s)
                self._drop_revoked()
        self._send_posted()
        self._router.close(500)
        self._gatekeeper.close()

    def _send_posted(self) -> None:
        for routing_id, message, request_id, protocol in self._outbox.take():
            if not send(self._router, routing_id, message, request_id, protocol):
                session = self._sessions.get(routing_id)
                if session is not None:
                    self._forget(session, "unreachable")

    # ---- messages ----------------------------------------------------------------------------------------------------

    def _on_frames(self, routing_id: bytes, user: str, frames: list[zmq.Frame]) -> None:
        now_s = time.monotonic()
        session = self._sessions.get(routing_id)
        if session is None:
            session = self._admit(routing_id, user)
            if session is None:
                return
        if now_s < session.ignored_until_s or user != session.user:
            return
        session.heard_s = now_s
        envelope = decode_or_refuse(self._router, routing_id, frames)
        if envelope is None:
            session.note_bad_message(now_s)
            return
        self._on_message(session, envelope.message, envelope.request_id, now_s)

    def _admit(self, routing_id: bytes, user: str) -> Session | None:
        session = Session(routing_id, user)
        if not user or not self._gatekeeper.is_still_allowed(user):
            self._refuse(session, ErrorInfo("key-refused", "The key was revoked.", "Pair again."), "")
            return None
        if len(self._sessions) >= self._config.limits.sessions:
            self._refuse(session, _TOO_MANY, "")
            return None
        self._sessions.add(session)
        return session

    def _on_message(self, session: Session, message: Message, request_id: str, now_s: float) -> None:
        if session.user.startswith(PAIRING):
            self._pair(session, message, request_id)
        elif not session.takes_turn(now_s, self._config.limits.messages_per_s, self._config.limits.message_burst):
            self._refuse(session, _TOO_FAST, request_id)
        elif isinstance(message, Ping) and session.ready:
            send(self._router, session.routing_id, Pong(message.nonce), request_id, session.protocol)
            self.service.post_ping(session)
        elif isinstance(message, Goodbye):
            self._forget(session, "goodbye")
        elif session.ready or isinstance(message, Hello):
            self.service.post_request(session, message, request_id)
        else:
            self._refuse(session, _HELLO_FIRST, request_id)

    def _pair(self, session: Session, message: Message, request_id: str) -> None:
        if not isinstance(message, Pair):
            self._refuse(session, _ONLY_PAIRING, request_id)
            return
        try:
            client = self._keys.finish_pairing(session.user.removeprefix(PAIRING), message.public_key, message.name)
        except InternGSError as error:
            self._refuse(session, ErrorInfo.of(error), request_id)
            return
        _LOG.info("client paired", extra={"key": client.key_id})
        send(self._router, session.routing_id, Paired(client.key_id), request_id, PROTOCOL_MIN)
        self._forget(session, "paired")

    def _refuse(self, session: Session, error: ErrorInfo, request_id: str) -> None:
        send(self._router, session.routing_id, Failure(error.code, error.cause, error.remedy), request_id,
             session.protocol)

    # ---- ends --------------------------------------------------------------------------------------------------------

    def _drop_silent(self, now_s: float) -> None:
        # One interval more than the client waits, so that the client always notices first.
        longest_s = self._config.heartbeat_s * (self._config.heartbeat_misses + 1)
        for session in self._sessions.all():
            if now_s - session.heard_s > longest_s:
                self._forget(session, "silent")

    def _drop_revoked(self) -> None:
        """When the allow-list changed, end the sessions of keys that are no longer on it."""
        if not self._config.uses_keys:
            return
        present = self._keys.change_mark()
        if present != self._allow_list:
            self._allow_list = present
            for session in self._sessions.all():
                if not session.user.startswith(PAIRING) and not self._gatekeeper.is_still_allowed(session.user):
                    self._refuse(session, ErrorInfo("key-refused", "The key was revoked.", "Pair again."), "")
                    self._forget(session, "revoked")

    def _forget(self, session: Session, reason: str) -> None:
        _LOG.info("session over", extra={"client": session.client_id[:8], "reason": reason})
        self._sessions.remove(session)
        self.service.post_gone(session)
