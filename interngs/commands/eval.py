# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs eval``: reconstruct from some photographs, measure on the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from ..config import PipelineConfig
from ..errors import InputError
from ..evaluate.held_out import HeldOutView, mean_metrics, measure
from ..evaluate.lpips import Lpips
from ..evaluate.pseudo_picture import WarpedView, save_pseudo_views
from ..evaluate.report import ComparisonRow, save_comparison, write_html_report, write_report
from ..events import Done
from ..formats.detect import find_capture
from ..formats.split import find_split
from ..geometry.store import load_geometry
from ..images.load import load_capture
from ..optimise.pseudo_views import cameras_nobody_took, warp_photographs
from ..pipeline import WorkFolder, reconstruct
from ..render.device import choose_device
from ..scene.capture import Capture, CaptureFiles
from .options import CapturePath, OutputFolder, Settings, parse, preset_in
from .progress import Interrupt, show
from .reconstruct import write_result

SHOWN_PSEUDO_VIEWS = 6


@dataclass(frozen=True)
class Evaluate:
    """Reconstruct a capture from a few of its views and compare renders of held-out views with the photographs."""

    capture: CapturePath
    """Folder of photographs with poses, or a pose file."""
    output: OutputFolder
    """Where report.html (one file with the held-out pictures), report.json, comparison.png and result.ply go."""
    config: Settings
    views: int = 3
    """How many training views; which ones says split.json, else the LLFF rule."""
    lpips: tuple[Path, Path] | None = None
    """SqueezeNet backbone and LPIPS linear weights (.safetensors); adds LPIPS-SqueezeNet to the report, and, with an
    appearance prior, to the loss on repaired views."""


def run(arguments: list[str]) -> None:
    """Parse ``arguments``, run and print the means."""
    options = parse(Evaluate(tyro.MISSING, tyro.MISSING, preset_in(arguments)), arguments, "eval")
    console = Console(stderr=True)
    files = find_capture(options.capture)
    split = find_split(options.capture, options.views)
    lpips = None if options.lpips is None else Lpips.from_files(*options.lpips)
    report = evaluate(files, list(split.train), list(split.held_out), options.config, options.output, console, lpips)
    names = ("psnr", "psnr_colour_fit", "ssim", "lpips_squeezenet")
    console.print("  ".join(f"{name} {report[name]:.3f}" for name in names if name in report))


def evaluate(files: CaptureFiles, train: list[int], held_out: list[int], config: PipelineConfig, output: Path,
             console: Console, lpips: Lpips | None = None) -> dict[str, Any]:
    """Reconstruct from ``train``, measure on ``held_out``, write everything to ``output``; returns the report.

    Raises:
        InputError: there is no held-out view.
        KeyboardInterrupt: the run was stopped; a checkpoint is in ``output/work``.
    """
    if not held_out:
        raise InputError("nothing-held-out", "No view is left to measure on.", "Train on fewer views.")
    capture = load_capture(files, train, config.max_side_px)
    unseen = load_capture(files, held_out, config.max_side_px)
    interrupt = Interrupt()
    with interrupt.listening() as should_stop:
        done = show(reconstruct(capture, config, output / "work", should_stop=should_stop, lpips=lpips), console)
    if done is None or interrupt.asked():
        raise KeyboardInterrupt
    picture_pseudo_views(output, capture, config)
    return write_evaluation(done, unseen, config, output, lpips)


def picture_pseudo_views(output: Path, capture: Capture, config: PipelineConfig) -> None:
    """Write pseudo_views.png of the run in ``output/work``, unless it had none."""
    geometry = load_geometry(WorkFolder(output / "work").geometry)
    pseudo = cameras_nobody_took(geometry, config.optimise.pseudo_views, config.seed)
    if not pseudo:
        return
    numbers = sorted({round(number) for number in np.linspace(0, len(pseudo) - 1, SHOWN_PSEUDO_VIEWS)})
    warped = [(number, warp_photographs(capture, geometry, pseudo[number])) for number in numbers]
    save_pseudo_views(output / "pseudo_views.png", [view.camera for view in geometry.views], pseudo,
                      [WarpedView(number, view.image, view.weight) for number, view in warped])


def write_evaluation(done: Done, unseen: Capture, config: PipelineConfig, output: Path,
                     lpips: Lpips | None) -> dict[str, Any]:
    """Measure ``done`` on the unseen views and write report.html, report.json, comparison.png, result.ply."""
    device, _ = choose_device(config.device)
    results = measure(done.gaussians, unseen, device, lpips)
    report: dict[str, Any] = {**mean_metrics(results), **done.report}
    report["seconds"] = done.report["seconds"]["total"]
    report["stage_seconds"] = done.report["seconds"]
    write_result(output, done)
    write_report(output / "report.json", report)
    save_comparison(output / "comparison.png", [comparison_row(result) for result in results])
    write_html_report(output, report)
    return report


def comparison_row(result: HeldOutView) -> ComparisonRow:
    """Photo | render | error | depth of one held-out view."""
    return ComparisonRow(result.view.name, result.view.image, result.picture.rgb, result.picture.depth,
                         result.metrics["psnr"])
