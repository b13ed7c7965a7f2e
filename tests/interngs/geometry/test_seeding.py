# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeding: one copy of each surface, the better point wins, nothing from behind a camera."""

import numpy as np
import pytest

from interngs.config import SeedingConfig
from interngs.errors import InputError
from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.geometry.seeding import SIGMA_PER_PIXEL, add_seeds, seeds_to_gaussians, select_seeds
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View

WIDTH, HEIGHT, FOCAL_PX = 40, 30, 50.0


def camera(x: float = 0.0, turned: bool = False) -> Camera:
    """A camera at (x, 0, 0) that looks along +z (or, turned, along -z)."""
    pose = np.eye(4)
    if turned:
        pose[:3, :3] = np.diag([-1.0, 1.0, -1.0])
    pose[:3, 3] = -pose[:3, :3] @ np.array([x, 0, 0])
    K = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1.0]])
    return Camera(K, pose, WIDTH, HEIGHT)


def scene(*views: tuple[Camera, float, float]) -> tuple[Capture, Geometry]:
    """Views of fronto-parallel walls: (camera, depth, confidence)."""
    rng = np.random.default_rng(0)
    images = [rng.random((HEIGHT, WIDTH, 3), np.float32) for _ in views]
    capture = Capture(tuple(View(str(i), image, cam) for i, (image, (cam, _, _)) in enumerate(
        zip(images, views, strict=True))))
    geometry = Geometry(tuple(ViewGeometry(cam, np.full((HEIGHT, WIDTH), depth, np.float32),
                                           np.full((HEIGHT, WIDTH), confidence, np.float32))
                              for cam, depth, confidence in views), "test")
    return capture, geometry


def test_a_surface_seen_twice_is_kept_once() -> None:
    shift = 10 * 5.0 / FOCAL_PX  # ten pixels at depth 5
    seeds = select_seeds(*scene((camera(), 5.0, 5.0), (camera(shift), 5.0, 4.0)), SeedingConfig())
    overlap = (WIDTH - 10) * HEIGHT
    assert seeds.counts["before"] == 2 * WIDTH * HEIGHT
    assert seeds.counts["redundant"] == overlap
    assert seeds.counts["kept"] == 2 * WIDTH * HEIGHT - overlap
    assert np.allclose(seeds.positions[:, 2], 5.0)


def test_all_points_stay_when_redundancy_is_kept() -> None:
    seeds = select_seeds(*scene((camera(), 5.0, 5.0), (camera(), 5.0, 4.0)), SeedingConfig(remove_redundant=False))
    assert seeds.counts["kept"] == 2 * WIDTH * HEIGHT


def test_surfaces_at_different_depths_both_stay() -> None:
    seeds = select_seeds(*scene((camera(), 5.0, 5.0), (camera(), 5.0 * 1.1, 4.0)), SeedingConfig(depth_tolerance=0.02))
    assert seeds.counts["redundant"] == 0


def test_the_more_confident_point_replaces_the_other() -> None:
    capture, geometry = scene((camera(), 5.0, 4.0), (camera(), 5.01, 2.0))
    confident = geometry.views[1].confidence.copy()
    confident[:10, :10] = 9.0  # mean stays below the first view's, so the first one is visited first
    better = Geometry((geometry.views[0], ViewGeometry(camera(), geometry.views[1].depth, confident)), "test")
    seeds = select_seeds(capture, better, SeedingConfig())
    assert seeds.counts["replaced"] == 100
    assert len(seeds.positions) == WIDTH * HEIGHT
    assert (np.isclose(seeds.positions[:, 2], 5.01)).sum() == 100
    assert set(np.unique(seeds.confidence)) == {4.0, 9.0}


def test_points_behind_the_visited_camera_do_not_hide_its_pixels() -> None:
    seeds = select_seeds(*scene((camera(), 5.0, 5.0), (camera(turned=True), 5.0, 4.0)), SeedingConfig())
    assert seeds.counts["redundant"] == 0
    assert seeds.counts["kept"] == 2 * WIDTH * HEIGHT


def test_unsure_pixels_are_counted_and_left_out() -> None:
    capture, geometry = scene((camera(), 5.0, 5.0))
    geometry.views[0].confidence[:5] = 1.0
    geometry.views[0].depth[5] = 0.0
    seeds = select_seeds(capture, geometry, SeedingConfig(min_confidence=2.0))
    assert seeds.counts["unsure"] == 5 * WIDTH
    assert seeds.counts["kept"] == (HEIGHT - 6) * WIDTH


