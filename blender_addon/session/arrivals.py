# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians that come from the backend: prepared beside the interface, written a little at a time, then shown."""

from __future__ import annotations

import time
from typing import Any

import bpy

from ...interngs.scene.gaussians import Gaussians
from ..scene import splat_object
from ..scene.gradual_write import GradualWrite
from .display import object_name, scene_of_job, show
from .preparer import Kind, ReadySplat, SplatPreparer
from .state import session_state

WRITE_S = 0.003
"""Time of one turn for writing attributes; one attribute is written in any case."""


class Arrivals:
    """From ``put`` to the object in the scene.  Main thread only."""

    def __init__(self) -> None:
        self._preparer: SplatPreparer | None = None
        self._ready: ReadySplat | None = None
        self._write: GradualWrite | None = None
        self._shown: set[str] = set()

    def put(self, job_id: str, kind: Kind, step: int, gaussians: Gaussians,
            report: dict[str, Any] | None = None) -> None:
        """Show a job's Gaussians soon; the newest win, and a result is never replaced by a preview."""
        if self._preparer is None:
            self._preparer = SplatPreparer(splat_object.wants_viewing_attributes())
        self._preparer.put(job_id, kind, step, gaussians, report)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._ready is None and (self._preparer is None or self._preparer.is_idle)

    @property
    def is_writing(self) -> bool:
        """Whether the next turn has something to write."""
        return self._ready is not None

    def pump(self, server_id: str) -> ReadySplat | None:
        """One turn; the Gaussians that came into the scene with it, or None.

        Raises:
            Exception: what went wrong while preparing or showing.
        """
        try:
            return self._turn(server_id)
        except Exception:
            self._drop()
            raise

    def _turn(self, server_id: str) -> ReadySplat | None:
        if self._ready is None and self._preparer is not None:
            self._ready = self._preparer.take()
        ready = self._ready
        if ready is None:
            return None
        scene = scene_of_job(ready.job_id)
        if splat_object.find(ready.job_id) is None and ready.job_id in self._shown:
            session_state().hidden_jobs.add(ready.job_id)
            scene = None
        if scene is None:
            self._drop()
            return None
        if self._write is None:
            self._write = GradualWrite(object_name(scene), ready.splats)
            return None
        if not self._write.go_on(time.perf_counter() + WRITE_S):
            return None
        data = self._write.take()
        self._ready = self._write = None
        if show(ready, server_id, data) is None:
            return None
        self._shown.add(ready.job_id)
        return ready

    def _drop(self) -> None:
        if self._write is not None:
            self._write.drop()
        self._ready = self._write = None

    def show_again(self, job_id: str) -> None:
        """An object that the artist deleted may come back."""
        self._shown.discard(job_id)
        session_state().hidden_jobs.discard(job_id)

    def file_loaded(self) -> None:
        """Another file is open: nothing of the old one is shown any more."""
        self._ready = self._write = None      # what was being written went with the old file
        self._shown.clear()
        session_state().hidden_jobs.clear()
        self.close()

    def undone(self) -> None:
        """After undo and redo: objects came or went without the artist deleting them; what was written may be gone."""
        if self._write is not None:
            self._write.drop()
            self._write = None
        self._shown = {each.interngs_splat.job_id for each in bpy.data.objects if each.interngs_splat.job_id}

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop preparing; what waits is dropped."""
        self._drop()
        if self._preparer is not None:
            self._preparer.close(timeout_s)
            self._preparer = None
