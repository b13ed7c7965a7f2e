# SPDX-License-Identifier: GPL-3.0-or-later
"""The ZAP handler (ZeroMQ RFC 27): decides who may connect; denies by default; runs in the control lane's thread."""

from __future__ import annotations

import logging

import zmq
from zmq.utils import z85

from interngs.errors import InternGSError
from interngs.link.address import is_loopback

from .keys import KeyFolder

_LOG = logging.getLogger(__name__)
DOMAIN = b"interngs"
LOCAL = "local"
"""User id of loopback connections without keys."""
PAIRING = "pairing:"
"""Prefix of the user id of a connection that may only pair; the pairing code's public key follows."""
KEY = "key:"
"""Prefix of the user id of a client with a key; its public key follows."""
_REQUEST_FRAMES = 6


class Gatekeeper:
    """Answers ZAP requests on the context's own endpoint."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: KeyFolder | None) -> None:
        """``keys``: the allow-list for CURVE; None lets loopback in without keys."""
        self._keys = keys
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Take one request and answer it; called when the socket is readable."""
        frames = self.socket.recv_multipart()
        request_id = frames[1] if len(frames) > 1 else b""
        user = self._judge(frames)
        if user is None:
            self.socket.send_multipart([b"1.0", request_id, b"400", b"not let in", b"", b""])
        else:
            self.socket.send_multipart([b"1.0", request_id, b"200", b"", user.encode(), b""])

    def _judge(self, frames: list[bytes]) -> str | None:
        """The user id of a connection, or None."""
        if len(frames) < _REQUEST_FRAMES or frames[0] != b"1.0" or frames[2] != DOMAIN:
            return None
        address, mechanism, credentials = frames[3].decode("ascii", "replace"), frames[5], frames[6:]
        if self._keys is None:
            allowed = mechanism == b"NULL" and is_loopback(address.removeprefix("::ffff:"))
            return LOCAL if allowed else None
        if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            return None
        return self.user_of(z85.encode(credentials[0]).decode())

    def user_of(self, public: str) -> str | None:
        """The user id of a public key by the allow-list as it is on disk now; None when it is not let in."""
        assert self._keys is not None
        try:
            if self._keys.client(public) is not None:
                return KEY + public
            if self._keys.is_pending(public):
                return PAIRING + public
        except (InternGSError, OSError) as error:
            _LOG.error("a key file cannot be used, so its key is not let in: %s", error)
        return None

    def is_still_allowed(self, user: str) -> bool:
        """Whether a connection made earlier may go on (its key may have been revoked since)."""
        if self._keys is None:
            return user == LOCAL
        return user.startswith((KEY, PAIRING)) and self.user_of(user.partition(":")[2]) == user

    def close(self) -> None:
        """Close the socket."""
        self.socket.close(0)
