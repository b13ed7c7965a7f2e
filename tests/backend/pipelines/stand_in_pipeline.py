# SPDX-License-Identifier: GPL-3.0-or-later
"""A small pipeline for tests of the service: counts steps, checkpoints, resumes, and fails as its seed says.

Every start and end is appended to the file named by STAND_IN_LOG, so that tests can tell who ran when.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from interngs.config import PipelineConfig
from interngs.errors import InputError
from interngs.events import CheckpointSaved, Done, Event, Log, Preview, Progress, Stage
from interngs.scene.capture import Capture
from interngs.scene.gaussians import Gaussians
from interngs.storage import atomic_write

REFUSE, OUT_OF_MEMORY, DIE_ONCE, DIE_ALWAYS, HANG, SLOW_STEP, BUG = 1001, 1002, 1003, 1004, 1005, 1006, 1007
STEP_S = float(os.environ.get("STAND_IN_STEP_S", "0.005"))


def some_gaussians(count: int, step: int) -> Gaussians:
    """Reproducible Gaussians whose first mean tells the step."""
    random = np.random.default_rng(step)
    quats = random.normal(size=(count, 4))
    means = random.normal(size=(count, 3)).astype(np.float32)
    means[0] = step
    return Gaussians(means, (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
                     random.normal(-4.0, 1.0, (count, 3)).astype(np.float32),
                     random.normal(size=count).astype(np.float32), random.normal(size=(count, 4, 3)).astype(np.float32))


def note(work_dir: Path, what: str, step: int) -> None:
    """Append a line to the tests' log, in one write."""
    if path := os.environ.get("STAND_IN_LOG"):
        line = json.dumps([work_dir.parent.name, os.getpid(), what, step, time.time()]) + "\n"
        with Path(path).open("a") as opened:
            opened.write(line)


def reconstruct(capture: Capture, config: PipelineConfig, work_dir: Path, *, resume: bool = False,
                should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """The signature of ``interngs.pipeline.reconstruct``."""
    work_dir.mkdir(parents=True, exist_ok=True)
    saved = work_dir / "step.json"
    step = json.loads(saved.read_text()) if resume and saved.exists() else 0
    note(work_dir, "start", step)
    count = config.seeding.max_seeds
    if config.seed == REFUSE:
        raise InputError("stand-in-refuses", "The stand-in does not like this capture.", "Take another.")
    yield Stage("geometry", "stand-in")
    yield Log(f"{len(capture.views)} views, first {capture.views[0].image.shape[1]}x{capture.views[0].image.shape[0]}")
    yield Stage("optimise")
    yield Preview(step, some_gaussians(count, step))
    while step < config.optimise.steps and not should_stop():
        _fail(config.seed, step, work_dir)
        time.sleep(STEP_S)
        step += 1
        if step % 5 == 0:
            yield Progress("optimise", step, config.optimise.steps, 1.0 / step, 20.0, count, 1.0)
        if step % 10 == 0:
            yield Preview(step, some_gaussians(count, step))
        if step % config.optimise.checkpoint_every_steps == 0:
            atomic_write(saved, json.dumps(step).encode())
            yield CheckpointSaved(saved, step)
    atomic_write(saved, json.dumps(step).encode())
    yield CheckpointSaved(saved, step)
    complete = step == config.optimise.steps
    yield Stage("clean")
    note(work_dir, "done" if complete else "stopped", step)
    yield Done(some_gaussians(count, step), {"complete": complete, "steps": step, "psnr": float("nan")})


def _fail(seed: int, step: int, work_dir: Path) -> None:
    if step != 25:
        return
    if seed == OUT_OF_MEMORY:
        raise MemoryError
    if seed == BUG:
        raise RuntimeError("a bug of the stand-in")
    # Beside the log and not in the work folder: on a cluster only checkpoints leave a worker that dies.
    once = Path(os.environ.get("STAND_IN_LOG", work_dir / "log")).with_name(f"failed-once-{work_dir.parent.name}")
    if seed == DIE_ALWAYS or (seed == DIE_ONCE and not once.exists()):
        once.touch()
        os._exit(77)
    if seed == HANG and not once.exists():
        once.touch()
        time.sleep(3600)
    if seed == SLOW_STEP:
        time.sleep(3600)
