# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs and saves a run's newest Gaussians in a thread beside it, within a share of its time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from interngs.errors import InternGSError
from interngs.events import Preview
from interngs.wire.previews import preview_parts
from interngs.wire.results import result_parts

from .channel import Logged, PreviewWritten
from .job_folder import JobFolder

_LOG = logging.getLogger(__name__)


class PreviewWriter:
    """Newest wins: while one preview is packed, the one after the next is forgotten."""

    def __init__(self, folder: JobFolder, send: Callable[[Any], None], busy_share: float) -> None:
        """``busy_share``: most share of the time that packing may take, so that it does not slow the training."""
        self._folder, self._send, self._busy_share = folder, send, busy_share
        self._changed = threading.Condition()
        self._saving = threading.Lock()
        self._newest: Preview | None = None
        self._to_pack = False
        self._to_keep = False
        self._kept_step = -1
        self._rest_until_s = 0.0
        self._number = folder.newest_preview()
        threading.Thread(target=self._work, name="previews", daemon=True).start()

    def show(self, preview: Preview) -> None:
        """Note the newest Gaussians; they are packed when there is time."""
        with self._changed:
            self._newest, self._to_pack = preview, True
            self._changed.notify()

    def keep_newest(self) -> None:
        """Save the newest Gaussians soon, so that a job that is lost or cancelled later has them."""
        with self._changed:
            self._to_keep = True
            self._changed.notify()

    def finish(self) -> None:
        """Save the newest Gaussians now."""
        if self._newest is not None:
            self._keep(self._newest)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._is_due():
                    self._changed.wait(0.1 if self._to_pack else None)
                newest, keep, pack = self._newest, self._to_keep, self._to_pack and self._rested
                self._to_keep = False
                self._to_pack = self._to_pack and not pack
            if newest is None:
                continue
            try:
                if keep:
                    self._keep(newest)
                if pack:
                    self._pack(newest)
            except (InternGSError, OSError) as error:
                # The training goes on: its checkpoint will say it too when the disk stays full.
                _LOG.exception("a preview was not written")
                self._send(Logged(f"A preview was not written: {error}", "warning"))

    @property
    def _rested(self) -> bool:
        return time.monotonic() >= self._rest_until_s

    def _is_due(self) -> bool:
        return self._to_keep or (self._to_pack and self._rested)

    def _pack(self, preview: Preview) -> None:
        began_s = time.monotonic()
        parts = list(preview_parts(preview.gaussians, preview.step))
        self._number += 1
        self._folder.write_preview(self._number, parts)
        size = sum(len(part) for part in parts)
        self._send(PreviewWritten(self._number, preview.step, len(preview.gaussians), size))
        took_s = time.monotonic() - began_s
        self._rest_until_s = time.monotonic() + took_s * (1.0 / self._busy_share - 1.0)

    def _keep(self, preview: Preview) -> None:
        with self._saving:
            if preview.step > self._kept_step:
                gaussians = preview.gaussians
                self._folder.write_latest(result_parts(gaussians), {
                    "step": preview.step, "gaussians": len(gaussians), "sh_degree": gaussians.sh_degree})
                self._kept_step = preview.step
