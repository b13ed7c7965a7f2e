# SPDX-License-Identifier: GPL-3.0-or-later
"""What both lanes share: a ROUTER set up safely, messages in, messages out from any thread."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

import zmq

from interngs.errors import InternGSError
from interngs.link.address import format_address
from interngs.link.wake import Wake
from interngs.wire.codec import Envelope, decode, encode, request_id_of
from interngs.wire.errors import WireError
from interngs.wire.messages import Failure, Message
from interngs.wire.version import PROTOCOL_MIN

from .auth import DOMAIN
from .config import ServerConfig
from .keys import KeyFolder

_LOG = logging.getLogger(__name__)
_RECEIVE_AT_ONCE = 64
_QUEUED_PER_PEER = 1000

Frames = Sequence["bytes | bytearray | memoryview"]


def open_router(context: zmq.Context[zmq.Socket[bytes]], config: ServerConfig, port: int, frame_bytes: int,
                queued_in: int, affinity: int) -> tuple[zmq.Socket[bytes], int]:
    """A bound ROUTER and its port; the gatekeeper must be there before.

    Raises:
        InternGSError: the address cannot be bound.
    """
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    router.affinity = affinity
    router.router_mandatory = True
    router.maxmsgsize = frame_bytes
    router.sndhwm, router.rcvhwm = _QUEUED_PER_PEER, queued_in
    router.handshake_ivl = 5000
    router.heartbeat_ivl = 10_000
    router.heartbeat_timeout = 30_000
    router.heartbeat_ttl = 30_000
    router.ipv6 = config.host.startswith("[")
    router.zap_domain = DOMAIN
    router.zap_enforce_domain = True
    if config.uses_keys:
        router.curve_server = True
        router.curve_secretkey = KeyFolder(config.keys).server_key().secret.encode()
    try:
        router.bind(format_address(config.host, port))
    except zmq.ZMQError as error:
        router.close(0)
        raise InternGSError("address-in-use", f"{format_address(config.host, port)} cannot be used: {error}.",
                            "Stop the other server, or choose another port with --listen.") from error
    endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
    return router, int(endpoint.rpartition(":")[2].rstrip("\0"))


class Outbox:
    """Messages from any thread to the one that owns a socket."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, Message, str, int]] = deque()
        self.wake = Wake()

    def put(self, routing_id: bytes, message: Message, request_id: str, protocol: int) -> None:
        """Queue a message."""
        self._waiting.append((routing_id, message, request_id, protocol))
        self.wake.set()

    def take(self) -> list[tuple[bytes, Message, str, int]]:
        """All queued messages, oldest first."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken


def receive(router: zmq.Socket[bytes]) -> list[tuple[bytes, str, list[zmq.Frame]]]:
    """(routing id, user id, frames) of what waits on a router; a bounded number, so that others have their turn."""
    found = []
    for _ in range(_RECEIVE_AT_ONCE):
        try:
            routing_id, *frames = router.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            break
        if frames:
            found.append((routing_id.bytes, _user_of(frames[0]), frames))
    return found


def _user_of(frame: zmq.Frame) -> str:
    """The user id that the gatekeeper gave the connection of a frame."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def send(router: zmq.Socket[bytes], routing_id: bytes, message: Message, request_id: str, protocol: int) -> bool:
    """Send a message; False when the client has gone or no longer reads."""
    try:
        frames = encode(message, request_id, protocol)
        router.send_multipart([routing_id, *frames], zmq.NOBLOCK, copy=True)
    except zmq.ZMQError as error:
        if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return False
        raise
    return True


def decode_or_refuse(router: zmq.Socket[bytes], routing_id: bytes, frames: list[zmq.Frame]) -> Envelope | None:
    """The message in ``frames``; a malformed one is answered where that is possible."""
    buffers = [frame.buffer for frame in frames]
    try:
        return decode(buffers)
    except WireError as error:
        _LOG.info("malformed message: %s", error.cause)
        request_id = request_id_of(buffers)
        if request_id:
            send(router, routing_id, Failure(error.code, error.cause, error.remedy), request_id, PROTOCOL_MIN)
        return None
