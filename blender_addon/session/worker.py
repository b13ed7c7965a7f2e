# SPDX-License-Identifier: GPL-3.0-or-later
"""One thread for preparing, packing, sorting, counting: of each kind of work only the newest is done; knows no bpy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any


class NewestWorker:
    """``put`` work under a key, ``take`` its outcome later; a newer ``put`` replaces one that has not begun."""

    def __init__(self, name: str = "interngs-draw") -> None:
        self._name = name
        self._condition = threading.Condition()
        self._waiting: dict[Hashable, Callable[[], Any]] = {}
        self._done: dict[Hashable, Any] = {}
        self._running: Hashable | None = None
        self._stop = False
        self._thread: threading.Thread | None = None

    def put(self, key: Hashable, work: Callable[[], Any]) -> None:
        """Do ``work`` soon; returns at once."""
        with self._condition:
            self._waiting[key] = work
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify()

    def take(self, key: Hashable) -> Any | None:
        """The newest outcome under ``key``, once; None when there is none.

        Raises:
            Exception: what the work raised.
        """
        with self._condition:
            outcome = self._done.pop(key, None)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def is_busy(self) -> bool:
        """Whether work waits or runs."""
        with self._condition:
            return bool(self._waiting) or self._running is not None

    @property
    def has_news(self) -> bool:
        """Whether an outcome waits to be taken."""
        with self._condition:
            return bool(self._done)

    def close(self, timeout_s: float = 0.5) -> None:
        """Stop the thread."""
        with self._condition:
            self._stop = True
            self._waiting.clear()
            self._done.clear()
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stop:
                    self._condition.wait()
                if self._stop:
                    return
                self._running, work = next(iter(self._waiting.items()))
                del self._waiting[self._running]
            try:
                outcome = work()
            except Exception as error:  # noqa: BLE001 - handed over by ``take``
                outcome = error
            with self._condition:
                if not self._stop:
                    self._done[self._running] = outcome
                self._running = None
