# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs demo``: the shipped example from three views, with pictures of what came out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..config import PipelineConfig
from ..errors import InputError
from ..evaluate.orbit import orbit_cameras
from ..evaluate.report import save_depth_picture, save_orbit_gif, write_html_report
from ..formats.detect import find_capture
from ..formats.ply import read_ply
from ..formats.split import find_split
from ..images.load import load_capture
from ..link import Link, commands
from ..link.local_backend import LocalBackend
from ..render.device import choose_device
from ..render.view import ViewRenderer
from ..scene.capture import CaptureFiles
from .eval import evaluate, write_evaluation
from .options import OutputFolder, Settings, parse, preset_in
from .progress import show
from .server import job_settings

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "chess_table"
TRAINING_VIEWS = 3
ORBIT_FRAMES, ORBIT_WIDTH_PX, ORBIT_HEIGHT_PX = 48, 400, 300


@dataclass(frozen=True)
class Demo:
    """Reconstruct the shipped example from 3 of its 12 views and compare with the others.

    As from Blender: a backend of its own on this machine takes the photographs, does the work and gives the splat.
    """

    config: Settings
    output: OutputFolder = Path("out/demo")
    """Where the results go."""
    local: bool = False
    """Without a backend: everything in this process."""


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and run."""
    options = parse(Demo(preset_in(arguments)), arguments, "demo")
    console = Console(stderr=True)
    if not EXAMPLE.is_dir():
        raise InputError("no-example", f"The example capture is not at {EXAMPLE}.",
                         "Run the demo from a checkout of the project.")
    files = find_capture(EXAMPLE)
    split = find_split(EXAMPLE, TRAINING_VIEWS)
    by = evaluate if options.local else evaluate_by_service
    report = by(files, list(split.train), list(split.held_out), options.config, options.output, console)
    _pictures(options.output, options.config)
    write_html_report(options.output, report)
    console.print(f"Held-out views: {report['psnr']:.2f} dB, SSIM {report['ssim']:.3f}.  Look at {options.output}:")
    for path in sorted(options.output.iterdir()):
        if path.is_file():
            console.print(f"  {path.name}", highlight=False)


def evaluate_by_service(files: CaptureFiles, train: list[int], held_out: list[int], config: PipelineConfig,
                        output: Path, console: Console) -> dict[str, Any]:
    """What ``evaluate`` does, with the reconstruction as a job of a backend."""
    unseen = load_capture(files, held_out, config.max_side_px)
    chosen = replace(files, views=tuple(files.views[index] for index in train))
    with own_backend(output / "service", config) as link:
        done = show(commands.run(link, chosen, job_settings(config), title=EXAMPLE.name, keep=False), console)
    if done is None:
        raise KeyboardInterrupt
    return write_evaluation(done, unseen, config, output, None)


@contextmanager
def own_backend(folder: Path, config: PipelineConfig) -> Iterator[Link]:
    """A link to a backend that lives as long as the block; its store and log are in ``folder``."""
    backend = LocalBackend.start(Path(sys.executable), folder.absolute(), folder=REPOSITORY,
                                 options=("--device", config.device, "--threads", str(config.threads)))
    try:
        with commands.connected(backend.wait_until_ready(), folder / "client") as link:
            yield link
    finally:
        backend.stop()


def _pictures(output: Path, config: PipelineConfig) -> None:
    """An orbit and a depth picture of the finished splat."""
    files = find_capture(EXAMPLE)
    cameras = [view.camera for view in files.views if view.camera is not None]
    device, _ = choose_device(config.device)
    renderer = ViewRenderer(read_ply(output / "result.ply").gaussians, device)
    path = orbit_cameras(cameras, ORBIT_FRAMES, ORBIT_WIDTH_PX, ORBIT_HEIGHT_PX)
    save_orbit_gif(output / "orbit.gif", [np.asarray(renderer.render(camera).rgb) for camera in path])
    save_depth_picture(output / "depth.png", renderer.render(cameras[0]).depth)
