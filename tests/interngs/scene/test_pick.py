# SPDX-License-Identifier: GPL-3.0-or-later
"""A picked point lies on the surface that is seen: not on what is faint before it, nor on what is behind."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.scene.pick import seen_point


def disc(*depths_and_opacities: tuple[float, float], size: float = 0.5):
    depths, opacities = np.array(depths_and_opacities).T
    means = np.stack([np.zeros_like(depths), np.zeros_like(depths), depths], axis=1)
    return (means, np.tile([1.0, 0, 0, 0], (len(means), 1)), np.tile([size, size, 0.001], (len(means), 1)), opacities)


def test_the_nearest_opaque_disc_is_seen() -> None:
    point = seen_point(*disc((5, 0.9), (3, 0.9), (9, 0.9)), np.zeros(3), np.array([0, 0, 2.0]))
    np.testing.assert_allclose(point, [0, 0, 3], atol=1e-6)


def test_faint_ones_add_up_until_half_is_hidden() -> None:
    splat = disc(*[(depth, 0.2) for depth in range(1, 9)])
    point = seen_point(*splat, np.zeros(3), np.array([0, 0, 1.0]))
    assert point[2] == pytest.approx(4)      # 0.8^3 is above a half, 0.8^4 below
    assert seen_point(*disc((1, 0.3), (2, 0.2)), np.zeros(3), np.array([0, 0, 1.0])) is None


def test_beside_and_behind_there_is_nothing() -> None:
    splat = disc((5, 0.9))
    assert seen_point(*splat, np.zeros(3), np.array([0, 0, -1.0])) is None
    assert seen_point(*splat, np.array([1.0, 0, 0]), np.array([0, 0, 1.0])) is None      # two deviations aside
    assert seen_point(*splat, np.array([0.3, 0, 0]), np.array([0, 0, 1.0])) is not None


def test_a_slanted_disc_is_met_where_the_ray_meets_its_plane() -> None:
    half = np.radians(30) / 2
    means, _, scales, opacities = disc((5, 0.99), size=2.0)
    quats = np.array([[np.cos(half), 0, np.sin(half), 0]])       # turned by 30 degrees about y
    point = seen_point(means, quats, scales, opacities, np.array([0.5, 0, 0]), np.array([0, 0, 1.0]))
    assert point[2] == pytest.approx(5 - 0.5 * np.tan(np.radians(30)), abs=1e-3)


def test_no_gaussians() -> None:
    none = np.zeros((0, 3))
    assert seen_point(none, np.zeros((0, 4)), none, np.zeros(0), np.zeros(3), np.ones(3)) is None
