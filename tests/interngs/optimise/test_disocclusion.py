# SPDX-License-Identifier: GPL-3.0-or-later
"""Holes beside a near thing continue the far surface, never the near one."""

import numpy as np

from interngs.optimise.disocclusion import MAX_REACH, fill_from_behind

NEAR, FAR = 2.0, 10.0
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def hole_between_near_and_far() -> tuple[np.ndarray, np.ndarray]:
    """Red and near on the left, blue and far on the right, six unknown columns between."""
    depth = np.full((20, 60), FAR, np.float32)
    depth[:, :24] = NEAR
    depth[:, 24:30] = 0
    image = np.zeros((20, 60, 3), np.float32)
    image[:, :24], image[:, 30:] = RED, BLUE
    return image, depth


def test_the_far_side_continues_into_the_hole() -> None:
    image, depth = hole_between_near_and_far()
    filled_image, filled_depth, filled = fill_from_behind(image, depth)
    assert np.array_equal(filled, depth == 0)
    assert np.allclose(filled_depth[filled], FAR, rtol=1e-4)
    assert np.abs(filled_image[:, 28] - BLUE).max() < 0.1


def test_known_pixels_are_left_alone() -> None:
    image, depth = hole_between_near_and_far()
    filled_image, filled_depth, filled = fill_from_behind(image, depth)
    assert np.array_equal(filled_image[~filled], image[~filled])
    assert np.array_equal(filled_depth[~filled], depth[~filled])


def test_a_slanted_far_surface_is_continued_between_its_ends() -> None:
    depth = np.tile(1 / np.linspace(0.1, 0.2, 61), (15, 1)).astype(np.float32)
    truth = depth.copy()
    depth[5:10, 28:33] = 0
    _, filled_depth, filled = fill_from_behind(np.zeros((15, 61, 3), np.float32), depth)
    assert filled.sum() == 25
    assert np.abs(filled_depth / truth - 1)[filled].max() < 0.06


def test_what_is_too_far_from_anything_known_stays_unknown() -> None:
    depth = np.zeros((10, 100), np.float32)
    depth[:, 0] = FAR
    _, filled_depth, filled = fill_from_behind(np.zeros((10, 100, 3), np.float32), depth)
    reach = int(MAX_REACH * 100)
    assert filled[:, 1:reach - 1].all()
    assert not filled[:, reach + 2:].any()
    assert (filled_depth[:, reach + 2:] == 0).all()


def test_nothing_known_gives_nothing() -> None:
    _, depth, filled = fill_from_behind(np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.float32))
    assert not filled.any()
    assert (depth == 0).all()


def test_what_stays_unknown_does_not_darken_what_is_filled() -> None:
    depth = np.zeros((10, 100), np.float32)
    depth[:, 0] = FAR
    image = np.zeros((10, 100, 3), np.float32)
    image[:, 0] = BLUE
    filled_image, _, filled = fill_from_behind(image, depth)
    assert np.allclose(filled_image[filled], BLUE, atol=1e-3)
