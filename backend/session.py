# SPDX-License-Identifier: GPL-3.0-or-later
"""Connected clients: who they are, when they were last heard, how fast they talk."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

from interngs.wire.limits import BAD_MESSAGES, IGNORE_S
from interngs.wire.version import PROTOCOL_MIN

from .auth import KEY


@dataclass(eq=False)
class Session:
    """One connection of a client on the control lane; thread-safe by plain assignments.

    Attributes:
        user: user id that the gatekeeper gave.
        token: ties the bulk lane to this session.
        ready: whether hello was answered; requests come after it.
    """

    routing_id: bytes
    user: str
    heard_s: float = field(default_factory=time.monotonic)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    ready: bool = False
    protocol: int = PROTOCOL_MIN
    client_id: str = ""
    client_name: str = ""
    gone: bool = False
    bad_messages: int = 0
    ignored_until_s: float = 0.0
    _allowance: float = -1.0
    _allowance_s: float = 0.0

    @property
    def owner(self) -> str:
        """Whose jobs this session sees."""
        return self.user

    @property
    def share(self) -> str:
        """Whose turn it takes in the queue: a key's, or on loopback each program's own."""
        return self.user if self.user.startswith(KEY) else f"{self.user}:{self.client_id}"

    def takes_turn(self, now_s: float, rate: float, burst: int) -> bool:
        """Count a message; False when they come faster than ``rate`` a second after a ``burst``."""
        if self._allowance < 0.0:
            self._allowance = float(burst)
        else:
            self._allowance = min(float(burst), self._allowance + rate * (now_s - self._allowance_s))
        self._allowance_s = now_s
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def note_bad_message(self, now_s: float) -> None:
        """Count a malformed message; too many make the server deaf for a while."""
        self.bad_messages += 1
        if self.bad_messages >= BAD_MESSAGES:
            self.bad_messages, self.ignored_until_s = 0, now_s + IGNORE_S


class Sessions:
    """All sessions, shared by the lanes' threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_routing: dict[bytes, Session] = {}
        self._by_token: dict[str, Session] = {}

    def get(self, routing_id: bytes) -> Session | None:
        """The session of a control connection."""
        return self._by_routing.get(routing_id)

    def add(self, session: Session) -> None:
        """A new control connection."""
        with self._lock:
            self._by_routing[session.routing_id] = session
            self._by_token[session.token] = session

    def remove(self, session: Session) -> None:
        """A session is over."""
        session.gone = True
        with self._lock:
            self._by_routing.pop(session.routing_id, None)
            self._by_token.pop(session.token, None)

    def by_token(self, token: str, user: str) -> Session | None:
        """The ready session of a token, when it belongs to the same user."""
        session = self._by_token.get(token)
        return session if session is not None and session.ready and session.user == user else None

    def all(self) -> list[Session]:
        """A snapshot."""
        with self._lock:
            return list(self._by_routing.values())

    def __len__(self) -> int:
        return len(self._by_routing)
