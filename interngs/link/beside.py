# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread beside the socket's for work that would hold it up: hashing and reading what arrives, reading files."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]


class Beside:
    """Runs work in one thread, one piece after the other."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, work: Work) -> None:
        """Queue a piece of work; from any thread.  After ``stop`` it is never done."""
        self._waiting.put(work)

    def stop(self) -> None:
        """End the thread after the pieces that were queued before; from any thread."""
        self._waiting.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it did not come in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()
