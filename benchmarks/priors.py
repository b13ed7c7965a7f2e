# SPDX-License-Identifier: GPL-3.0-or-later
"""What depth and appearance priors do to held-out quality, with stand-ins for models that are not at hand.

    python benchmarks/priors.py --scene DATA/llff_fern --views 3 -o OUT [--preset draft] [--max-side-px 252]
        [--onnx FILE] [--only NAME ...]

Rows: no prior; a small monocular network (TCMonoDepth, 0.19 M weights, an ONNX file with fixed input size) as a weak
depth prior, and the same turned upside down; repair by a model that changes nothing, by one that only blurs, and
by one that paints noise.  All rows start from one geometry.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from interngs.config import preset_config
from interngs.evaluate.held_out import mean_metrics, measure
from interngs.events import Done
from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.images.load import load_capture
from interngs.optimise.model_priors import ModelPriors
from interngs.pipeline import reconstruct
from interngs.priors.contracts import AppearancePrior, DepthPrior, Identity, Unseen

STAND_IN = "a stand-in for measuring"


class OnnxDepth:
    """A monocular network from an ONNX file that takes one picture, RGB 0..255, at its own fixed size."""

    def __init__(self, file: Path, size_px: tuple[int, int], sign: float = 1.0) -> None:
        """``size_px`` (width, height) of its input; ``sign`` -1 turns its depth upside down."""
        self._file, self._size, self._sign = file, size_px, sign
        self.identity = Identity(f"{file.stem}{'' if sign > 0 else ', upside down'}", STAND_IN, f"{file.stem}{sign}")

    def inverse_depth(self, images: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """See ``DepthPrior``."""
        network = cv2.dnn.readNetFromONNX(str(self._file))
        results = []
        for image in images:
            network.setInput(cv2.dnn.blobFromImage(255 * image, 1.0, self._size))
            output = network.forward()
            resized = cv2.resize(output.reshape(output.shape[-2:]), (image.shape[1], image.shape[0]))
            results.append((self._sign * resized).astype(np.float32))
        return results


class Repair:
    """A model that does one simple thing to a picture."""

    def __init__(self, name: str, change) -> None:  # type: ignore[no-untyped-def]
        self.identity, self._change = Identity(name, STAND_IN, name), change

    def repair(self, views: Sequence[Unseen], seed: int) -> list[NDArray[np.float32]]:
        """See ``AppearancePrior``."""
        generator = np.random.default_rng(seed)
        return [self._change(view.render, generator).astype(np.float32) for view in views]


def rows(onnx: Path | None) -> dict[str, tuple[DepthPrior | None, AppearancePrior | None]]:
    """Name -> the models of the row."""
    found: dict[str, tuple[DepthPrior | None, AppearancePrior | None]] = {"none": (None, None)}
    if onnx is not None:
        height, width = (int(part) for part in onnx.stem.rsplit("_", 1)[1].split("x"))
        found["weak depth"] = OnnxDepth(onnx, (width, height)), None
        found["weak depth, upside down"] = OnnxDepth(onnx, (width, height), -1.0), None
    found["repair changes nothing"] = None, Repair("identity", lambda picture, _: picture)
    found["repair blurs"] = None, Repair("blur", lambda picture, _: cv2.GaussianBlur(picture, (0, 0), 1.5))
    found["repair paints noise"] = None, Repair("noise", lambda picture, random: random.uniform(size=picture.shape))
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
    options = parser.parse_args()
    config = replace(preset_config(options.preset), seed=options.seed, device="cpu")
    if options.max_side_px is not None:
        config = replace(config, max_side_px=options.max_side_px)
    files, split = find_capture(options.scene), find_split(options.scene, options.views)
    capture = load_capture(files, list(split.train), config.max_side_px)
    unseen = load_capture(files, list(split.held_out), config.max_side_px)
    geometry = options.output / "geometry.npz"
    print("| prior | PSNR | SSIM | preparation and optimisation, s | report |\n|---|---|---|---|---|", flush=True)
    for name, (depth, appearance) in rows(options.onnx).items():
        if options.only is not None and name not in options.only:
            continue
        work = options.output / name.replace(" ", "-").replace(",", "")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        if geometry.exists():
            shutil.copy(geometry, work / "geometry.npz")
        ModelPriors.choose = classmethod(  # type: ignore[method-assign,assignment]
            lambda cls, *_, models=(depth, appearance): cls(models[0], STAND_IN, models[1], STAND_IN))
        *_, done = reconstruct(capture, config, work, resume=True)
        assert isinstance(done, Done)
        if not geometry.exists():
            shutil.copy(work / "geometry.npz", geometry)
        metrics = mean_metrics(measure(done.gaussians, unseen, torch.device("cpu"), None))
        seconds = done.report["seconds"]
        told = {key: value for entry in done.report["priors"].values() for key, value in entry.items()
                if key in ("views", "say_at_pseudo_views", "admitted_share")}
        print(f"| {name} | {metrics['psnr']:.2f} | {metrics['ssim']:.3f} | "
              f"{seconds['preparation']:.0f} + {seconds['optimise']:.0f} | {json.dumps(told)} |", flush=True)


if __name__ == "__main__":
    main()
