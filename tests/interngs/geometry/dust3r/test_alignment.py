# SPDX-License-Identifier: GPL-3.0-or-later
"""Global alignment against the official errors and losses, and on scenes it finds hard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from interngs.geometry.dust3r.alignment import GlobalAlignment, align_globally
from interngs.geometry.dust3r.errors import ViewsNotAligned
from interngs.geometry.dust3r.pointmaps import image_sizes
from interngs.geometry.similarity import fit_similarity, rotation_angle_deg

ERROR_FACTOR = 1.25
LOSS_FACTOR = 1.02


@dataclass(frozen=True)
class Errors:
    """Worst relative rotation (degrees), centre error over baseline, focal and median depth error (relative)."""

    rotation_deg: float
    centre: float
    focal: float
    depth: float


def errors_of(result: GlobalAlignment, poses, focals, depths) -> Errors:
    cameras = result.views.cameras
    estimated = [camera.world_from_camera for camera in cameras]
    centres, true_centres = (np.stack([pose[:3, 3] for pose in group]) for group in (estimated, poses))
    onto = fit_similarity(centres, true_centres)
    baseline = max(np.linalg.norm(a - b) for a in true_centres for b in true_centres)
    count = len(cameras)
    return Errors(
        max(rotation_angle_deg(estimated[i][:3, :3].T @ estimated[j][:3, :3], poses[i][:3, :3].T @ poses[j][:3, :3])
            for i in range(count) for j in range(i)),
        max(np.linalg.norm(onto.apply(centres) - true_centres, axis=1)) / baseline,
        max(abs(camera.K[0, 0] / focal - 1) for camera, focal in zip(cameras, focals, strict=True)),
        max(float(np.median(np.abs(onto.scale * found / true - 1)))
            for found, true in zip(result.views.depths, depths, strict=True)))


@pytest.mark.parametrize("scene", ["ga_scene4", "ga_scene3_mixed"])
@pytest.mark.parametrize("mode", ["free", "preset_focal", "preset_pose_focal_mst", "preset_pose_focal_known"])
def test_no_worse_than_the_official_alignment(golden: Path, read_pairs, scene: str, mode: str) -> None:
    if not (golden / f"{scene}.npz").is_file():
        pytest.skip(f"shared data absent: {scene}.npz")
    arrays = np.load(golden / f"{scene}.npz")
    if f"{mode}/final_loss" not in arrays:
        pytest.skip(f"shared data has no run {mode} of {scene}")
    pairs = read_pairs(arrays)
    sizes = image_sizes(pairs)
    # The official principal point is half a pixel further from the corner than the image's centre.
    centres = [np.array([sizes[view][1] / 2 + 0.5, sizes[view][0] / 2 + 0.5]) for view in sorted(sizes)]
    poses, focals = list(arrays["gt_poses_cam2world"]), [float(focal) for focal in arrays["gt_focals"]]
    result = align_globally(pairs, centres, None if mode == "free" else focals,
                            poses if "pose" in mode else None)
    found = errors_of(result, poses, focals, [arrays[f"gt_depth_{view}"] for view in sorted(sizes)])
    official = json.loads(str(arrays[f"{mode}/errors_json"]))
    assert found.rotation_deg <= ERROR_FACTOR * official["rel_rot_err_deg_max"] + 0.05
    assert found.centre <= ERROR_FACTOR * max(official["trans_err_rel_to_baseline"]) + 0.002
    assert found.focal <= ERROR_FACTOR * max(official["focal_rel_err"]) + 0.002
    assert found.depth <= ERROR_FACTOR * max(official["median_depth_rel_err"]) + 0.002
    assert result.final_loss <= LOSS_FACTOR * float(arrays[f"{mode}/final_loss"])
    assert result.final_loss < result.initial_loss


MIXED = ([(32, 48), (48, 32), (32, 48)], [45.0, 55.0, 38.0])


@pytest.mark.parametrize("known", ["nothing", "focal", "pose and focal"])
def test_landscape_and_portrait_mix_in_every_mode(relief_scene, known: str) -> None:
    scene = relief_scene(*MIXED)
    poses = [camera.world_from_camera for camera in scene.cameras]
    result = align_globally(
        scene.pairs(noise=0.01), known_focals_px=MIXED[1] if "focal" in known else None,
        known_poses=poses if "pose" in known else None, iterations=150)
    found = errors_of(result, poses, MIXED[1], scene.depths)
    assert found.rotation_deg < 0.5 and found.centre < 0.01 and found.focal < 0.02 and found.depth < 0.01


def test_exact_pointmaps_give_exact_cameras(relief_scene) -> None:
    scene = relief_scene([(32, 48)] * 3, [45.0] * 3)
    result = align_globally(scene.pairs(), iterations=60)
    found = errors_of(result, [camera.world_from_camera for camera in scene.cameras], [45.0] * 3, scene.depths)
    assert found.rotation_deg < 0.01 and found.centre < 1e-4 and found.focal < 1e-4 and found.depth < 1e-4
    assert result.final_loss <= result.initial_loss


def test_a_part_of_the_pixels_does(relief_scene) -> None:
    scene = relief_scene([(32, 48)] * 3, [45.0] * 3)
    result = align_globally(scene.pairs(noise=0.01), iterations=150, pixels_per_view=300)
    found = errors_of(result, [camera.world_from_camera for camera in scene.cameras], [45.0] * 3, scene.depths)
    assert found.rotation_deg < 0.5 and found.depth < 0.01
    assert all(depth.shape == (32, 48) for depth in result.views.depths)


def test_self_pairs_are_left_out(relief_scene) -> None:
    scene = relief_scene([(32, 48)] * 3, [45.0] * 3)
    pairs = scene.pairs()
    with_self = [*pairs, scene.pair(1, 1, scale=0.3)]
    first, second = (align_globally(group, iterations=5) for group in (pairs, with_self))
    assert first.final_loss == second.final_loss


def test_unconnected_views_are_named(relief_scene) -> None:
    scene = relief_scene([(32, 48)] * 4, [45.0] * 4)
    pairs = [pair for pair in scene.pairs() if {pair.first, pair.second} in ({0, 1}, {2, 3})]
    with pytest.raises(ViewsNotAligned) as caught:
        align_globally(pairs, iterations=1)
    assert caught.value.views in ((0, 1), (2, 3))


def test_progress_is_told_and_can_stop_the_work(relief_scene) -> None:
    scene = relief_scene([(32, 48)] * 2, [45.0] * 2)
    told = []

    def report(done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_globally(scene.pairs(), iterations=10, report_progress=report)
    assert told == [(1, 10), (2, 10), (3, 10)]
