# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs reconstruct``: a capture to a splat file."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console

from ..config import PipelineConfig
from ..errors import InputError
from ..evaluate.lpips import Lpips
from ..evaluate.report import write_report
from ..events import Done
from ..formats.colmap import write_colmap_text
from ..formats.detect import find_capture
from ..formats.ply import write_ply
from ..formats.transforms_json import write_transforms_json
from ..images.load import load_capture
from ..images.pixel_file import PixelFile
from ..optimise.ranks import Ranks
from ..pipeline import reconstruct
from ..scene.cameras import Camera
from .launch_ranks import launch_ranks
from .options import CapturePath, OutputFolder, Settings, parse, preset_in
from .progress import Interrupt, show


@dataclass(frozen=True)
class Reconstruct:
    """Turn a capture (photographs and camera poses) into 3D Gaussians: result.ply and report.json."""

    capture: CapturePath
    """Folder of photographs with poses, or a pose file."""
    output: OutputFolder
    """Where the results go."""
    config: Settings
    views: tuple[int, ...] = ()
    """Use only these photographs, by number from 0 (default: all)."""
    resume: bool = False
    """Go on from the last checkpoint in the output folder."""
    lpips: tuple[Path, Path] | None = None
    """SqueezeNet backbone and LPIPS linear weights (.safetensors): repaired views are compared by LPIPS-SqueezeNet too
    (only with an appearance prior)."""
    gpus: int = 1
    """Train on so many GPUs of this machine together (for millions of Gaussians; a few photographs are faster on one).
    With --device cpu, so many processes on the CPU: slower than one, a check of the same way."""


def parse_reconstruct(arguments: list[str]) -> Reconstruct:
    """The options of ``interngs reconstruct``."""
    return parse(Reconstruct(tyro.MISSING, tyro.MISSING, preset_in(arguments)), arguments, "reconstruct")


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and run."""
    options = parse_reconstruct(arguments)
    if options.gpus == 1:
        reconstruct_here(options, Console(stderr=True))
    else:
        launch_ranks(arguments, options.gpus, options.config)


def reconstruct_here(options: Reconstruct, console: Console, ranks: Ranks | None = None) -> None:
    """Reconstruct in this process; with ``ranks`` as one of several, of which the first writes and tells."""
    files = find_capture(options.capture)
    chosen = checked_indices(options.views, len(files.views)) or list(range(len(files.views)))
    capture = load_capture(files, chosen, options.config.max_side_px, PixelFile(options.output))
    if options.lpips is not None and options.config.appearance_prior == "none":
        raise InputError("lpips-unused", "LPIPS weights are given, but no unseen views are repaired in this run.",
                         "Ask for repair too (--appearance-prior), or leave --lpips out.")
    lpips = None if options.lpips is None else Lpips.from_files(*options.lpips)
    # One rank's SIGTERM means that another one failed: there is nobody left to write a checkpoint with.
    interrupt = Interrupt() if ranks is None else Interrupt((signal.SIGINT,))
    with interrupt.listening() as should_stop:
        done = show(reconstruct(capture, options.config, options.output / "work", resume=options.resume,
                                should_stop=should_stop, lpips=lpips, ranks=ranks), console)
    if done is not None:
        write_result(options.output, done)
        console.print(f"{options.output / 'result.ply'}: {len(done.gaussians)} Gaussians")
    if interrupt.asked():
        several = f" --gpus {options.gpus}" if options.gpus > 1 else ""
        console.print(f"Stopped. Go on with:\n  interngs reconstruct {options.capture} -o {options.output} "
                      f"--preset {options.config.preset}{several} --resume")
        raise KeyboardInterrupt


def checked_indices(views: tuple[int, ...], count: int) -> list[int]:
    """``views`` as a list; an ``InputError`` names numbers the capture does not have."""
    wrong = [index for index in views if not 0 <= index < count]
    if wrong:
        raise InputError("no-such-view", f"The capture has {count} photographs; there is no number {wrong[0]}.",
                         f"Numbers run from 0 to {count - 1}.")
    return list(views)


def write_result(folder: Path, done: Done) -> None:
    """Write ``result.ply`` and ``report.json`` into ``folder``, and estimated cameras as transforms.json and COLMAP."""
    if done.report["cameras"]["origin"] != "given":
        cameras = report_cameras(done)
        write_transforms_json(folder / "transforms.json", cameras)
        write_colmap_text(folder / "sparse" / "0", cameras)
    write_ply(folder / "result.ply", done.gaussians, comments=ply_facts(done))
    write_report(folder / "report.json", done.report)


def report_cameras(done: Done) -> dict[str, Camera]:
    """The training cameras by photograph."""
    return {frame["name"]: Camera(np.array(frame["K"]), np.array(frame["camera_from_world"]),
                                  frame["width_px"], frame["height_px"])
            for frame in done.report["cameras"]["frames"]}


def ply_facts(done: Done) -> list[str]:
    """What a PLY file of this run says about itself."""
    config: PipelineConfig = PipelineConfig.from_dict(done.report["config"])
    return [
        "made by Intern-GS for Blender",
        "axes: as the camera poses that were given (OpenCV cameras: x right, y down, z forward)",
        "units: those of the camera poses",
        "colour: sRGB spherical harmonics; opacity: logit; scale: natural logarithm",
        f"photographs: {len(done.report['views'])}; geometry: {done.report['geometry']['method']}; "
        f"preset: {config.preset}; steps: {done.report['steps']}; seed: {config.seed}",
    ]
