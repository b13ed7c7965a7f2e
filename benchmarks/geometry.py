# SPDX-License-Identifier: GPL-3.0-or-later
"""How good is the built-in geometry?  Its points alone, shown in held-out views, and what the views say of each other.

    python -m benchmarks.geometry SCENE:VIEWS ... [--out FOLDER]

SCENE is a capture with its split (see ``interngs.formats.split``).  For each one this prints seconds, peak memory, the
share of pixels in each class of confidence, the share of the confident ones that another view's depth confirms, and
the PSNR of the held-out photos against the training pixels carried into them through the estimated depth: over the
pixels that receive any, and over all with the holes filled by push-pull.  No training, no other prior.
With ``--out`` it writes photo | depth | confidence of the training views and photo | carried | error of the others.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from interngs.evaluate.report import depth_colours
from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.geometry.consistency import check_view
from interngs.geometry.plane_sweep import PlaneSweep
from interngs.geometry.prior import Geometry
from interngs.images.load import load_capture
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture

Image = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", metavar="SCENE:VIEWS")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(f"{'scene':24} {'s':>6} {'MB':>5} {'>=3':>6} {'1..3':>6} {'0':>6} {'agree':>6} {'seen dB':>8} {'seen':>6} "
          f"{'all dB':>7} {'>=3 all dB':>10}")
    for scene in arguments.scenes:
        path, _, count = scene.rpartition(":")
        measure(Path(path), int(count), arguments.out)


def measure(path: Path, count: int, out: Path | None) -> None:
    """Estimate, measure and print one line for one scene."""
    split, files = find_split(path, count), find_capture(path)
    training, held_out = load_capture(files, split.train), load_capture(files, split.held_out)
    began = time.perf_counter()
    geometry = PlaneSweep().estimate(training, lambda done, total: None)
    seconds = time.perf_counter() - began
    confidence = np.concatenate([view.confidence.ravel() for view in geometry.views])
    seen_db, covered, all_db, _ = carry(training, geometry, held_out, 0.5)
    confident_db = carry(training, geometry, held_out, 3.0)[2]
    print(f"{path.name + ':' + str(count):24} {seconds:6.1f} {peak_memory_mb():5.0f} {(confidence >= 3).mean():6.3f} "
          f"{((confidence > 0) & (confidence < 3)).mean():6.3f} {(confidence == 0).mean():6.3f} "
          f"{agreement(geometry):6.3f} {seen_db:8.2f} {covered:6.3f} {all_db:7.2f} {confident_db:10.2f}", flush=True)
    for warning in geometry.warnings:
        print("  warning:", warning)
    if out is not None:
        save_pictures(out, f"{path.name}-{count}", training, geometry, held_out)


def agreement(geometry: Geometry, tolerance: float = 0.01) -> float:
    """Share of the confident pixels whose depth a confident pixel of another view matches within ``tolerance``.

    Pixels that no other view's confident pixel lies behind, before or on are counted as not matched.
    """
    cameras = [view.camera for view in geometry.views]
    depths = [np.where(view.confidence >= 3, view.depth, 0).astype(np.float32) for view in geometry.views]
    confirmed = [check_view(k, cameras, depths, tolerance).confirmed[depths[k] > 0] > 0 for k in range(len(cameras))]
    return float(np.concatenate(confirmed).mean())


def carry(training: Capture, geometry: Geometry, held_out: Capture, least: float) -> tuple[float, float, float, list]:
    """Mean PSNR over the pixels reached, their share, mean PSNR over all pixels, and the pictures."""
    figures, pictures = [], []
    for view in held_out.views:
        carried, reached = splat(training, geometry, view.posed_camera, least)
        filled = push_pull(carried, reached)
        error = ((filled - view.image) ** 2).mean(axis=2)
        figures.append((-10 * np.log10(error[reached].mean()), reached.mean(), -10 * np.log10(error.mean())))
        pictures.append(filled)
    seen_db, covered, all_db = np.mean(figures, axis=0)
    return float(seen_db), float(covered), float(all_db), pictures


def splat(training: Capture, geometry: Geometry, camera: Camera, least: float) -> tuple[Image, NDArray[np.bool_]]:
    """The training pixels of confidence ``least`` and more, spread bilinearly over ``camera``'s pixels.

    Only points within 2 % of the nearest depth on a pixel count, weighted by confidence and by how little
    the direction to the point differs from that of the photo it comes from.
    """
    height, width = camera.height_px, camera.width_px
    pixels, depths, colours, weights = _points_in(training, geometry, camera, least)
    corner = np.floor(pixels - 0.5).astype(np.intp)
    part = pixels - 0.5 - corner
    spread = []
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        share = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
        inside = np.flatnonzero((x >= 0) & (x < width) & (y >= 0) & (y < height) & (share > 0.05))
        spread.append((inside, (y * width + x)[inside], share[inside]))
    nearest = np.full(height * width, np.inf)
    for point, pixel, share in spread:
        main = share > 0.2
        np.minimum.at(nearest, pixel[main], depths[point[main]])
    total, colour = np.zeros(height * width), np.zeros((height * width, 3))
    for point, pixel, share in spread:
        front = depths[point] < nearest[pixel] * 1.02
        weight = (share * weights[point])[front]
        total += np.bincount(pixel[front], weight, height * width)
        for channel in range(3):
            colour[:, channel] += np.bincount(pixel[front], weight * colours[point[front], channel], height * width)
    reached = total > 0.02
    colour[reached] /= total[reached, None]
    colour[~reached] = 0
    return colour.reshape(height, width, 3), reached.reshape(height, width)


def _points_in(training: Capture, geometry: Geometry, camera: Camera, least: float) -> tuple[NDArray, ...]:
    """Pixels [N, 2], depths [N], colours [N, 3] and weights [N] of the points before ``camera``."""
    parts = []
    for view, estimate in zip(training.views, geometry.views, strict=True):
        chosen = (estimate.depth > 0) & (estimate.confidence >= least)
        points = estimate.pointmap()[chosen]
        away, towards = points - estimate.camera.centre, points - camera.centre
        cosine = (away * towards).sum(1) / (np.linalg.norm(away, axis=1) * np.linalg.norm(towards, axis=1))
        weight = estimate.confidence[chosen] / (1 + np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        pixels, z = camera.project(points)
        before = z > 0
        parts.append((pixels[before], z[before], view.image[chosen][before], weight[before]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def push_pull(image: Image, known: NDArray[np.bool_]) -> Image:
    """Holes filled from coarser and coarser averages of what is known."""
    if known.all() or min(known.shape) <= 2:
        middle = image[known].mean(axis=0) if known.any() else np.full(3, 0.5)
        return np.where(known[..., None], image, middle)
    size = ((known.shape[1] + 1) // 2, (known.shape[0] + 1) // 2)
    share = cv2.resize(known.astype(np.float64), size, interpolation=cv2.INTER_AREA)
    smaller = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    coarse = push_pull(smaller / np.maximum(share, 1e-9)[..., None], share > 0)
    back = cv2.resize(coarse, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], image, back)


def save_pictures(out: Path, name: str, training: Capture, geometry: Geometry, held_out: Capture) -> None:
    """Write ``NAME-depth.png`` and ``NAME-held-out.png``, four views each at most."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for view, estimate in list(zip(training.views, geometry.views, strict=True))[:4]:
        sure = cv2.applyColorMap(np.uint8(np.clip(estimate.confidence / 12, 0, 1) * 255), cv2.COLORMAP_VIRIDIS)
        sure[estimate.confidence == 0] = 0
        rows.append(np.hstack([np.uint8(view.image * 255), depth_colours(estimate.depth), sure[..., ::-1]]))
    cv2.imwrite(str(out / f"{name}-depth.png"), np.vstack(rows)[..., ::-1])
    pictures = carry(training, geometry, Capture(held_out.views[:4]), 0.5)[3]
    rows = [np.hstack([view.image, picture, np.clip(3 * np.abs(view.image - picture), 0, 1)])
            for view, picture in zip(held_out.views, pictures, strict=False)]
    cv2.imwrite(str(out / f"{name}-held-out.png"), np.uint8(np.vstack(rows)[..., ::-1] * 255))


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2


if __name__ == "__main__":
    main()
