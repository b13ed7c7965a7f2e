# SPDX-License-Identifier: GPL-3.0-or-later
"""What depth and appearance priors do to held-out quality, with stand-ins for models that are not at hand.

    python benchmarks/priors.py --scene DATA/llff_fern --views 3 -o OUT [--preset draft] [--max-side-px 252]
        [--onnx FILE] [--only NAME ...] [--lpips BACKBONE LINEAR]

Rows: no prior; a small monocular network (TCMonoDepth, 0.19 M weights, an ONNX file with fixed input size) as a weak
depth prior, and the same turned upside down; repair by a model that changes nothing, by one that takes noise off, by
one that only blurs, and by one that paints noise.  All rows start from one geometry.  With --lpips held-out
views are measured by LPIPS-SqueezeNet too, or, with --learn-lpips, repaired views compared by it (never both).
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from stand_ins import BLUR, DENOISER, IDENTITY, NOISE, OnnxDepth, use

from interngs.config import preset_config
from interngs.evaluate.held_out import mean_metrics, measure
from interngs.evaluate.lpips import Lpips
from interngs.events import Done
from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.images.load import load_capture
from interngs.pipeline import reconstruct
from interngs.priors.contracts import AppearancePrior, DepthPrior


def rows(onnx: Path | None) -> dict[str, tuple[DepthPrior | None, AppearancePrior | None]]:
    """Name -> the models of the row."""
    found: dict[str, tuple[DepthPrior | None, AppearancePrior | None]] = {"none": (None, None)}
    if onnx is not None:
        found["weak depth"] = OnnxDepth(onnx), None
        found["weak depth, upside down"] = OnnxDepth(onnx, -1.0), None
    found |= {"repair changes nothing": (None, IDENTITY), "repair denoises": (None, DENOISER),
              "repair blurs": (None, BLUR), "repair paints noise": (None, NOISE)}
    return found


def main() -> None:
    """Run the rows and print them as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, required=True)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--onnx", type=Path, help="TCMonoDepth as NAME_HEIGHTxWIDTH.onnx")
    parser.add_argument("--only", nargs="*", default=None, help="names of the rows to run")
    parser.add_argument("--max-side-px", type=int, help="reduce the photographs to this (default: the preset's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lpips", type=Path, nargs=2, metavar=("BACKBONE", "LINEAR"), help="LPIPS-SqueezeNet weights")
    parser.add_argument("--learn-lpips", action="store_true", help="use them in the loss instead of for measuring")
    options = parser.parse_args()
    lpips = None if options.lpips is None else Lpips.from_files(*options.lpips)
    learned, measured = (lpips, None) if options.learn_lpips else (None, lpips)
    config = replace(preset_config(options.preset), seed=options.seed, device="cpu")
    if options.max_side_px is not None:
        config = replace(config, max_side_px=options.max_side_px)
    files, split = find_capture(options.scene), find_split(options.scene, options.views)
    capture = load_capture(files, list(split.train), config.max_side_px)
    unseen = load_capture(files, list(split.held_out), config.max_side_px)
    geometry = options.output / "geometry.npz"
    print("| prior | PSNR | SSIM | LPIPS-SqueezeNet | preparation and optimisation, s | report |\n" + "|---" * 6 + "|",
          flush=True)
    for name, (depth, appearance) in rows(options.onnx).items():
        if options.only is not None and name not in options.only:
            continue
        work = options.output / name.replace(" ", "-").replace(",", "")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        if geometry.exists():
            shutil.copy(geometry, work / "geometry.npz")
        use(depth, appearance)
        events = reconstruct(capture, config, work, resume=True, lpips=learned)
        done = next(event for event in events if isinstance(event, Done))
        if not geometry.exists():
            shutil.copy(work / "geometry.npz", geometry)
        metrics = mean_metrics(measure(done.gaussians, unseen, torch.device("cpu"), measured))
        seconds = done.report["seconds"]
        told = {key: value for entry in done.report["priors"].values() for key, value in entry.items()
                if key in ("views", "say_at_pseudo_views", "admitted_share", "loss")}
        print(f"| {name} | {metrics['psnr']:.2f} | {metrics['ssim']:.3f} | "
              f"{metrics.get('lpips_squeezenet', float('nan')):.3f} | "
              f"{seconds['preparation']:.0f} + {seconds['optimise']:.0f} | {json.dumps(told)} |", flush=True)


if __name__ == "__main__":
    main()
