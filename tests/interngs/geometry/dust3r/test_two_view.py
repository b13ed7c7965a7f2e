# SPDX-License-Identifier: GPL-3.0-or-later
"""Two views alone: focal lengths, pose, depth, against the official viewer and the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interngs.geometry.dust3r.errors import ViewsNotAligned
from interngs.geometry.dust3r.focal import focal_by_median, focal_by_weiszfeld
from interngs.geometry.dust3r.pointmaps import GOOD_CONFIDENCE, PairPoints, image_sizes
from interngs.geometry.dust3r.pose_from_points import focal_from_points, pose_from_points
from interngs.geometry.dust3r.two_view import align_two_views
from interngs.geometry.similarity import direction_angle_deg, rotation_angle_deg


def official_centres(pairs: list[PairPoints]) -> list[np.ndarray]:
    """The official principal point is W/2 with pixel centres at whole numbers: half a pixel further from the corner."""
    sizes = image_sizes(pairs)
    return [np.array([sizes[view][1] / 2 + 0.5, sizes[view][0] / 2 + 0.5]) for view in sorted(sizes)]


@pytest.mark.parametrize(("scene", "limit_deg"), [
    ("first_more_confident", 0.5), ("second_more_confident", 0.5), ("mixed_orientation", 2.0)])
def test_viewer_equals_the_official_one(golden: Path, read_pairs, scene: str, limit_deg: float) -> None:
    arrays = np.load(golden / "pair_viewer.npz")
    pairs = read_pairs(arrays, f"{scene}/")
    centres = official_centres(pairs)
    by_first = {pair.first: pair for pair in pairs}
    aligned = align_two_views(by_first[0], by_first[1], centres)
    for view in (0, 1):
        pose, official = aligned.cameras[view].world_from_camera, arrays[f"{scene}/out_poses"][view].astype(float)
        assert rotation_angle_deg(pose[:3, :3], official[:3, :3]) < limit_deg
        assert aligned.cameras[view].K[0, 0] == pytest.approx(arrays[f"{scene}/out_focals"][view], rel=1e-4)
        ratio = aligned.depths[view] / arrays[f"{scene}/out_depth_{view}"]
        assert np.abs(ratio - 1).max() < 0.03
        assert np.array_equal(aligned.confidences[view] > GOOD_CONFIDENCE, arrays[f"{scene}/out_mask_{view}"])
    truth = arrays[f"{scene}/gt_poses_cam2world"]
    true_relative = np.linalg.inv(truth[0]) @ truth[1]
    relative = aligned.cameras[0].camera_from_world @ aligned.cameras[1].world_from_camera
    assert rotation_angle_deg(relative[:3, :3], true_relative[:3, :3]) < limit_deg
    assert direction_angle_deg(relative[:3, 3], true_relative[:3, 3]) < 2 * limit_deg


@pytest.mark.parametrize("scene", ["first_more_confident", "mixed_orientation"])
def test_both_focal_estimators_equal_the_official_ones(golden: Path, read_pairs, scene: str) -> None:
    arrays = np.load(golden / "pair_viewer.npz")
    pair = read_pairs(arrays, f"{scene}/")[0]
    centre = official_centres(read_pairs(arrays, f"{scene}/"))[pair.first]
    assert focal_by_weiszfeld(pair.points_1, centre) == pytest.approx(
        float(arrays[f"{scene}/focal_of_pair0_view1_weiszfeld"][0]), rel=1e-4)
    assert focal_by_median(pair.points_1, centre) == pytest.approx(
        float(arrays[f"{scene}/focal_of_pair0_view1_median"][0]), rel=1e-4)


def test_focal_of_exact_points_is_exact(relief_scene) -> None:
    pair = relief_scene([(48, 64), (64, 48)], [60.0, 75.0]).pair(0, 1, scale=3.0)
    assert focal_by_weiszfeld(pair.points_1, np.array([32.0, 24.0])) == pytest.approx(60.0, rel=1e-5)
    assert focal_by_median(pair.points_1, np.array([32.0, 24.0])) == pytest.approx(60.0, rel=1e-5)


def test_pose_from_points_withstands_outliers(relief_scene) -> None:
    scene = relief_scene([(48, 64), (64, 48)], [60.0, 75.0])
    pair = scene.pair(0, 1, scale=2.0)
    points = pair.points_2.copy()
    random = np.random.default_rng(0)
    spoiled = random.random(points.shape[:2]) < 0.3
    points[spoiled] += random.normal(size=(int(spoiled.sum()), 3))
    found = pose_from_points(points, np.ones(points.shape[:2], bool), scene.cameras[1].K)
    assert found is not None
    true = scene.cameras[1].camera_from_world @ scene.cameras[0].world_from_camera
    assert rotation_angle_deg(found.camera_from_points[:3, :3], true[:3, :3]) < 0.05
    assert np.allclose(found.camera_from_points[:3, 3] * 2.0, true[:3, 3], atol=5e-3)
    assert 0.6 < found.inlier_share < 0.85
    focal = focal_from_points(points, np.ones(points.shape[:2], bool), np.array([24.0, 32.0]))
    assert focal == pytest.approx(75.0, rel=0.1)


def test_too_few_sure_pixels_name_the_view(relief_scene) -> None:
    scene = relief_scene([(32, 48)] * 2, [50.0] * 2)
    forward, backward = scene.pair(0, 1), scene.pair(1, 0)
    doubtful = PairPoints(0, 1, forward.points_1, forward.confidence_1, forward.points_2,
                          np.ones_like(forward.confidence_2) * 1.5)
    weak = PairPoints(1, 0, backward.points_1, backward.confidence_1 * 0.1, backward.points_2,
                      backward.confidence_2 * 0.1)
    with pytest.raises(ViewsNotAligned) as caught:
        align_two_views(doubtful, weak)
    assert caught.value.views == (1,)
