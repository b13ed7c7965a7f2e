# SPDX-License-Identifier: GPL-3.0-or-later
"""Islands of depth: which are taken away, what comes in their place, and what stays."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.geometry.peaks import flatten_peaks

SHAPE = (120, 160)


def scene(slope: float = 0.0):
    """A wall at a depth of 4 (farther to the right by ``slope`` in all), all confirmed, in one colour."""
    depth = np.tile(4 + slope * np.linspace(0, 1, SHAPE[1]), (SHAPE[0], 1)).astype(np.float32)
    return depth, np.ones(SHAPE, np.int32), np.full((*SHAPE, 3), 0.5, np.float32)


ISLAND = (slice(50, 56), slice(70, 78))


def test_an_unconfirmed_island_becomes_what_lies_around_it():
    depth, confirmed, image = scene()
    depth[ISLAND], confirmed[ISLAND] = 3.5, 0
    assert np.all(flatten_peaks(depth, confirmed, image) == 4)


@pytest.mark.parametrize("island_depth", [3.5, 8.0])
def test_a_confirmed_island_stays(island_depth):
    depth, confirmed, image = scene()
    depth[ISLAND] = island_depth
    assert np.array_equal(flatten_peaks(depth, confirmed, image), depth)


def test_a_confirmed_island_far_in_front_goes_when_it_has_the_colours_behind_it():
    depth, confirmed, image = scene()
    depth[ISLAND] = 1.0
    assert np.all(flatten_peaks(depth, confirmed, image) == 4)
    image[ISLAND] = (0.2, 0.7, 0.3)
    assert np.array_equal(flatten_peaks(depth, confirmed, image), depth)


def test_an_unconfirmed_island_of_another_colour_stays():
    depth, confirmed, image = scene()
    depth[ISLAND], confirmed[ISLAND], image[ISLAND] = 3.5, 0, (0.2, 0.7, 0.3)
    assert np.array_equal(flatten_peaks(depth, confirmed, image), depth)


def test_a_large_surface_stays_whatever_is_said_of_it():
    depth, confirmed, image = scene()
    depth[:, :40], confirmed[:, :40] = 1.0, 0
    assert np.array_equal(flatten_peaks(depth, confirmed, image), depth)


def test_a_slope_is_one_surface():
    depth, confirmed, image = scene(slope=8.0)
    confirmed[:] = 0
    assert np.array_equal(flatten_peaks(depth, confirmed, image), depth)


def test_the_background_is_continued_where_an_island_lies_on_an_edge():
    depth, confirmed, image = scene()
    depth[:, :70] = 2.0                  # a thing in front on the left, the wall on the right
    depth[ISLAND], confirmed[ISLAND] = 1.2, 0
    assert np.all(flatten_peaks(depth, confirmed, image)[ISLAND] == 4)


def test_unknown_depth_stays_unknown():
    depth, confirmed, image = scene()
    depth[:10], depth[ISLAND], confirmed[ISLAND] = 0, 3.5, 0
    flat = flatten_peaks(depth, confirmed, image)
    assert np.all(flat[:10] == 0)
    assert np.all(flat[10:] == 4)
    nothing = np.zeros(SHAPE, np.float32)
    assert np.array_equal(flatten_peaks(nothing, confirmed, image), nothing)
