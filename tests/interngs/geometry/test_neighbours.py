# SPDX-License-Identifier: GPL-3.0-or-later
"""Large captures: every view is held against those that see the same, and their number does not grow."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.geometry.depth_range import DepthRange
from interngs.geometry.neighbours import WITNESSES, pairs_by_pose, witnesses, witnesses_of_depths
from interngs.scene.cameras import Camera, look_at


def ring(count: int) -> list[Camera]:
    """Cameras around the origin, four units away, looking at it."""
    K = np.array([[40.0, 0, 24], [0, 40.0, 18], [0, 0, 1]])
    angles = 2 * np.pi * np.arange(count) / count
    return [Camera(K, look_at(np.array([4 * np.sin(a), 0.0, -4 * np.cos(a)]), np.zeros(3), np.array([0.0, -1.0, 0.0])),
                   48, 36) for a in angles]


def apart(first: int, second: int, count: int) -> int:
    return min((first - second) % count, (second - first) % count)


@pytest.mark.parametrize("count", [2, 5, WITNESSES + 1])
def test_small_captures_compare_every_view_with_every_other(count):
    cameras = ring(count)
    assert witnesses(cameras, []) == [[k for k in range(count) if k != view] for view in range(count)]
    assert pairs_by_pose(cameras) == [(i, j) for i in range(count) for j in range(i + 1, count)]


def test_a_ring_of_many_cameras_is_compared_with_its_neighbours():
    count = 120
    cameras = ring(count)
    ranges = [DepthRange(3.0, 5.0, 100)] * count
    depths = [np.full((36, 48), 4.0, np.float32)] * count
    for found in (witnesses(cameras, ranges), witnesses_of_depths(cameras, depths)):
        assert all(0 < len(others) <= WITNESSES for others in found)
        assert max(apart(view, other, count) for view, others in enumerate(found) for other in others) <= 12
    pairs = pairs_by_pose(cameras)
    assert count * WITNESSES / 4 <= len(pairs) <= count * WITNESSES
    assert {view for pair in pairs for view in pair} == set(range(count))


def test_along_a_walk_neighbours_are_matched_though_the_depth_cannot_be_guessed():
    K = np.array([[40.0, 0, 24], [0, 40.0, 18], [0, 0, 1]])
    poses = np.tile(np.eye(4), (60, 1, 1))
    poses[:, 0, 3] = -0.2 * np.arange(60)     # sideways along a wall that is two units away
    pairs = set(pairs_by_pose([Camera(K, pose, 48, 36) for pose in poses]))
    assert all((view, view + step) in pairs for view in range(50) for step in (1, 2, 3))


def test_a_view_without_depth_still_has_neighbours():
    depths = [np.full((36, 48), 4.0, np.float32)] * 40
    depths[7] = np.zeros((36, 48), np.float32)
    assert len(witnesses_of_depths(ring(40), depths)[7]) > 0
