# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipeline of a second or two for load and soak runs: counts steps, checkpoints, resumes, and notes what it did.

Each start and end is one line ``job what step`` appended to the file named by TINY_LOG.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from interngs.config import PipelineConfig
from interngs.events import CheckpointSaved, Done, Event, Preview, Progress, Stage
from interngs.scene.capture import Capture
from interngs.scene.gaussians import Gaussians
from interngs.storage import atomic_write

STEP_S = 0.01


def some_gaussians(count: int) -> Gaussians:
    """Reproducible Gaussians."""
    random = np.random.default_rng(0)
    quats = np.zeros((count, 4), np.float32)
    quats[:, 0] = 1.0
    normal = random.standard_normal((count, 3), np.float32)
    return Gaussians(normal, quats, normal - 5, normal[:, 0].copy(), normal[:, None, :].copy())


def note(work_dir: Path, what: str, step: int) -> None:
    """Append a line to the log, in one write."""
    with Path(os.environ["TINY_LOG"]).open("a") as opened:
        opened.write(f"{work_dir.parent.name} {what} {step}\n")


def reconstruct(capture: Capture, config: PipelineConfig, work_dir: Path, *, resume: bool = False,
                should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """The signature of ``interngs.pipeline.reconstruct``."""
    work_dir.mkdir(parents=True, exist_ok=True)
    saved = work_dir / "step.json"
    step = json.loads(saved.read_text()) if resume and saved.exists() else 0
    note(work_dir, "start", step)
    gaussians = some_gaussians(config.seeding.max_seeds)
    steps = config.optimise.steps
    yield Stage("optimise")
    yield Preview(step, gaussians)
    while step < steps and not should_stop():
        time.sleep(STEP_S)
        step += 1
        if step % 20 == 0:
            atomic_write(saved, json.dumps(step).encode())
            yield CheckpointSaved(saved, step)
            yield Progress("optimise", step, steps, 0.1, 20.0, len(gaussians), STEP_S * (steps - step))
    atomic_write(saved, json.dumps(step).encode())
    yield CheckpointSaved(saved, step)
    note(work_dir, "done" if step == steps else "stopped", step)
    yield Done(gaussians, {"complete": step == steps, "steps": step})
