# SPDX-License-Identifier: GPL-3.0-or-later
"""The check between views, on two cameras before a wall where every error is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.geometry.cross_view import check_views
from interngs.scene.cameras import Camera

WIDTH, HEIGHT, FOCAL, BASELINE, WALL = 120, 80, 100.0, 0.5, 5.0


def cameras() -> list[Camera]:
    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    beside = np.eye(4)
    beside[0, 3] = -BASELINE
    return [Camera(K, np.eye(4), WIDTH, HEIGHT), Camera(K, beside, WIDTH, HEIGHT)]


def wall() -> np.ndarray:
    return np.full((HEIGHT, WIDTH), WALL)


def test_equal_depth_confirms_and_what_nobody_sees_is_left_open() -> None:
    first, second = check_views(cameras(), [wall(), wall()])
    # The second camera stands to the right: the first one's leftmost columns are outside its image.
    unseen = int(FOCAL * BASELINE / WALL)
    assert (first.confirmations[:, unseen:] == 1).all() and (first.confirmations[:, :unseen] == 0).all()
    assert np.isnan(first.error_px[:, : unseen - 1]).all() and not first.refuted.any()
    assert np.nanmax(first.error_px) < 1e-6 and first.confirmed_share == second.confirmed_share == 1.0


@pytest.mark.parametrize("depth", [4.4, 4.9, 5.1, 5.6])
def test_error_is_the_parallax_of_the_depth_difference(depth: float) -> None:
    first, _ = check_views(cameras(), [np.full((HEIGHT, WIDTH), depth), wall()], max_error_px=0.5)
    expected = FOCAL * BASELINE * abs(1 / depth - 1 / WALL)
    middle = first.error_px[HEIGHT // 2, WIDTH // 2]
    # The point is moved along the other camera's ray to the wall; seen from here that is this parallax.
    assert middle == pytest.approx(expected, rel=1e-6)
    refuted = first.refuted[HEIGHT // 2, WIDTH // 2]
    assert refuted == (depth < WALL and expected > 0.5)


def test_hidden_is_not_wrong() -> None:
    """A point behind the other view's surface may be hidden by it."""
    near = wall()
    near[30:50, 50:70] = 2.0
    first, second = check_views(cameras(), [wall(), near])
    assert (first.contradictions == 0).all()
    # The thing that stands in free space for the first view is refuted in the second.
    assert second.refuted[35:45, 55:65].all()


def test_unknown_depth_has_no_opinion() -> None:
    first, second = check_views(cameras(), [wall(), np.zeros((HEIGHT, WIDTH))])
    assert not first.refuted.any() and first.confirmed_share == 0.0 and np.isnan(second.error_px).all()
