# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn Gaussians into Blender's arrays on a thread of its own, so that the interface never waits; knows no bpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ...interngs.scene.gaussians import Gaussians
from ..scene.splat_arrays import SplatArrays, splat_arrays
from .worker import NewestWorker

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
    """Newest wins for each job; a final result is never replaced by a preview.  To be called from one thread."""

    def __init__(self, viewing: bool) -> None:
        self._viewing = viewing
        self._worker = NewestWorker("interngs-prepare")
        self._expected: dict[str, tuple[Kind, int]] = {}

    def put(self, job_id: str, kind: Kind, step: int, gaussians: Gaussians,
            report: dict[str, Any] | None = None) -> None:
        """Prepare ``gaussians``; returns at once."""
        if kind == "PREVIEW" and self._expected.get(job_id, (kind, step))[0] != "PREVIEW":
            return
        self._expected[job_id] = kind, step
        self._worker.put(job_id, lambda: ReadySplat(job_id, kind, step, splat_arrays(gaussians, self._viewing),
                                                    report or {}))

    def take(self) -> ReadySplat | None:
        """One that is ready, or None.

        Raises:
            Exception: whatever went wrong while preparing.
        """
        for job_id, (kind, step) in list(self._expected.items()):
            try:
                ready = self._worker.take(job_id)
            except Exception:
                del self._expected[job_id]
                raise
            if ready is None:
                continue
            is_newest = (ready.kind, ready.step) == (kind, step)
            if is_newest:
                del self._expected[job_id]
            if is_newest or kind == "PREVIEW":      # an older preview too, else a quick stream of them shows none
                return ready
        return None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is ready."""
        return not self._expected

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop the thread; what waits is dropped."""
        self._expected.clear()
        self._worker.close(timeout_s)
