# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor, scale and origin of a splat."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.scene.placement import (
    base_matrix,
    floor_matrix,
    main_plane,
    plane_through,
    rotation_between,
    scale_matrix,
)


def tilted_room(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy floor with things on it, turned and moved; the move itself."""
    rng = np.random.default_rng(seed)
    floor = np.concatenate([rng.uniform(-2, 2, (3000, 2)), rng.normal(0, 0.002, (3000, 1))], 1)
    things = rng.uniform([-1, -1, 0], [1, 1, 1.5], (2000, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, [3, -4, 5]
    return np.concatenate([floor, things]) @ turn.T + matrix[:3, 3], matrix


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def test_the_main_plane_becomes_level_with_things_above() -> None:
    points, _ = tilted_room()
    plane = main_plane(points)
    assert 0.55 < plane.share < 0.75
    level = apply(floor_matrix(plane, points), points)
    assert np.abs(level[:3000, 2]).max() < 0.02 and level[3000:, 2].min() > -0.02
    np.testing.assert_allclose(np.linalg.norm(level[0] - level[1]), np.linalg.norm(points[0] - points[1]))


def test_three_picks_give_the_same_floor() -> None:
    points, world = tilted_room()
    picks = apply(world, np.array([[0, 0, 0], [1, 0, 0], [0.2, 1, 0]], float))
    for order in ([0, 1, 2], [2, 1, 0]):
        level = apply(floor_matrix(plane_through(picks[order]), points), picks)
        np.testing.assert_allclose(level[:, 2], 0, atol=1e-9)
        assert np.median(apply(floor_matrix(plane_through(picks[order]), points), points)[3000:, 2]) > 0.5


def test_picks_on_a_line_are_refused() -> None:
    with pytest.raises(InputError):
        plane_through(np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2.0]]))
    with pytest.raises(InputError):
        main_plane(np.zeros((10, 3)))


@pytest.mark.parametrize("second", [[0, 0, 1], [0, 0, -1], [0, 1, 0], [0.6, 0, 0.8], [1e-9, 0, -1]])
def test_smallest_rotation(second: list[float]) -> None:
    b = np.array(second, float) / np.linalg.norm(second)
    turn = rotation_between(np.array([0, 0, 1.0]), b)
    np.testing.assert_allclose(turn @ [0, 0, 1], b, atol=1e-8)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-8)
    assert np.linalg.det(turn) > 0.99


def test_known_distance() -> None:
    a, b = np.array([1.0, 2, 3]), np.array([4.0, 6, 3])
    matrix = scale_matrix(a, b, 2)
    np.testing.assert_allclose(np.linalg.norm(apply(matrix, a) - apply(matrix, b)), 2)
    with pytest.raises(InputError):
        scale_matrix(a, a, 2)
    with pytest.raises(InputError):
        scale_matrix(a, b, -1)


@pytest.mark.parametrize("up", [[0, 0, 1], [0, -1, 0]])
def test_origin_goes_to_the_base(up: list[float]) -> None:
    axis = np.array(up, float)
    points = np.random.default_rng(0).uniform(4, 6, (5000, 3))
    points[:3] = 500
    placed = apply(base_matrix(points, axis), points)[3:]
    assert abs(np.quantile(placed @ axis, 0.01)) < 0.02
    across = placed - np.outer(placed @ axis, axis)
    np.testing.assert_allclose(across.max(0) + across.min(0), 0, atol=0.05)
    with pytest.raises(InputError):
        base_matrix(np.zeros((0, 3)))
