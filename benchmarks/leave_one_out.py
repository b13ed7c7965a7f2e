# SPDX-License-Identifier: GPL-3.0-or-later
"""Every term of the optimisation taken out of a preset, or put in, over seeds and scenes; see quality.py."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stand_ins import DENOISER, IDENTITY, OnnxDepth, use

from interngs import pipeline
from interngs.config import PipelineConfig
from interngs.evaluate.held_out import mean_metrics, measure
from interngs.evaluate.lpips import Lpips
from interngs.evaluate.report import write_report
from interngs.events import Done
from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.images.load import load_capture
from interngs.priors.contracts import AppearancePrior, DepthPrior
from interngs.scene.capture import Capture

SEEDS = (0, 1, 2)
PRESET = "the preset"
Models = tuple[DepthPrior | None, AppearancePrior | None]


def rows(config: PipelineConfig, onnx: Path | None) -> Iterator[tuple[str, PipelineConfig, Models]]:
    """Name, settings and models of every row; the first is the preset."""
    optimise, nothing = config.optimise, (None, None)
    yield PRESET, config, nothing
    yield "no warped photographs", replace(config, optimise=replace(optimise, warp_weight=0.0)), nothing
    yield ("no seeds behind edges", replace(config, seeding=replace(config.seeding, fill_behind=False)), nothing)
    yield ("no seeds beyond the photographs", replace(config, seeding=replace(config.seeding, fill_beyond=False)),
           nothing)
    opaque = replace(config.seeding, guess_opacity=config.seeding.initial_opacity)
    yield "guesses as opaque as surfaces", replace(config, seeding=opaque), nothing
    yield "no alpha term", replace(config, optimise=replace(optimise, alpha_weight=0.0)), nothing
    dropout = 0.0 if optimise.dropout else 0.2
    yield f"dropout {dropout}", replace(config, optimise=replace(optimise, dropout=dropout)), nothing
    yield "no opacity fade", replace(config, optimise=replace(optimise, opacity_fade=0.0)), nothing
    yield "no depth term", replace(config, optimise=replace(optimise, depth_weight=0.0)), nothing
    yield "no smoothness", replace(config, optimise=replace(optimise, smooth_weight=0.0)), nothing
    yield "no exposure", replace(config, optimise=replace(optimise, exposure=False)), nothing
    yield "no doubt in position rates", replace(config, optimise=replace(optimise, confidence_rates=False)), nothing
    if onnx is not None:
        yield "with weak monocular depth", config, (OnnxDepth(onnx), None)
    yield "with repair that changes nothing", config, (None, IDENTITY)
    yield "with repair that denoises", config, (None, DENOISER)


def measure_terms(data: Path, scenes: Sequence[tuple[str, int]], config: PipelineConfig, output: Path,
                  lpips: Lpips | None, onnx: Path | None, minutes: float) -> str:
    """Run what is missing in ``output``, starting no row after ``minutes``; the table of what is finished.

    LPIPS measures only: it does not join the loss on repaired views here.
    """
    started = time.monotonic()
    config = replace(config, device="cpu")
    for seed in SEEDS:
        for scene, views in scenes:
            folder = output / f"{scene}_{views}"
            missing = [entry for entry in rows(config, onnx) if not _report(folder, entry[0], seed).exists()]
            if not missing or time.monotonic() - started > 60 * minutes:
                continue
            files, split = find_capture(data / scene), find_split(data / scene, views)
            capture, unseen = (load_capture(files, list(part), config.max_side_px)
                               for part in (split.train, split.held_out))
            _remember_pseudo_views()
            for name, changed, models in missing:
                if time.monotonic() - started <= 60 * minutes:
                    use(*models)
                    report = _run(capture, unseen, replace(changed, seed=seed), folder, lpips)
                    write_report(_report(folder, name, seed), report)
    return table(scenes, config, output, onnx)


def table(scenes: Sequence[tuple[str, int]], config: PipelineConfig, output: Path, onnx: Path | None) -> str:
    """Markdown: per scene PSNR and its difference from the preset (mean, deviation over seeds), and the rest."""
    heads = [f"{scene}, {views} | against the preset | colour fit | SSIM | LPIPS-SqueezeNet" for scene, views in scenes]
    lines = [f"| row | {' | '.join(heads)} |", f"|---|{'---|---|---|---|---|' * len(scenes)}"]
    for name, _, _ in rows(config, onnx):
        cells = []
        for scene, views in scenes:
            folder = output / f"{scene}_{views}"
            seeds = [seed for seed in SEEDS if _report(folder, name, seed).exists()
                     and _report(folder, PRESET, seed).exists()]
            found, preset = ([json.loads(_report(folder, which, seed).read_text(encoding="utf-8")) for seed in seeds]
                             for which in (name, PRESET))
            cells.append(_cells(found, preset))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(found: list[dict[str, Any]], preset: list[dict[str, Any]]) -> str:
    if not found:
        return "not run | | | |"
    psnr, before = (np.array([report["psnr"] for report in reports]) for reports in (found, preset))
    fit, ssim = (np.mean([report[name] for report in found]) for name in ("psnr_colour_fit", "ssim"))
    distances = [report["lpips_squeezenet"] for report in found if "lpips_squeezenet" in report]
    distance = f"{np.mean(distances):.3f}" if distances else ""
    count = "" if len(found) == len(SEEDS) else f" ({len(found)} of {len(SEEDS)} seeds)"
    return f"{_spread(psnr)}{count} | {_spread(psnr - before, '+')} | {fit:.2f} | {ssim:.3f} | {distance}"


def _spread(values: np.ndarray, sign: str = "") -> str:
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.2f}{spread}"


def _report(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{name.replace(' ', '-')}_seed{seed}.json"


def _run(capture: Capture, unseen: Capture, config: PipelineConfig, folder: Path, lpips: Lpips | None,
         ) -> dict[str, Any]:
    """One reconstruction from the scene's one geometry, measured."""
    work, geometry = folder / "work", folder / "geometry.npz"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if geometry.exists():
        shutil.copy(geometry, work / "geometry.npz")
    events = pipeline.reconstruct(capture, config, work, resume=True)
    done = next(event for event in events if isinstance(event, Done))
    if not geometry.exists():
        shutil.copy(work / "geometry.npz", geometry)
    return {**mean_metrics(measure(done.gaussians, unseen, torch.device("cpu"), lpips)), **done.report}


_prepare = pipeline.prepare_pseudo_views


def _remember_pseudo_views() -> None:
    """Rows of one scene and seed share their pseudo views, which none of the terms changes."""
    made: dict[tuple[int, int], Any] = {}

    def prepare(capture: Any, geometry: Any, count: int, seed: int, *rest: Any) -> Any:
        if (count, seed) not in made:
            made[count, seed] = _prepare(capture, geometry, count, seed, *rest)
        return made[count, seed]

    pipeline.prepare_pseudo_views = prepare
