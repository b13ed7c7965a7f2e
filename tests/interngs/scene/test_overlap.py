# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlap of views judged from cameras alone."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.scene.cameras import Camera
from interngs.scene.overlap import check_overlap, shared_share, views_alone


def _camera(centre, target, focal: float = 400.0) -> Camera:
    centre, target = np.array(centre, np.float64), np.array(target, np.float64)
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ centre
    return Camera(np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1.0]]), pose, 640, 480)


def test_neighbours_and_converging_views_overlap() -> None:
    side_by_side = [_camera((x, 0, 0), (x, 0, 5)) for x in (0, 1, 2)]
    assert views_alone(side_by_side) == []
    turntable = [_camera((4 * np.sin(a), 1, 4 * np.cos(a)), (0, 0, 0)) for a in np.radians([0, 60, 120])]
    check_overlap(turntable)
    assert shared_share(turntable[0], turntable[1]) > 0.3


@pytest.mark.parametrize(("second", "why"), [
    (_camera((0, 0, -1), (0, 0, -9)), "back to back"),
    (_camera((0, 0, 9), (0, 0, 0)), "face to face: they see opposite sides"),
    (_camera((3, 0, 0), (9, 0, 0.5)), "looking away sideways"),
])
def test_views_that_share_nothing(second, why) -> None:
    first = _camera((0, 0, 0), (0, 0, 5))
    assert views_alone([first, second]) == [0, 1], why
    with pytest.raises(InputError, match="None of the 2 views") as caught:
        check_overlap([first, second])
    assert caught.value.code == "views-share-nothing"


def test_the_lonely_view_is_named() -> None:
    cameras = [_camera((0, 0, 0), (0, 0, 5)), _camera((1, 0, 0), (1, 0, 5)), _camera((0, 0, -1), (0, 0, -9))]
    with pytest.raises(InputError, match=r"1 of 3 views .*'third'"):
        check_overlap(cameras, ["first", "second", "third"])
    with pytest.raises(InputError, match="number 2"):
        check_overlap(cameras)


def test_same_place_counts_by_direction_and_one_camera_passes() -> None:
    here = _camera((0, 0, 0), (0, 0, 5))
    assert shared_share(here, here) == 1.0
    assert views_alone([here, _camera((0, 0, 0), (5, 0, 0))]) == [0, 1]
    check_overlap([here])
    check_overlap([])


def test_scale_of_the_scene_does_not_matter() -> None:
    for scale in (1e-4, 1.0, 1e6):
        first, second = _camera((0, 0, 0), (0, 0, scale)), _camera((scale, 0, 0), (0, 0, 2 * scale))
        assert shared_share(first, second) == pytest.approx(
            shared_share(_camera((0, 0, 0), (0, 0, 1)), _camera((1, 0, 0), (0, 0, 2))), abs=0.03)
