# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn Gaussians into Blender's arrays on a thread of its own, so that the interface never waits; knows no bpy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ...interngs.scene.gaussians import Gaussians
from ..scene.splat_arrays import SplatArrays, splat_arrays

Kind = Literal["PREVIEW", "PARTIAL", "FINAL"]


@dataclass(frozen=True, eq=False)
class ReadySplat:
    """Arrays that are ready to be handed to Blender."""

    job_id: str
    kind: Kind
    step: int
    splats: SplatArrays
    report: dict[str, Any] = field(default_factory=dict)


class SplatPreparer:
    """Newest wins for each job; a final result is never replaced by a preview."""

    def __init__(self, viewing: bool) -> None:
        self._viewing = viewing
        self._condition = threading.Condition()
        self._waiting: dict[str, tuple[Kind, Callable[[], ReadySplat]]] = {}
        self._ready: dict[str, ReadySplat] = {}
        self._failed: list[Exception] = []
        self._stop = False
        self._thread: threading.Thread | None = None

    def put(self, job_id: str, kind: Kind, step: int, gaussians: Gaussians,
            report: dict[str, Any] | None = None) -> None:
        """Prepare ``gaussians``; returns at once."""
        def work() -> ReadySplat:
            return ReadySplat(job_id, kind, step, splat_arrays(gaussians, self._viewing), report or {})

        with self._condition:
            before = self._waiting.get(job_id) or ((ready.kind, None) if (ready := self._ready.get(job_id)) else None)
            if kind == "PREVIEW" and before is not None and before[0] != "PREVIEW":
                return
            self._waiting[job_id] = (kind, work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="interngs-prepare", daemon=True)
                self._thread.start()
            self._condition.notify()

    def take(self) -> ReadySplat | None:
        """One that is ready, or None.

        Raises:
            Exception: whatever went wrong while preparing.
        """
        with self._condition:
            if self._failed:
                raise self._failed.pop(0)
            return self._ready.pop(next(iter(self._ready))) if self._ready else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is ready."""
        with self._condition:
            return not self._waiting and not self._ready

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop the thread; what waits is dropped."""
        with self._condition:
            self._stop = True
            self._waiting.clear()
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stop:
                    self._condition.wait()
                if self._stop:
                    return
                job_id = next(iter(self._waiting))
                _, work = self._waiting[job_id]
            try:
                ready = work()
            except Exception as error:  # noqa: BLE001 - handed to the main thread by ``take``
                with self._condition:
                    self._failed.append(error)
                    self._waiting.pop(job_id, None)
                continue
            with self._condition:
                if self._waiting.get(job_id, (None, None))[1] is work:
                    del self._waiting[job_id]
                    self._ready[job_id] = ready
