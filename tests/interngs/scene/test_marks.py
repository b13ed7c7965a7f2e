# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks follow their thresholds without measuring again, and agree with the filters of ``clean``."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.scene.cameras import Camera, look_at
from interngs.scene.clean import KEEP_ALL, box_matrix, clean, inside_camera_hull
from interngs.scene.gaussians import Gaussians
from interngs.scene.marks import FILTERS, Measures, Region, Thresholds, mark


def splat(n: int = 3000, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    means[:20] *= rng.uniform(3, 6, (20, 1))[:n]
    arrays = (means, np.tile([1.0, 0, 0, 0], (n, 1)), rng.normal(-4, 1.2, (n, 3)), rng.normal(0, 3, n),
              rng.normal(size=(n, 1, 3)))
    return Gaussians(*(a.astype(np.float32) for a in arrays))


def measures(g: Gaussians, **more) -> Measures:
    return Measures(g.means, g.scales, g.opacities, **more)


def ring(count: int = 6, radius: float = 4.0) -> list[Camera]:
    K = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    angles = np.arange(count) * 2 * np.pi / count
    return [Camera(K, look_at(radius * np.array([np.cos(a), np.sin(a), 0.2]), np.zeros(3), np.array([0, 0, 1.0])),
                   100, 100) for a in angles]


@pytest.mark.parametrize(("name", "threshold", "setting"), [
    ("opacity", {"min_opacity": 0.3}, {"min_opacity": 0.3}),
    ("size", {"max_relative_size": 0.05}, {"max_relative_size": 0.05}),
    ("needles", {"max_needle": 8.0}, {"max_needle": 8.0}),
    ("isolated", {"max_isolation": 3.0, "max_sparsity": 4.0}, {"max_isolation": 3.0, "max_sparsity": 4.0}),
    ("support", {"min_views": 6}, {"min_views": 6}),
    ("hull", {"max_hull_reach": 1.2}, {"max_hull_reach": 1.2}),
])
def test_a_filter_marks_what_clean_removes(name, threshold, setting) -> None:
    g, cameras = splat(), ring()
    marks = mark(measures(g, cameras=cameras), Thresholds(**threshold))
    kept = clean(g, replace(KEEP_ALL, **setting), cameras).kept
    np.testing.assert_array_equal(marks.kept, kept)
    assert list(marks.counts) == [name] and 0 < marks.removed == marks.counts[name] < len(g)
    assert set(np.unique(marks.first)) == {0, 1 + FILTERS.index(name)}


def test_counts_of_one_filter_do_not_depend_on_others() -> None:
    m = measures(splat())
    alone = mark(m, Thresholds(min_opacity=0.3)).counts["opacity"]
    both = mark(m, Thresholds(min_opacity=0.3, max_needle=3.0))
    assert both.counts["opacity"] == alone
    assert max(both.counts.values()) < both.removed < sum(both.counts.values())


def test_crops_keep_either_side() -> None:
    g = splat()
    region = Region(box_matrix((-9, -9, 0), (9, 9, 9)))
    inside = mark(measures(g), Thresholds(box=region))
    outside = mark(measures(g), Thresholds(box=replace(region, keep_inside=False)))
    np.testing.assert_array_equal(inside.kept, g.means[:, 2] >= 0)
    np.testing.assert_array_equal(outside.kept, ~inside.kept)
    ball = mark(measures(g), Thresholds(sphere=Region(np.diag([2.0, 2, 2, 1]))))
    np.testing.assert_array_equal(ball.kept, np.linalg.norm(g.means, axis=1) <= 2)


def test_the_camera_hull_of_a_ring() -> None:
    cameras = ring()
    points = np.array([[0, 0, 0], [3.9, 0, 0.78], [0, 0, 8.0], [0, 0, -8], [12, 0, 0]] + [[0, 0, 0.1]] * 20, np.float64)
    np.testing.assert_array_equal(inside_camera_hull(points, cameras, 1.0)[:5], [True, True, False, False, False])
    assert inside_camera_hull(points, cameras, 8.0)[:5].all()


def test_the_hull_keeps_what_a_single_camera_sees_as_deep_as_asked() -> None:
    camera = Camera(np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), np.eye(4), 100, 100)
    points = np.array([[0, 0, 4.0], [0, 0, 4], [0, 0, 4], [0, 0, 7.9], [0, 0, 8.5], [1.9, 0, 4], [2.3, 0, 4],
                       [0, 0, -0.5]])
    np.testing.assert_array_equal(inside_camera_hull(points, [camera], 2.0),
                                  [True, True, True, True, False, True, False, False])
    assert not inside_camera_hull(points - [0, 0, 50], [camera], 2.0).any()


def test_captured_depth_in_another_space_and_size() -> None:
    camera = Camera(np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), np.eye(4), 100, 100)
    g = splat(10)
    g.means[:] = [[0, 0, 8]] * 9 + [[0, 0, 6]]
    depth = np.full((50, 50), 4.0)     # half the camera's size
    marks = mark(measures(g, depths=[(camera, depth)], cameras_from_splat=np.diag([0.5, 0.5, 0.5, 1])),
                 Thresholds(max_before_surface=0.02))
    assert np.flatnonzero(marks.first).tolist() == [9]


def test_filters_without_what_they_need_say_so() -> None:
    for threshold in (Thresholds(min_views=1), Thresholds(max_hull_reach=1.0), Thresholds(max_before_surface=0.1)):
        with pytest.raises(InputError, match="needs"):
            mark(measures(splat(10)), threshold)


def test_no_gaussians_and_values_that_are_no_numbers() -> None:
    everything = Thresholds(min_opacity=0.1, max_relative_size=1, max_needle=9, max_isolation=6, max_sparsity=5)
    assert mark(measures(splat().select(np.zeros(3000, bool))), everything).removed == 0
    g = splat(50)
    opacities = g.opacities
    opacities[3] = np.nan
    assert mark(Measures(g.means, g.scales, opacities), Thresholds(min_opacity=0.0)).removed == 1


def test_a_slider_follows_at_half_a_million() -> None:
    rng = np.random.default_rng(0)
    m = Measures(rng.normal(size=(500_000, 3)).astype(np.float32),
                 np.exp(rng.normal(-5, 1, (500_000, 3))).astype(np.float32),
                 rng.uniform(size=500_000).astype(np.float32))
    thresholds = Thresholds(min_opacity=0.1, max_relative_size=0.1, max_needle=30, box=Region(np.eye(4)))
    mark(m, thresholds)
    start = time.process_time()
    mark(m, replace(thresholds, min_opacity=0.2))
    assert time.process_time() - start < 0.5
