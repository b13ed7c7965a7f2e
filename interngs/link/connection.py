# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets of one connection attempt: control lane, bulk lane, and what their monitors say; one thread owns it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from ..wire.codec import Envelope, decode, encode
from ..wire.errors import ErrorInfo, WireError
from ..wire.limits import CHUNK_FRAME_BYTES, CONTROL_FRAME_BYTES
from ..wire.messages import Message
from ..wire.version import PROTOCOL, PROTOCOL_MIN
from .address import format_address
from .keys import KeyPair

_LOG = logging.getLogger(__name__)
_MONITORED = (zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
              | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_RECEIVE_AT_ONCE = 32

KEY_REFUSED = ErrorInfo("key-refused", "The server does not accept this computer's key.",
                        "Pair with it: run 'interngs-backend keys pair' on the server and enter the line it prints.")
KEYS_WANTED = ErrorInfo("key-refused", "The server asks for keys and this computer has none for it.",
                        "Pair with it: run 'interngs-backend keys pair' on the server and enter the line it prints.")
HANDSHAKE_CUT = ErrorInfo(
    "key-refused", "The server ends every connection before it begins; it probably asks for keys, and this computer "
    "has none for it.", KEYS_WANTED.remedy)
HANDSHAKE_BROKEN = ErrorInfo(
    "server-key-changed", "The server at this address does not hold the key that was stored for it.",
    "If you did not set it up anew, someone may be in its place: ask who runs it. Then forget its key and pair again.")


@dataclass(frozen=True)
class Trouble:
    """The connection ended; ``refusal`` says why when trying again is of no use by itself."""

    refusal: ErrorInfo | None = None


class Connection:
    """DEALER sockets to one server."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], host: str, port: int, keys: KeyPair | None,
                 server_key: str | None) -> None:
        self._context, self._host = context, host
        self._keys, self._server_key = keys, server_key
        self.poller = zmq.Poller()
        self.protocol = PROTOCOL
        self._broken = False
        self.control = self._open(port, CONTROL_FRAME_BYTES)
        self._monitor = self.control.get_monitor_socket(_MONITORED)
        self.poller.register(self._monitor, zmq.POLLIN)
        self.control.connect(format_address(host, port))
        self.bulk: zmq.Socket[bytes] | None = None

    def _open(self, port: int, max_frame_bytes: int) -> zmq.Socket[bytes]:
        opened = self._context.socket(zmq.DEALER)
        opened.linger = 0
        opened.maxmsgsize = max_frame_bytes
        opened.ipv6 = self._host.startswith("[")
        # One attempt per connection: waiting between attempts is the engine's, with jitter.
        opened.reconnect_ivl = -1
        opened.handshake_ivl = 5000
        if self._server_key is not None and self._keys is not None:
            opened.curve_serverkey = self._server_key.encode()
            opened.curve_publickey = self._keys.public.encode()
            opened.curve_secretkey = self._keys.secret.encode()
        self.poller.register(opened, zmq.POLLIN)
        return opened

    def open_bulk(self, port: int) -> None:
        """Open the bulk lane."""
        self.bulk = self._open(port, CHUNK_FRAME_BYTES)
        self.bulk.connect(format_address(self._host, port))

    def send_hello(self, message: Message, request_id: str) -> None:
        """Send the hello, in the framing that every server reads."""
        self._send(self.control, message, request_id, PROTOCOL_MIN)

    def send(self, message: Message, request_id: str = "") -> None:
        """Queue a message on the control lane."""
        self._send(self.control, message, request_id, self.protocol)

    def send_bulk(self, message: Message, request_id: str) -> None:
        """Queue a message on the bulk lane."""
        assert self.bulk is not None
        self._send(self.bulk, message, request_id, self.protocol)

    def _send(self, lane: zmq.Socket[bytes], message: Message, request_id: str, protocol: int) -> None:
        """Queue a message without ever waiting: a DEALER whose peer is gone would wait for ever."""
        try:
            lane.send_multipart(encode(message, request_id, protocol), zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self._broken = True

    def receive(self, lane: zmq.Socket[bytes]) -> Iterator[Envelope]:
        """Messages that wait on a lane; a bounded number, so that the lanes take turns."""
        for _ in range(_RECEIVE_AT_ONCE):
            try:
                frames = lane.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                yield decode([frame.buffer for frame in frames])
            except WireError as error:
                _LOG.warning("dropped a malformed message of the server: %s", error.cause)

    def trouble(self) -> Trouble | None:
        """What the monitor has seen since the last call, if the connection ended."""
        found: Trouble | None = Trouble() if self._broken else None
        while (event := self._monitor_event()) is not None:
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                return Trouble(KEY_REFUSED)
            if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                return Trouble(KEYS_WANTED if self._server_key is None else HANDSHAKE_BROKEN)
            if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                # A server that wants keys hangs up; its reset may overtake the greeting that would have said so.
                return Trouble(HANDSHAKE_CUT if self._server_key is None else HANDSHAKE_BROKEN)
            found = Trouble()
        return found

    def _monitor_event(self) -> int | None:
        try:
            return int(recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"])
        except zmq.Again:
            return None

    def close(self) -> None:
        """Close every socket; unsent messages are dropped."""
        self.control.disable_monitor()
        self._monitor.close(0)
        self.control.close(0)
        if self.bulk is not None:
            self.bulk.close(0)
