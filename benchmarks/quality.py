# SPDX-License-Identifier: GPL-3.0-or-later
"""Held-out quality on real photographs: scenes, seeds, the ablation and the single terms of docs/benchmarks.md.

    python benchmarks/quality.py --data DATA -o OUT scenes --preset draft
    python benchmarks/quality.py --data DATA -o OUT seeds --preset draft
    python benchmarks/quality.py --data DATA -o OUT ablation --preset draft
    python benchmarks/quality.py --data DATA -o OUT terms --preset draft --max-side-px 252 [--minutes 6] [--onnx FILE]

``--lpips BACKBONE LINEAR`` adds a column of LPIPS-SqueezeNet.  Finished runs in OUT are not done again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from leave_one_out import measure_terms
from rich.console import Console

from interngs.commands.eval import evaluate
from interngs.config import OptimiseConfig, PipelineConfig, preset_config
from interngs.evaluate.held_out import mean_metrics, measure
from interngs.evaluate.lpips import Lpips
from interngs.evaluate.report import write_report
from interngs.formats.detect import find_capture
from interngs.formats.ply import read_ply
from interngs.formats.split import find_split
from interngs.images.load import load_capture

SCENES = (("llff_fern", 3), ("llff_fern", 6), ("llff_fern", 9), ("strecha_herzjesu-p8", 6), ("dtu_scan24", 3),
          ("fox", 12), ("beer_can", 12), ("sceaux_castle", 7))
SEEDED = (("llff_fern", 3), ("strecha_herzjesu-p8", 6))
PLAIN = OptimiseConfig(depth_weight=0.0, dropout=0.0, opacity_fade=0.0, warp_weight=0.0, smooth_weight=0.0,
                       alpha_weight=0.0, grow=False)


def ablation(config: PipelineConfig) -> Iterator[tuple[str, PipelineConfig]]:
    """Each row adds one thing to the row above it."""
    full, steps = config.optimise, config.optimise.steps
    plain = replace(PLAIN, steps=steps, pseudo_views=full.pseudo_views)
    alike = replace(config.seeding, guess_opacity=config.seeding.initial_opacity)
    random = replace(config, optimise=plain, seeding=replace(alike, start="random"))
    yield "random start", random
    dense = replace(random, seeding=replace(alike, remove_redundant=False, fill_behind=False, fill_beyond=False))
    yield "dense start", dense
    unique = replace(dense, seeding=replace(dense.seeding, remove_redundant=True))
    yield "+ non-redundant", unique
    depth = replace(unique, optimise=replace(plain, depth_weight=full.depth_weight, smooth_weight=full.smooth_weight))
    yield "+ depth terms", depth
    drop = replace(depth, optimise=replace(depth.optimise, dropout=full.dropout, opacity_fade=full.opacity_fade))
    yield "+ opacity fade (and dropout, where the preset has it)", drop
    warp = replace(drop, optimise=replace(drop.optimise, warp_weight=full.warp_weight))
    yield "+ warped photographs", warp
    behind = replace(warp, seeding=replace(warp.seeding, fill_behind=True))
    yield "+ seeds behind edges", behind
    closed = replace(behind, optimise=full)
    yield "+ closed surfaces", closed
    yield "+ seeds beyond the photographs", replace(closed, seeding=alike)
    yield "+ faint guesses (the preset)", config


def run(data: Path, scene: str, views: int, config: PipelineConfig, output: Path, lpips: Lpips | None = None,
        ) -> dict[str, Any]:
    """One evaluation; a finished one in ``output`` is not done again, at most measured again by LPIPS."""
    finished = output / "report.json"
    files, split = find_capture(data / scene), find_split(data / scene, views)
    if not finished.exists():
        return evaluate(files, list(split.train), list(split.held_out), config, output,
                        Console(stderr=True, quiet=True), lpips)
    report: dict[str, Any] = json.loads(finished.read_text(encoding="utf-8"))
    if lpips is not None and "lpips_squeezenet" not in report:
        unseen = load_capture(files, list(split.held_out), config.max_side_px)
        report |= mean_metrics(measure(read_ply(output / "result.ply").gaussians, unseen, torch.device("cpu"), lpips))
        write_report(finished, report)
    return report


def heading(lpips: Lpips | None) -> str:
    """The head of the markdown table."""
    names = ["run", "PSNR", "colour fit", "SSIM", *([] if lpips is None else [lpips.name]), "Gaussians", "seconds"]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def row(name: str, report: dict[str, Any]) -> str:
    """One line of the markdown table."""
    distance = f"{report['lpips_squeezenet']:.3f} | " if "lpips_squeezenet" in report else ""
    return (f"| {name} | {report['psnr']:.2f} | {report['psnr_colour_fit']:.2f} | {report['ssim']:.3f} | {distance}"
            f"{report['gaussians'] / 1000:.0f} k | {report['seconds']:.0f} |")


def main() -> None:
    """Run what the arguments name and print markdown rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scenes", "seeds", "ablation", "terms"))
    parser.add_argument("--data", type=Path, required=True, help="folder with the scenes")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--preset", default="draft", choices=("draft", "normal", "high"))
    parser.add_argument("--only", default="", help="only scenes whose name contains this")
    parser.add_argument("--lpips", type=Path, nargs=2, metavar=("BACKBONE", "LINEAR"), help="LPIPS-SqueezeNet weights")
    parser.add_argument("--max-side-px", type=int, help="reduce the photographs to this (default: the preset's)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="terms: start no row after this long")
    parser.add_argument("--onnx", type=Path, help="terms: a small monocular network as NAME_HEIGHTxWIDTH.onnx")
    options = parser.parse_args()
    lpips = None if options.lpips is None else Lpips.from_files(*options.lpips)
    config, folder = preset_config(options.preset), options.output / options.preset
    if options.max_side_px is not None:
        config, folder = replace(config, max_side_px=options.max_side_px), folder / f"{options.max_side_px}px"
    if options.what == "terms":
        scenes = [(scene, views) for scene, views in SEEDED if options.only in f"{scene}_{views}"]
        print(measure_terms(options.data, scenes, config, folder / "terms", lpips, options.onnx, options.minutes))
        return
    print(heading(lpips), flush=True)
    if options.what == "scenes":
        for scene, views in SCENES:
            if options.only in f"{scene}_{views}":
                report = run(options.data, scene, views, config, folder / f"{scene}_{views}", lpips)
                print(row(f"{scene}, {views} views", report), flush=True)
    elif options.what == "seeds":
        for scene, views in SEEDED:
            reports = [run(options.data, scene, views, replace(config, seed=seed),
                           folder / (f"{scene}_{views}" if seed == 0 else f"{scene}_{views}_seed{seed}"), lpips)
                       for seed in range(3)]
            values = [report["psnr"] for report in reports]
            print(f"{scene}, {views} views, seeds 0 to 2: {', '.join(f'{v:.2f}' for v in values)}; "
                  f"mean {np.mean(values):.2f}, standard deviation {np.std(values, ddof=1):.2f}", flush=True)
    else:
        for number, (name, changed) in enumerate(ablation(config)):
            report = run(options.data, "llff_fern", 3, changed, folder / f"ablation_{number}", lpips)
            print(row(name, report), flush=True)


if __name__ == "__main__":
    main()
