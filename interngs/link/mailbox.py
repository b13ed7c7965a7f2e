# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded mailbox between the socket thread and the program: newest-wins slots, and a queue that is never cut."""

from __future__ import annotations

import threading
from collections import deque

from .updates import (
    JobChanged,
    PreviewArrived,
    ProgressChanged,
    StateChanged,
    TransferChanged,
    Update,
)

QUEUE_ROOM = 4096
"""Queued updates at which ``is_full`` asks the socket thread to stop acknowledging events."""

Slot = tuple[str, ...]


def slot_of(update: Update) -> Slot | None:
    """The newest-wins slot of an update; None for those of which every one counts."""
    if isinstance(update, StateChanged):
        return ("state",)
    if isinstance(update, JobChanged):
        return ("job", update.job.job_id)
    if isinstance(update, ProgressChanged):
        return ("progress", update.job_id)
    if isinstance(update, PreviewArrived):
        return ("preview", update.job_id)
    if isinstance(update, TransferChanged):
        return ("transfer", update.job_id, update.direction)
    return None


class Mailbox:
    """Thread-safe; ``put`` from one side, ``take`` from the other.

    An update with a slot replaces an older one of that slot where it stands in the order.  Updates without a slot
    (events) are never dropped: the sender looks at ``is_full`` and lets its own sender wait instead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order: deque[Slot | Update] = deque()
        self._slots: dict[Slot, Update] = {}
        self._queued = 0

    def put(self, update: Update) -> None:
        """Add an update."""
        slot = slot_of(update)
        with self._lock:
            if slot is None:
                self._order.append(update)
                self._queued += 1
                return
            if slot not in self._slots:
                self._order.append(slot)
            self._slots[slot] = update

    def take(self, most: int) -> list[Update]:
        """The oldest updates, at most ``most``."""
        taken: list[Update] = []
        with self._lock:
            while self._order and len(taken) < most:
                entry = self._order.popleft()
                if isinstance(entry, tuple):
                    taken.append(self._slots.pop(entry))
                else:
                    taken.append(entry)
                    self._queued -= 1
        return taken

    @property
    def is_full(self) -> bool:
        """Whether more events should wait at the server."""
        return self._queued >= QUEUE_ROOM


