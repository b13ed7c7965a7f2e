# SPDX-License-Identifier: GPL-3.0-or-later
"""Which depths stand: witnesses for and against."""

from __future__ import annotations

import numpy as np

from interngs.geometry.consistency import check_views
from interngs.scene.cameras import Camera

WIDTH, HEIGHT, FOCAL_PX, WALL = 80, 60, 80.0, 4.0


def camera_at(x: float) -> Camera:
    pose = np.eye(4)
    pose[0, 3] = -x
    K = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
    return Camera(K, pose, WIDTH, HEIGHT)


CAMERAS = [camera_at(x) for x in (-0.5, 0.0, 0.5)]


def wall() -> list[np.ndarray]:
    return [np.full((HEIGHT, WIDTH), WALL, np.float32) for _ in CAMERAS]


def patch_at(depth: float, view: int, depths: list[np.ndarray]) -> np.ndarray:
    """Put a square at ``depth`` in front of the middle camera into the depth map of a view; returns where."""
    corners, _ = CAMERAS[view].project(np.array([[-0.2, -0.2, depth], [0.2, 0.2, depth]]))
    (left, top), (right, bottom) = np.round(corners).astype(int)
    depths[view][top:bottom, left:right] = depth
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top + 1:bottom - 1, left + 1:right - 1] = True
    return mask


def test_a_wall_that_all_see_is_confirmed_by_all():
    found = check_views(CAMERAS, wall())
    inner = (slice(5, -5), slice(30, 50))
    for agreement in found:
        assert (agreement.confirmed[inner] == 2).all()
        assert not agreement.contradicted[inner].any()


def test_a_thing_that_all_see_stands_before_the_wall():
    depths = wall()
    masks = [patch_at(2.0, view, depths) for view in range(3)]
    for agreement, mask in zip(check_views(CAMERAS, depths), masks, strict=True):
        assert (agreement.confirmed[mask] == 2).all()


def test_a_match_between_two_views_is_refuted_by_the_third_that_looks_through_it():
    depths = wall()
    first, last = patch_at(2.0, 0, depths), patch_at(2.0, 2, depths)
    found = check_views(CAMERAS, depths)
    for agreement, mask in ((found[0], first), (found[2], last)):
        assert not agreement.confirmed[mask].any()
        assert (agreement.contradicted[mask] == 1).all()


def test_a_guess_refutes_nothing():
    depths = wall()
    first, last = patch_at(2.0, 0, depths), patch_at(2.0, 2, depths)
    # The middle view's depth lies where no other view agrees.
    depths[1][:] = 17.0
    found = check_views(CAMERAS, depths)
    assert found[0].confirmed[first].all()
    assert found[2].confirmed[last].all()
