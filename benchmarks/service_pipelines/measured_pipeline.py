# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipeline for measuring the service: fixed arithmetic per step, previews and checkpoints as a training has them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from interngs.config import PipelineConfig
from interngs.events import CheckpointSaved, Done, Event, Preview, Progress, Stage
from interngs.scene.capture import Capture
from interngs.scene.gaussians import Gaussians
from interngs.storage import atomic_write

PREVIEW_EVERY_S, CHECKPOINT_EVERY_S, PROGRESS_EVERY_S = 2.0, 10.0, 0.5


def some_gaussians(count: int, sh_degree: int = 3) -> Gaussians:
    """``count`` random Gaussians."""
    random = np.random.default_rng(0)
    quats = random.normal(size=(count, 4)).astype(np.float32)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    normal = random.standard_normal((count, 3), np.float32)
    return Gaussians(normal, quats, normal - 5, normal[:, 0].copy(),
                     random.standard_normal((count, (sh_degree + 1) ** 2, 3), np.float32))


def reconstruct(capture: Capture, config: PipelineConfig, work_dir: Path, *, resume: bool = False,
                should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """The signature of ``interngs.pipeline.reconstruct``.

    ``report["seconds"]`` is of the steps alone, ``report["cpu_seconds"]`` the whole process's processor time in them.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    gaussians = some_gaussians(config.seeding.max_seeds)
    matrix = np.random.default_rng(1).standard_normal((600, 600))
    yield Stage("optimise")
    yield Preview(0, gaussians)
    cpu_began = time.process_time()
    began = preview_s = checkpoint_s = progress_s = time.monotonic()
    steps = config.optimise.steps
    for step in range(1, steps + 1):
        if should_stop():
            break
        matrix = np.tanh(matrix @ matrix.T * 1e-3)
        now = time.monotonic()
        if now - progress_s >= PROGRESS_EVERY_S:
            progress_s = now
            yield Progress("optimise", step, steps, 0.1, 20.0, len(gaussians), 1.0)
        if now - preview_s >= PREVIEW_EVERY_S:
            preview_s = now
            yield Preview(step, gaussians)
        if now - checkpoint_s >= CHECKPOINT_EVERY_S:
            checkpoint_s = now
            atomic_write(work_dir / "step.json", json.dumps(step).encode())
            yield CheckpointSaved(work_dir / "step.json", step)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
    yield Done(gaussians, {"complete": True, "steps": steps, "seconds": seconds, "cpu_seconds": cpu_seconds,
                           "sum": float(matrix.sum())})
