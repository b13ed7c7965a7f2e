# SPDX-License-Identifier: GPL-3.0-or-later
"""How far estimated camera poses are from the true ones, on captures whose poses are known and withheld.

    python benchmarks/poses.py FOLDER ... [--views 0,2,4] [--json FILE]

Per capture: photos placed, relative rotation and direction-of-translation angles over all pairs of photos, the
absolute trajectory error (root mean square of camera centres after a similarity, over the largest distance
between two cameras), focal length error, time.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from interngs.formats.detect import find_capture
from interngs.geometry.sfm import estimate_cameras
from interngs.geometry.similarity import direction_angle_deg, fit_similarity, rotation_angle_deg
from interngs.images.load import load_capture
from interngs.scene.cameras import Camera


@dataclass(frozen=True)
class PoseErrors:
    """Angles in degrees, mean and worst over pairs; lengths over the largest distance between two cameras."""

    placed: int
    photos: int
    rotation_mean_deg: float
    rotation_max_deg: float
    translation_mean_deg: float
    translation_max_deg: float
    trajectory_error: float
    focal_error: float


def pose_errors(estimated: list[Camera | None], true: list[Camera]) -> PoseErrors:
    """Compare the placed cameras with the true ones."""
    pairs = [(found, camera) for found, camera in zip(estimated, true, strict=True) if found is not None]
    rotations, translations = [], []
    for (found_a, true_a), (found_b, true_b) in combinations(pairs, 2):
        found = found_b.camera_from_world @ found_a.world_from_camera
        expected = true_b.camera_from_world @ true_a.world_from_camera
        rotations.append(rotation_angle_deg(found[:3, :3], expected[:3, :3]))
        translations.append(direction_angle_deg(found[:3, 3], expected[:3, 3]))
    centres = np.stack([found.centre for found, _ in pairs])
    true_centres = np.stack([camera.centre for _, camera in pairs])
    onto = fit_similarity(centres, true_centres)
    error = np.sqrt(((onto.apply(centres) - true_centres) ** 2).sum(axis=1).mean())
    baseline = max(float(np.linalg.norm(a - b)) for a, b in combinations(true_centres, 2))
    return PoseErrors(
        len(pairs), len(true), float(np.mean(rotations)), max(rotations), float(np.mean(translations)),
        max(translations), float(error / baseline),
        float(np.mean([abs(found.K[0, 0] / camera.K[0, 0] - 1) for found, camera in pairs])))


def measure(folder: Path, indices: list[int] | None) -> dict[str, object]:
    """Withhold the poses of the capture in ``folder``, estimate them, compare."""
    capture = load_capture(find_capture(folder), indices)
    true = [view.posed_camera for view in capture.views]
    blind = replace(capture, points=None,
                    views=tuple(replace(view, camera=None, focal_px=None) for view in capture.views))
    start = time.perf_counter()
    estimated = estimate_cameras(blind, lambda done, total: None)
    seconds = time.perf_counter() - start
    errors = pose_errors(list(estimated.cameras), true)
    return {"capture": folder.name, "views": indices, "seconds": round(seconds, 1), **asdict(errors),
            "points": estimated.report["points"],
            "reprojection_px": estimated.report["mean_reprojection_error_px"], "warnings": estimated.warnings}


def main() -> None:
    """Measure every capture named and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--views", help="indices of the photos to use, as in 0,2,4; all by default")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    indices = [int(index) for index in arguments.views.split(",")] if arguments.views else None
    results = []
    for folder in arguments.folders:
        result = measure(folder, indices)
        results.append(result)
        print("{capture}: {placed}/{photos} placed, rotation {rotation_mean_deg:.3f} (worst {rotation_max_deg:.3f}) "
              "deg, translation {translation_mean_deg:.2f} (worst {translation_max_deg:.2f}) deg, trajectory error "
              "{trajectory_error:.5f} of the baseline, focal {focal_error:.2%}, {points} points, {seconds} s"
              .format_map(result), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
