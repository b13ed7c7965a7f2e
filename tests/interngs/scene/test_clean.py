# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of a splat: each removes what it names, counts it, and leaves the rest."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.scene.cameras import Camera
from interngs.scene.clean import (
    KEEP_ALL,
    CleanSettings,
    box_matrix,
    clean,
    clear_of_cameras,
    in_free_space,
    inside_box,
    inside_sphere,
    not_isolated,
    view_counts,
)
from interngs.scene.gaussians import Gaussians
from interngs.scene.neighbours import near_neighbours


def surface(n: int = 4000, seed: int = 0) -> Gaussians:
    """A unit sphere of small discs, opacity 0.5."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    quats = np.tile([1.0, 0, 0, 0], (n, 1))
    log_scales = np.log(np.tile([0.02, 0.02, 0.0005], (n, 1)))
    return Gaussians(*(a.astype(np.float32) for a in (means, quats, log_scales, np.zeros(n),
                                                      rng.normal(size=(n, 4, 3)))))


def looking_at_origin(distance: float = 4.0) -> Camera:
    pose = np.eye(4)
    pose[2, 3] = distance
    return Camera(np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), pose, 100, 100)


def removed_by(result) -> dict[str, int]:
    return {entry.name: entry.removed for entry in result.report}


def test_an_even_surface_is_left_whole() -> None:
    result = clean(surface())
    assert result.kept.all() and set(removed_by(result).values()) == {0}


def test_each_default_filter_finds_its_fault() -> None:
    g = surface()
    g.means[0, 0] = np.nan
    g.opacity_logits[1:3] = -8
    g.log_scales[3:6] = np.log([5.0, 5, 5])
    g.log_scales[6] = -40
    g.log_scales[7:11] = np.log([0.02, 2e-4, 2e-4])
    g.means[11:13] = [[30, 0, 0], [0, 9, 9]]
    result = clean(g)
    assert removed_by(result) == {"finite": 1, "opacity": 2, "size": 4, "needles": 4, "isolated": 2}
    assert not result.kept[:13].any() and result.kept[13:].all()
    assert len(result.gaussians) == len(g) - 13
    assert result.report[1].line == "opacity (at least 0.005): 2 of 3999 removed"


def test_a_switched_off_filter_removes_nothing() -> None:
    g = surface()
    g.opacity_logits[:] = -20
    g.log_scales[:] = 9
    assert clean(g, KEEP_ALL).kept.all()


def test_running_again_removes_nothing_more() -> None:
    g = surface()
    g.opacity_logits[1:3] = -8
    once = clean(g)
    assert len(clean(once.gaussians).gaussians) == len(once.gaussians)


def test_box_and_sphere_crops() -> None:
    g = surface()
    half = clean(g, replace(KEEP_ALL, box=(-2, -2, 0, 2, 2, 2)))
    np.testing.assert_array_equal(half.kept, g.means[:, 2] >= 0)
    ball = clean(g, replace(KEEP_ALL, sphere=(1, 0, 0, 0.5)))
    np.testing.assert_array_equal(ball.kept, np.linalg.norm(g.means - [1, 0, 0], axis=1) <= 0.5)


def test_a_turned_box_crops_in_its_own_frame() -> None:
    c = np.sqrt(0.5)
    turned = np.array([[c, -c, 0, 1], [c, c, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]) @ np.diag([2, 0.1, 1, 1])
    points = np.array([[1 + 1.9 * c, 2 + 1.9 * c, 3], [1 - 1.9 * c, 2 + 1.9 * c, 3], [1, 2, 3.9], [1, 2, 4.1]])
    np.testing.assert_array_equal(inside_box(points, turned), [True, False, True, False])
    np.testing.assert_array_equal(inside_sphere(points, turned), [True, False, True, False])
    with pytest.raises(InputError):
        inside_box(points, np.diag([1.0, 1, 0, 1]))
    assert inside_box(np.zeros((1, 3)), box_matrix([-1e-6] * 3, [1e-6] * 3)).all()


def test_isolation_is_judged_alike_near_and_far() -> None:
    rng = np.random.default_rng(1)
    near = rng.normal(size=(5000, 3)) * 0.1
    far = rng.normal(size=(5000, 3)) * 0.5 + [30, 0, 0]
    floaters = np.array([[8.0, 0, 0], [15, 5, 0], [20, -9, 3]])
    keep = not_isolated(np.concatenate([near, far, floaters]), 6)
    assert not keep[-3:].any() and keep[:-3].mean() > 0.995


def test_neighbour_distance_is_a_close_upper_bound() -> None:
    points = np.random.default_rng(2).normal(size=(2000, 3)) * [1, 3, 0.1]
    exact = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, 1:9].mean(axis=1)
    distance, indices = near_neighbours(points)
    ratio = distance / exact
    assert (indices != np.arange(2000)[:, None]).all() and (np.diff(np.sort(indices, axis=1), axis=1) > 0).all()
    named = np.linalg.norm(points[indices] - points[:, None], axis=2).mean(axis=1)
    np.testing.assert_allclose(named, distance, rtol=1e-4)
    assert ratio.min() > 1 - 1e-4 and np.median(ratio) < 1.12 and ratio.max() < 2.5


def test_a_thin_cloud_of_floaters_goes() -> None:
    rng = np.random.default_rng(3)
    cloud = rng.uniform(-4, 4, size=(300, 3))
    cloud = cloud[np.linalg.norm(cloud, axis=1) > 1.5]
    keep = not_isolated(np.concatenate([surface(20_000).means, cloud]), np.inf, 5)
    assert keep[:20_000].mean() > 0.999 and keep[20_000:].mean() < 0.05


def test_support_by_cameras() -> None:
    points = np.array([[0, 0, 0], [0, 0, -10], [50, 0, 0], [0, 0, -3.95]])
    cameras = [looking_at_origin(), looking_at_origin(12)]
    np.testing.assert_array_equal(view_counts(points, cameras), [2, 1, 0, 2])
    np.testing.assert_array_equal(clear_of_cameras(points, cameras[:1], 0.1), [True, True, True, False])
    g = surface().select(np.arange(4))
    g.means[:] = points
    result = clean(g, replace(KEEP_ALL, min_views=1, min_camera_distance=0.05), cameras)
    assert removed_by(result) == {"finite": 0, "support": 1, "near cameras": 1}


def test_exact_depth_removes_what_floats_before_it() -> None:
    depth = np.full((100, 100), 4.0)
    depth[:, 60:] = 0
    points = np.array([[0, 0, 0], [0, 0, -1], [0, 0, 2], [0, 0, -0.05], [0.6, 0, -1]])
    floating = in_free_space(points, [(looking_at_origin(), depth)])
    np.testing.assert_array_equal(floating, [False, True, False, False, False])


@pytest.mark.parametrize("settings", [
    CleanSettings(min_opacity=-1), CleanSettings(max_needle=float("nan")), CleanSettings(neighbours=0),
    CleanSettings(box=(0, 0, 0, 1, 0, 1)), CleanSettings(sphere=(0, 0, 0, 0)), CleanSettings(min_views=2),
])
def test_senseless_settings_are_refused(settings: CleanSettings) -> None:
    with pytest.raises(InputError) as caught:
        clean(surface(20), settings)
    assert caught.value.remedy


@pytest.mark.parametrize("n", [0, 1, 7])
def test_few_gaussians(n: int) -> None:
    assert len(clean(surface(n)).gaussians) == n


def test_half_a_million_in_seconds() -> None:
    g = surface(500_000)
    start = time.process_time()
    clean(g)
    assert time.process_time() - start < 15
