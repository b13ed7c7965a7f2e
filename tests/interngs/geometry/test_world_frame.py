# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimated scenes are stood upright, whatever world they come in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from interngs.geometry.similarity import Similarity, inverse_rigid
from interngs.geometry.world_frame import MEDIAN_DEPTH, choose_world_frame
from interngs.scene.cameras import Camera


def camera_at(centre, target, roll_deg: float = 0.0) -> Camera:
    """A camera in a world with +Z up."""
    forward = np.asarray(target, float) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose = np.eye(4)
    pose[:3, :3] = rotation @ Rotation.from_euler("z", roll_deg, degrees=True).as_matrix()
    pose[:3, 3] = centre
    return Camera(np.diag([100.0, 100.0, 1.0]), inverse_rigid(pose), 64, 48)


STRAY = Similarity(0.2, Rotation.from_rotvec([1.0, 2.0, -0.5]).as_matrix(), np.array([7.0, -3.0, 1.0]))


def seen_after(cameras: list[Camera]):
    """Move the cameras into a stray world, choose a frame, return its cameras and the frame."""
    points = STRAY.apply(np.random.default_rng(0).normal(scale=0.5, size=(200, 3)))
    stray = [Camera(camera.K, inverse_rigid(STRAY.apply_to_pose(camera.world_from_camera)), 64, 48)
             for camera in cameras]
    depth = float(np.median(np.concatenate([camera.project(points)[1] for camera in stray])))
    frame = choose_world_frame(stray, points, depth)
    depths = np.concatenate([frame.apply_to_camera(camera).project(frame.new_from_old.apply(points))[1]
                             for camera in stray])
    assert np.median(depths) == pytest.approx(MEDIAN_DEPTH, rel=1e-6)
    assert np.abs(np.median(frame.new_from_old.apply(points), axis=0)).max() < 0.2
    return [frame.apply_to_camera(camera) for camera in stray], frame


def up_error_deg(found: list[Camera], true: list[Camera]) -> float:
    """Angle between the chosen +Z and the true one, seen by the first camera."""
    chosen, vertical = found[0].camera_from_world[:3, 2], true[0].camera_from_world[:3, 2]
    return float(np.degrees(np.arccos(np.clip(chosen @ vertical, -1, 1))))


def test_arc_of_level_cameras_that_look_down() -> None:
    """The mean of the cameras' up leans; the common normal of their sideways axes does not."""
    true = [camera_at([5 * np.cos(a), 5 * np.sin(a), 4.0], [0, 0, 0]) for a in (-2.2, -1.6, -1.0, -0.3)]
    found, frame = seen_after(true)
    assert up_error_deg(found, true) < 1e-3
    assert "level" in frame.description["up_from"]


def test_cameras_side_by_side_use_their_mean_up() -> None:
    true = [camera_at([x, -5.0, 0.2], [x, 0, 0.2], roll) for x, roll in ((-1, 1.0), (0, -1.5), (1, 0.5))]
    found, frame = seen_after(true)
    assert up_error_deg(found, true) < 2.0
    assert "mean" in frame.description["up_from"]
    mean_forward = np.mean([camera.forward for camera in found], axis=0)
    assert mean_forward[1] > 0.99


def test_ring_all_around() -> None:
    true = [camera_at([5 * np.cos(a), 5 * np.sin(a), 1.0], [0, 0, 0]) for a in np.arange(6) * np.pi / 3]
    found, _ = seen_after(true)
    assert up_error_deg(found, true) < 1e-3
