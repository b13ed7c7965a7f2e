# SPDX-License-Identifier: GPL-3.0-or-later
"""What a link is doing, as one frozen snapshot that panels may read at any time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from ..wire.errors import ErrorInfo
from ..wire.records import ServerInfo

Phase = Literal["idle", "connecting", "connected", "slow", "lost", "refused", "closed"]


@dataclass(frozen=True)
class LinkState:
    """A snapshot of a link.

    Attributes:
        phase: ``idle`` (nothing asked for), ``connecting``, ``connected``, ``slow`` (a heartbeat is late),
            ``lost`` (the link comes back by itself), ``refused`` (a person must act, see ``error``), ``closed``.
        address: of the server, as given.
        server: what it said in its hello; kept while lost.
        round_trip_s: of the newest heartbeat, seconds.
        retry_at_s: ``time.monotonic()`` of the next attempt while lost.
        restarted: the server was started again since this link first met it.
        error: why the link is lost or refused.
    """

    phase: Phase = "idle"
    address: str = ""
    server: ServerInfo | None = None
    round_trip_s: float | None = None
    retry_at_s: float | None = None
    restarted: bool = False
    error: ErrorInfo | None = None

    @property
    def is_up(self) -> bool:
        """Whether requests reach the server now."""
        return self.phase in ("connected", "slow")

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until the next attempt while lost, else None."""
        return None if self.retry_at_s is None else max(0.0, self.retry_at_s - time.monotonic())
