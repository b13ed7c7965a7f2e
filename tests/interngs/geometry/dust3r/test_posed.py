# SPDX-License-Identifier: GPL-3.0-or-later
"""Alignment to given cameras: scales, depth, confidence, and the views that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from interngs.errors import InputError
from interngs.geometry.dust3r.pointmaps import PairPoints
from interngs.geometry.dust3r.posed import align_to_cameras
from interngs.geometry.similarity import inverse_rigid
from interngs.scene.cameras import Camera


def turned(camera: Camera, vector_deg) -> Camera:
    """The camera turned about its own centre."""
    pose = camera.world_from_camera.copy()
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(np.radians(vector_deg)).as_matrix()
    return replace(camera, camera_from_world=inverse_rigid(pose))


def depth_errors(depths, scene) -> list[float]:
    return [float(np.median(np.abs(found / true - 1))) for found, true in zip(depths, scene.depths, strict=True)]


@pytest.mark.parametrize("sizes", [[(48, 64)] * 3, [(48, 64), (64, 48), (48, 64)]])
def test_exact_pointmaps_give_exact_depth_and_scales(relief_scene, sizes) -> None:
    scene = relief_scene(sizes, [60.0] * 3)
    scales = {(i, j): 0.5 + i + 0.3 * j for i in range(3) for j in range(3) if i != j}
    pairs = [scene.pair(i, j, scale) for (i, j), scale in scales.items()]
    aligned = align_to_cameras(pairs, scene.cameras)
    assert max(depth_errors(aligned.depths, scene)) < 1e-4
    assert np.allclose(aligned.pair_scales, list(scales.values()), rtol=1e-3)
    for view, confidence in zip(aligned.views, aligned.confidences, strict=True):
        assert view.aligned and view.misalignment_px < 0.01 and view.rotation_deg < 0.01
        assert (confidence > 0).mean() > 0.99


def test_noise_and_outliers(relief_scene) -> None:
    scene = relief_scene([(48, 64)] * 4, [60.0] * 4)
    aligned = align_to_cameras(scene.pairs(noise=0.02), scene.cameras)
    assert max(depth_errors(aligned.depths, scene)) < 0.01


def test_official_scene_meets_the_official_depth_error(golden: Path, read_pairs) -> None:
    """The official alignment with given poses and focal lengths is 0.22 % off; the same slack as elsewhere."""
    arrays = np.load(golden / "ga_scene4.npz")
    cameras = []
    for view in range(4):
        height, width = arrays[f"gt_depth_{view}"].shape
        focal = float(arrays["gt_focals"][view])
        K = np.array([[focal, 0, width / 2 + 0.5], [0, focal, height / 2 + 0.5], [0, 0, 1]])
        cameras.append(Camera(K, inverse_rigid(arrays["gt_poses_cam2world"][view]), width, height))
    aligned = align_to_cameras(read_pairs(arrays), cameras)
    worst = max(float(np.median(np.abs(aligned.depths[view] / arrays[f"gt_depth_{view}"] - 1))) for view in range(4))
    assert worst <= 1.25 * 0.0022 + 0.002
    assert np.allclose(np.array(aligned.pair_scales) * arrays["gt_pair_scales"], 1, atol=0.02)


def test_small_pose_errors_are_measured_and_cost_little(relief_scene) -> None:
    scene = relief_scene([(48, 64)] * 3, [60.0] * 3)
    off = [turned(camera, vector) for camera, vector in zip(
        scene.cameras, [[0.5, 0, 0], [0, -0.6, 0], [0.2, 0.4, 0]], strict=True)]
    aligned = align_to_cameras(scene.pairs(noise=0.01), off)
    assert max(depth_errors(aligned.depths, scene)) < 0.03
    exact = align_to_cameras(scene.pairs(noise=0.01), scene.cameras)
    for view, reference in zip(aligned.views, exact.views, strict=True):
        assert view.aligned and 0.3 < view.rotation_deg < 2.0
        assert view.misalignment_px > 1.5 * reference.misalignment_px


def test_the_one_view_with_a_wrong_pose_is_told_apart(relief_scene) -> None:
    scene = relief_scene([(48, 64)] * 3, [60.0] * 3)
    cameras = [scene.cameras[0], turned(scene.cameras[1], [0, 25.0, 0]), scene.cameras[2]]
    aligned = align_to_cameras(scene.pairs(noise=0.005), cameras)
    assert [view.aligned for view in aligned.views] == [True, False, True]
    assert (aligned.confidences[1] == 0).all()
    good = [float(np.median(np.abs(aligned.depths[view] / scene.depths[view] - 1))) for view in (0, 2)]
    assert max(good) < 0.02


def test_pixels_that_other_views_refute_lose_their_confidence(relief_scene) -> None:
    scene = relief_scene([(96, 128)] * 3, [120.0] * 3)
    pairs = []
    for pair in scene.pairs():
        points_1, points_2 = pair.points_1.copy(), pair.points_2.copy()
        # A patch of view 0 hangs in the air, in every pair alike, and the network is sure of it.
        if pair.first == 0:
            points_1[40:56, 56:72] *= 0.6
        if pair.second == 0:
            centre = (scene.cameras[pair.first].camera_from_world @ np.append(scene.cameras[0].centre, 1))[:3]
            scale = np.linalg.norm(pair.points_1[0, 0]) / np.linalg.norm(
                scene.pair(pair.first, pair.second).points_1[0, 0])
            points_2[40:56, 56:72] = centre * scale + 0.6 * (points_2[40:56, 56:72] - centre * scale)
        pairs.append(PairPoints(pair.first, pair.second, points_1, pair.confidence_1, points_2, pair.confidence_2))
    aligned = align_to_cameras(pairs, scene.cameras)
    confidence = aligned.confidences[0]
    assert (confidence[42:54, 58:70] == 0).mean() > 0.95
    elsewhere = np.ones_like(confidence, bool)
    elsewhere[36:60, 52:76] = False
    assert (confidence[elsewhere] > 0).mean() > 0.95


def test_cameras_in_one_place_are_refused(relief_scene) -> None:
    scene = relief_scene([(48, 64)] * 2, [60.0] * 2)
    with pytest.raises(InputError) as caught:
        align_to_cameras(scene.pairs(), [scene.cameras[0], scene.cameras[0]])
    assert caught.value.code == "cameras-in-one-place"


def test_pairs_without_a_sure_pixel_are_refused(relief_scene) -> None:
    scene = relief_scene([(48, 64)] * 2, [60.0] * 2)
    unsure = [PairPoints(pair.first, pair.second, pair.points_1, np.ones_like(pair.confidence_1) * 1.1,
                         pair.points_2, np.ones_like(pair.confidence_2) * 1.1) for pair in scene.pairs()]
    with pytest.raises(InputError) as caught:
        align_to_cameras(unsure, scene.cameras)
    assert caught.value.code == "geometry-not-aligned"
