# SPDX-License-Identifier: GPL-3.0-or-later
"""Capture -> geometry -> seeds -> optimise -> clean -> result, as one readable generator."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .config import PipelineConfig, validate_config
from .evaluate.lpips import Lpips
from .events import Done, Event, Log, Preview, Progress, Stage
from .geometry.choose import choose_geometry
from .geometry.prior import Geometry, GeometryPrior
from .geometry.seeding import add_seeds, random_seeds, seeds_to_gaussians, select_seeds
from .geometry.silhouettes import carve
from .geometry.store import keep_geometry, load_geometry, save_geometry
from .images.pixel_file import PixelFile
from .optimise.beyond_frames import prepare_views_beyond_frames
from .optimise.checkpoint import CheckpointStore
from .optimise.distributed import DistributedTrainer, config_of_a_rank
from .optimise.model_priors import ModelPriors
from .optimise.prepared import Prepared, load_prepared, save_prepared
from .optimise.pseudo_views import prepare_pseudo_views
from .optimise.ranks import Ranks
from .optimise.trainer import Trainer
from .priors.depth_cache import DepthCache
from .render.cpu.library import set_threads
from .render.device import choose_device
from .scene.capture import Capture
from .scene.clean import clean
from .scene.overlap import check_overlap
from .stopping import StopCheck, Stopped, never, stop_check
from .storage import atomic_write


@dataclass(frozen=True)
class WorkFolder:
    """Where a job keeps what a resumed run needs."""

    folder: Path

    @property
    def config(self) -> Path:
        """The job's settings."""
        return self.folder / "config.json"

    @property
    def geometry(self) -> Path:
        """Dense geometry, once it is made."""
        return self.folder / "geometry.npz"

    @property
    def prepared(self) -> Path:
        """What the first of several ranks prepared for the others."""
        return self.folder / "prepared.npz"

    @property
    def depth_prior(self) -> DepthCache:
        """What a monocular depth network said of the photographs."""
        return DepthCache(self.folder / "depth_prior")

    @property
    def checkpoints(self) -> CheckpointStore:
        """The optimiser's checkpoints."""
        return CheckpointStore(self.folder / "checkpoints")


def reconstruct(capture: Capture, config: PipelineConfig, work_dir: Path, *, resume: bool = False,
                should_stop: Callable[[], bool] = lambda: False, lpips: Lpips | None = None,
                ranks: Ranks | None = None) -> Iterator[Event]:
    """Reconstruct ``capture``; yields events, the last one ``Done`` with the Gaussians and the report.

    ``should_stop`` is asked at every step.  A run that is stopped writes a checkpoint, and its ``Done``
    has ``report["complete"]`` false and the Gaussians so far (or no ``Done`` when it was stopped before
    there were any).  With ``resume`` the run goes on from what ``work_dir`` holds; on the same machine
    the result is the same as of an uninterrupted run.  ``lpips`` joins the loss on views that an appearance
    prior repaired.

    With ``ranks`` this process is one of several that train together, each of which calls this alike: the
    first one prepares, writes, and yields ``Done``; the others call ``ranks.wait()`` before.

    Raises:
        InputError: the capture or the settings cannot work.
        InternGSError: the disk is full, a model file is damaged, no compiler for the kernels, ...
    """
    validate_config(config)
    started = time.monotonic()
    work = WorkFolder(Path(work_dir))
    device, device_reason = choose_device(config.device)
    if ranks is not None:
        device, device_reason = ranks.device, f"{ranks.count} processes, each with {device_reason}"
    follows = ranks is not None and not ranks.is_first
    if config.threads:
        torch.set_num_threads(config.threads)
        set_threads(config.threads)
    if not follows:
        if not resume:
            work.checkpoints.clear()
        atomic_write(work.config, json.dumps(config.to_dict(), indent=1).encode())
    yield Log(f"Rendering with {device_reason}.")
    # A model that is asked for and missing is told now, not after the geometry.
    priors = ModelPriors.choose(config, device)

    seconds: dict[str, float] = {}
    pixels = PixelFile(work.folder)
    try:
        geometry = yield from _geometry_stage(capture, config, work, resume or follows, should_stop, pixels)
    except Stopped:
        return
    seconds["geometry"] = time.monotonic() - started
    poses_missing = any(view.camera is None for view in capture.views)
    if poses_missing:
        capture = _with_cameras(capture, geometry)
        config = replace(config, optimise=replace(config.optimise, refine_poses=True))
    check = stop_check(should_stop)
    training = config if ranks is None else config_of_a_rank(config, ranks.count)
    try:
        prepared = (load_prepared(work.prepared) if follows else
                    (yield from _seeding_stage(capture, geometry, config, check)))
        yield Stage("optimise")
        terms = yield from priors.terms(capture, geometry, prepared.pseudo, training, work.depth_prior, device, lpips,
                                        check)
    except Stopped:
        return
    if ranks is not None and ranks.is_first:
        save_prepared(work.prepared, prepared)
        ranks.wait()
    trainer = (Trainer(capture, geometry, prepared.seeds, prepared.unseen, training, device, terms)
               if ranks is None else
               DistributedTrainer(capture, geometry, prepared.seeds, prepared.unseen, training, ranks, terms))
    checkpoint = work.checkpoints.latest() if resume else None
    if checkpoint is not None:
        trainer.load(checkpoint)
        yield Log(f"Resumed at step {trainer.step_number}.")
    seconds["preparation"] = time.monotonic() - started - seconds["geometry"]
    yield from trainer.run(work.checkpoints, should_stop)
    seconds["optimise"] = time.monotonic() - started - sum(seconds.values())

    gaussians = trainer.gaussians()
    if follows:
        return
    yield Stage("clean")
    result = clean(gaussians, config.clean, [view.camera for view in geometry.views])
    cleaned = result.gaussians
    for entry in result.report:
        if entry.removed:
            yield Log(entry.line)
    seconds["total"] = time.monotonic() - started
    report = {
        "complete": trainer.step_number >= training.optimise.steps,
        "steps": trainer.step_number,
        "views_per_step": trainer.views_per_step,
        "preset": config.preset,
        "seed": config.seed,
        "device": device_reason,
        "views": [view.name for view in capture.views],
        "source": capture.source,
        "geometry": {"method": geometry.method, **geometry.report},
        "priors": priors.report(terms),
        "seeding": prepared.seeds.counts,
        "gaussians": len(cleaned),
        "sh_degree": cleaned.sh_degree,
        "removed": {entry.name: entry.removed for entry in result.report},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "warnings": [*capture.notes, *geometry.warnings],
        "config": config.to_dict(),
    }
    report["cameras"] = _cameras_report(trainer, capture, "estimated and refined" if poses_missing else "given")
    yield Done(cleaned, report)