def test_too_many_seeds_are_thinned_and_grow_to_close_the_gaps() -> None:
    capture, geometry = scene((camera(), 5.0, 5.0))
    all_seeds = select_seeds(capture, geometry, SeedingConfig())
    thinned = select_seeds(capture, geometry, SeedingConfig(max_seeds=300))
    assert len(thinned.positions) == WIDTH * HEIGHT / 4
    assert np.allclose(thinned.footprint, 2 * all_seeds.footprint[0])


def test_nothing_sure_is_a_clear_error() -> None:
    with pytest.raises(InputError, match="depth that can be trusted"):
        select_seeds(*scene((camera(), 5.0, 1.0)), SeedingConfig(min_confidence=3.0))


def test_gaussians_take_colour_size_and_opacity_from_their_seeds() -> None:
    capture, geometry = scene((camera(), 5.0, 5.0))
    seeds = select_seeds(capture, geometry, SeedingConfig())
    gaussians = seeds_to_gaussians(seeds, SeedingConfig(initial_opacity=0.3), sh_degree=2)
    assert gaussians.sh.shape == (WIDTH * HEIGHT, 9, 3)
    assert np.allclose(gaussians.base_colours, capture.views[0].image.reshape(-1, 3), atol=1e-6)
    assert np.allclose(gaussians.opacities, 0.3, atol=1e-6)
    # On a fronto-parallel wall neighbours are one footprint apart (the third neighbour in a corner sqrt(2)).
    inner = np.abs(gaussians.scales[:, 0] / (SIGMA_PER_PIXEL * 5.0 / FOCAL_PX) - 1) < 0.01
    assert inner.mean() > 0.9


def test_guesses_start_fainter_than_what_is_sure() -> None:
    capture, geometry = scene((camera(), 5.0, 5.0))
    geometry.views[0].confidence[:, : WIDTH // 2] = 1.0
    settings = SeedingConfig(initial_opacity=0.2, guess_opacity=0.03)
    gaussians = seeds_to_gaussians(select_seeds(capture, geometry, settings), settings, sh_degree=0)
    left = camera().project(gaussians.means.astype(float))[0][:, 0] < WIDTH // 2
    assert np.allclose(gaussians.opacities[left], 0.03, atol=1e-6)
    assert np.allclose(gaussians.opacities[~left], 0.2, atol=1e-6)


def test_flat_areas_are_thinned_and_textured_ones_are_not() -> None:
    capture, geometry = scene((camera(), 5.0, 5.0))
    capture.views[0].image[:, :20] = 0.5
    seeds = select_seeds(capture, geometry, SeedingConfig())
    flat_columns = 18  # the edge to the texture is no flat area
    assert seeds.counts["thinned"] == flat_columns * HEIGHT * 3 / 4
    assert np.isclose(np.sort(np.unique(seeds.footprint))[1] / seeds.footprint.min(), 2.0)
    assert select_seeds(capture, geometry, SeedingConfig(thin_flat_areas=False)).counts["thinned"] == 0


def test_a_thinned_surface_still_hides_its_twin_in_another_view() -> None:
    capture, geometry = scene((camera(), 5.0, 5.0), (camera(), 5.0, 4.0))
    for view in capture.views:
        view.image[:] = 0.5
    assert select_seeds(capture, geometry, SeedingConfig()).counts["kept"] == WIDTH * HEIGHT / 4


def test_points_behind_an_edge_are_added_once() -> None:
    capture, geometry = scene((camera(), 5.0, 5.0))
    seeds = select_seeds(capture, geometry, SeedingConfig())
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[6:12, 6:12] = True
    depth = np.full((HEIGHT, WIDTH), 8.0, np.float32)
    once = add_seeds(seeds, camera(), capture.views[0].image, depth, wanted)
    assert once.counts["filled"] == 9
    assert np.allclose(once.positions[-9:, 2], 8.0)
    assert np.allclose(once.footprint[-9:], 2 * 8.0 / FOCAL_PX)
    nearly_there = np.full((HEIGHT, WIDTH), 5.1, np.float32)
    there_already = add_seeds(seeds, camera(), capture.views[0].image, nearly_there, wanted)
    assert there_already.counts["filled"] == 0
