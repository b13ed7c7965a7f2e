# SPDX-License-Identifier: GPL-3.0-or-later
"""Similarities: fitted ones bring back the one that made the points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from interngs.geometry.similarity import (
    Similarity,
    direction_angle_deg,
    fit_camera_similarity,
    fit_similarity,
    inverse_rigid,
    rotation_angle_deg,
)

TRUE = Similarity(2.5, Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix(), np.array([1.0, -2.0, 0.5]))


def test_points_bring_the_similarity_back() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3))
    found = fit_similarity(points, TRUE.apply(points))
    assert found.scale == pytest.approx(2.5) and np.allclose(found.rotation, TRUE.rotation)
    assert np.allclose(found.translation, TRUE.translation)


def test_weightless_points_do_not_count() -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(30, 3))
    target = TRUE.apply(points)
    target[:5] += 100
    weights = np.ones(30)
    weights[:5] = 0
    assert fit_similarity(points, target, weights).scale == pytest.approx(2.5)


def test_a_mirrored_set_is_fitted_by_a_rotation() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3))
    found = fit_similarity(points, points * [1, 1, -1])
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


def test_two_cameras_are_enough() -> None:
    """Centres alone would leave the turn about their line open."""
    random = np.random.default_rng(1)
    poses = []
    for _ in range(2):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.random(random_state=random).as_matrix()
        pose[:3, 3] = random.normal(size=3)
        poses.append(pose)
    moved = [TRUE.apply_to_pose(pose) for pose in poses]
    found = fit_camera_similarity(poses, moved)
    assert found.scale == pytest.approx(2.5) and np.allclose(found.rotation, TRUE.rotation)
    assert np.allclose(inverse_rigid(moved[0]) @ moved[0], np.eye(4))


@pytest.mark.parametrize("angle", [1e-7, 0.3, 90.0, 179.0])
def test_angles(angle: float) -> None:
    turn = Rotation.from_rotvec(np.radians(angle) * np.array([0.6, 0.0, 0.8])).as_matrix()
    assert rotation_angle_deg(TRUE.rotation, TRUE.rotation @ turn) == pytest.approx(angle, rel=1e-6, abs=1e-9)
    vector = np.array([0.8, 0.0, -0.6])
    assert direction_angle_deg(3 * vector, turn @ vector) == pytest.approx(angle, rel=1e-6, abs=1e-9)
