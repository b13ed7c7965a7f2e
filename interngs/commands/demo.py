# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs demo``: the shipped example from three views, with pictures of what came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from ..config import PipelineConfig
from ..errors import InputError
from ..evaluate.orbit import orbit_cameras
from ..evaluate.report import save_depth_picture, save_orbit_gif, write_html_report
from ..formats.detect import find_capture
from ..formats.ply import read_ply
from ..formats.split import find_split
from ..render.device import choose_device
from ..render.view import ViewRenderer
from .eval import evaluate
from .options import OutputFolder, Settings, parse, preset_in

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chess_table"
TRAINING_VIEWS = 3
ORBIT_FRAMES, ORBIT_WIDTH_PX, ORBIT_HEIGHT_PX = 48, 400, 300


@dataclass(frozen=True)
class Demo:
    """Reconstruct the shipped example from 3 of its 12 views and compare with the others."""

    config: Settings
    output: OutputFolder = Path("out/demo")
    """Where the results go."""


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and run."""
    options = parse(Demo(preset_in(arguments)), arguments, "demo")
    console = Console(stderr=True)
    if not EXAMPLE.is_dir():
        raise InputError("no-example", f"The example capture is not at {EXAMPLE}.",
                         "Run the demo from a checkout of the project.")
    files = find_capture(EXAMPLE)
    split = find_split(EXAMPLE, TRAINING_VIEWS)
    report = evaluate(files, list(split.train), list(split.held_out), options.config, options.output, console)
    _pictures(options.output, options.config)
    write_html_report(options.output, report)
    console.print(f"Held-out views: {report['psnr']:.2f} dB, SSIM {report['ssim']:.3f}.  Look at {options.output}:")
    for path in sorted(options.output.iterdir()):
        if path.is_file():
            console.print(f"  {path.name}", highlight=False)


def _pictures(output: Path, config: PipelineConfig) -> None:
    """An orbit and a depth picture of the finished splat."""
    files = find_capture(EXAMPLE)
    cameras = [view.camera for view in files.views if view.camera is not None]
    device, _ = choose_device(config.device)
    renderer = ViewRenderer(read_ply(output / "result.ply").gaussians, device)
    path = orbit_cameras(cameras, ORBIT_FRAMES, ORBIT_WIDTH_PX, ORBIT_HEIGHT_PX)
    save_orbit_gif(output / "orbit.gif", [np.asarray(renderer.render(camera).rgb) for camera in path])
    save_depth_picture(output / "depth.png", renderer.render(cameras[0]).depth)