def _geometry_stage(capture: Capture, config: PipelineConfig, work: WorkFolder, resume: bool,
                    should_stop: Callable[[], bool], pixels: PixelFile) -> Generator[Event, None, Geometry]:
    """Yields progress; returns the geometry."""
    if resume and work.geometry.exists():
        yield Log("Using the geometry of the earlier run.")
        return load_geometry(work.geometry, pixels)
    posed = [view for view in capture.views if view.camera is not None]
    if len(posed) == len(capture.views):
        check_overlap([view.posed_camera for view in posed], [view.name for view in posed])
    prior, reason = choose_geometry(capture, config.geometry, config.device, config.threads)
    yield Stage("geometry", f"{prior.name}: {reason}")
    geometry = carve((yield from _with_progress("geometry", prior, capture, should_stop)), capture)
    geometry.report["reason"] = reason
    for warning in geometry.warnings:
        yield Log(warning, "warning")
    save_geometry(work.geometry, geometry)
    return keep_geometry(geometry, pixels)


def _seeding_stage(capture: Capture, geometry: Geometry, config: PipelineConfig, check: StopCheck,
                   ) -> Generator[Event, None, Prepared]:
    """Yields the first Gaussians; returns their seeds and the pseudo views."""
    yield Stage("seeding")
    prepared = prepare(capture, geometry, config, check)
    seeds = prepared.seeds
    yield Log("Points: {before} before, {unsure} unsure, {redundant} redundant, {kept} kept.".format_map(
        {"unsure": 0, "redundant": 0, **seeds.counts}))
    yield Preview(0, seeds_to_gaussians(seeds, config.seeding, 0))
    return prepared


def _with_progress(stage: str, prior: GeometryPrior, capture: Capture, should_stop: Callable[[], bool],
                   ) -> Generator[Event, None, Geometry]:
    """Run ``prior.estimate`` in a thread and yield its progress as it comes; returns its geometry."""
    updates: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    outcome: list[Geometry | BaseException] = []

    def report_progress(done: int, total: int) -> None:
        if should_stop():
            raise Stopped
        updates.put((done, total))

    def work() -> None:
        try:
            outcome.append(prior.estimate(capture, report_progress))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
            outcome.append(error)
        updates.put(None)

    thread = threading.Thread(target=work, name=f"{stage}-stage", daemon=True)
    thread.start()
    while (update := updates.get()) is not None:
        yield Progress(stage, *update)
    thread.join()
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result


def _with_cameras(capture: Capture, geometry: Geometry) -> Capture:
    """The capture with the cameras that the geometry found."""
    views = tuple(replace(view, camera=found.camera) for view, found in zip(capture.views, geometry.views, strict=True))
    return replace(capture, views=views)


def _cameras_report(trainer: Trainer, capture: Capture, origin: str) -> dict[str, Any]:
    """The training cameras as numbers: ``frames`` of name, size, K and camera_from_world."""
    frames = [{"name": view.name, "width_px": view.posed_camera.width_px, "height_px": view.posed_camera.height_px,
               "K": view.posed_camera.K.tolist(), "camera_from_world": pose.tolist()}
              for view, pose in zip(capture.views, trainer.cameras_from_world(), strict=True)]
    return {"origin": origin, "frames": frames}


def prepare(capture: Capture, geometry: Geometry, config: PipelineConfig, check: StopCheck = never) -> Prepared:
    """Pseudo views, and first points: what the photographs see, once, and what pseudo views see past the edges of
    things and of the photographs."""
    count = config.optimise.pseudo_views
    pseudo = prepare_pseudo_views(capture, geometry, count, config.seed, check)
    wanted = config.seeding.fill_beyond and bool(pseudo)
    beyond = prepare_views_beyond_frames(capture, geometry, max(count // 3, 1), check) if wanted else []
    seeds = select_seeds(capture, geometry, config.seeding)
    if config.seeding.start == "random":
        return Prepared(random_seeds(capture, geometry, len(seeds.positions), config.seed), pseudo, beyond)
    for view in [*(pseudo if config.seeding.fill_behind else []), *beyond]:
        seeds = add_seeds(seeds, view.camera, view.image, view.depth, view.gaps)
    return Prepared(seeds, pseudo, beyond)

