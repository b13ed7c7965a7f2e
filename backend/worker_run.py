# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the pipeline in a worker: inputs from blobs, events to reports, results to files."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from interngs.config import PipelineConfig
from interngs.events import CheckpointSaved, Done, Event, Log, Preview, Progress, Stage
from interngs.images.load import load_capture
from interngs.images.pixel_file import PixelFile
from interngs.scene.capture import CaptureFiles, SparsePoints, ViewFile
from interngs.wire.arrays import unpack_arrays
from interngs.wire.errors import ServiceError
from interngs.wire.limits import LOG_LINE_CHARACTERS, NAME_CHARACTERS
from interngs.wire.records import ProgressInfo
from interngs.wire.results import result_parts

from .blobs import BlobFolder
from .channel import Checkpointed, Finished, Logged, Progressed, StageBegan, Work
from .job_folder import JobFolder
from .worker_previews import PreviewWriter


class Run:
    """The run of one job's pipeline."""

    def __init__(self, work: Work, send: Callable[[Any], None], should_stop: Callable[[], bool]) -> None:
        self._work, self._send, self._should_stop = work, send, should_stop
        self._folder = JobFolder(Path(work.folder))
        self._previews = PreviewWriter(self._folder, send, busy_share=0.02 if work.gpu is None else 0.25)

    def to_the_end(self) -> Finished:
        """Run until the pipeline ends or is told to stop; reports on the way.

        Raises:
            InternGSError: the pipeline refused or failed in a known way.
        """
        if self._work.capture.render is not None:
            from .worker_render import render_frames  # noqa: PLC0415 - torch, for renders alone

            return render_frames(self._work, self._work.capture.render, self._send, self._should_stop)
        module, _, function = self._work.pipeline.partition(":")
        reconstruct = getattr(importlib.import_module(module), function)
        config = replace(PipelineConfig.from_dict(self._work.settings), device=self._work.device,
                         threads=self._work.threads)
        self._send(StageBegan("load", f"{len(self._work.capture.views)} photos"))
        capture = load_capture(self._files(), max_side_px=config.max_side_px,
                               pixels=PixelFile(self._folder.folder))
        done: Done | None = None
        for event in reconstruct(capture, config, self._folder.work, resume=self._work.resume,
                                 should_stop=self._should_stop):
            self._should_stop()     # every event is a sign of life
            if isinstance(event, Done):
                done = event
            else:
                self._report(event)
        return self.save_partial() if done is None else self._save_done(done)

    def _report(self, event: Event) -> None:
        if isinstance(event, Stage):
            self._send(StageBegan(event.name[:NAME_CHARACTERS], event.detail[:LOG_LINE_CHARACTERS]))
        elif isinstance(event, Progress):
            self._send(Progressed(ProgressInfo(
                event.stage, int(event.step), int(event.total_steps), _finite(event.loss), _finite(event.psnr_db),
                event.gaussians, _finite(event.seconds_left))))
        elif isinstance(event, Log):
            self._send(Logged(event.message[:LOG_LINE_CHARACTERS], event.level))
        elif isinstance(event, Preview):
            self._previews.show(event)
        elif isinstance(event, CheckpointSaved):
            self._previews.keep_newest()
            self._send(Checkpointed(event.step, self._folder.size_bytes()))

    # ---- inputs ------------------------------------------------------------------------------------------------------

    def _files(self) -> CaptureFiles:
        blobs = BlobFolder(Path(self._work.blobs))
        record = self._work.capture
        views = tuple(ViewFile(
            view.name, blobs.path(view.image.sha256), None if view.camera is None else view.camera.to_camera(),
            view.to_distortion(), None if view.mask is None else blobs.path(view.mask.sha256),
            None if view.depth is None else self._depth_file(index, blobs.path(view.depth.sha256)))
            for index, view in enumerate(record.views))
        points = None
        if record.points is not None:
            arrays, _ = unpack_arrays(blobs.path(record.points.sha256).read_bytes())
            points = SparsePoints(arrays["positions"].astype(np.float64), arrays["colours"])
        return CaptureFiles(views, record.source, points)

    def _depth_file(self, index: int, blob: Path) -> Path:
        """A depth blob as a file with the suffix by which the loader knows its type."""
        data = blob.read_bytes()
        is_png = data.startswith(b"\x89PNG")
        target = self._folder.folder / "inputs" / f"depth-{index:04d}{'.png' if is_png else '.npy'}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_png:
            shutil.copyfile(blob, target)
        else:
            np.save(target, unpack_arrays(data)[0]["depth"])
        return target

    # ---- outputs -----------------------------------------------------------------------------------------------------

    def keep_newest(self) -> None:
        """Save the newest Gaussians for the case that nothing better comes."""
        self._previews.finish()

    def save_partial(self) -> Finished:
        """The result of a run that was stopped early: the newest Gaussians, from this run or an earlier one."""
        self._previews.finish()
        return self._folder.adopt_latest()

    def _save_done(self, done: Done) -> Finished:
        if len(done.gaussians) > self._work.limits.gaussians:
            raise ServiceError("result-too-large", f"The result has {len(done.gaussians)} Gaussians; the limit is "
                               f"{self._work.limits.gaussians}.", "Use a lower preset or fewer photos.")
        splat = self._folder.write_hashed("result", result_parts(done.gaussians))
        report = self._folder.write_hashed("report", [json.dumps(_json_ready(done.report)).encode()])
        return Finished(bool(done.report.get("complete", True)), splat, report, len(done.gaussians),
                        done.gaussians.sh_degree, int(done.report.get("steps", 0)), self._folder.size_bytes())


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _json_ready(value: Any) -> Any:
    """A report without numpy scalars, infinities and paths, which JSON and the wire do not have."""
    if isinstance(value, dict):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return _finite(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
