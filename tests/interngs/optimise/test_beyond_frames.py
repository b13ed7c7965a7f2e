# SPDX-License-Identifier: GPL-3.0-or-later
"""Views with wider frames than the photographs', and what is prepared with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interngs.config import PipelineConfig, SeedingConfig
from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.optimise.beyond_frames import MARGIN, SCALE, prepare_views_beyond_frames, widened
from interngs.optimise.prepared import load_prepared, save_prepared
from interngs.optimise.pseudo_views import FILL_TRUST
from interngs.pipeline import prepare
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View
from interngs.stopping import Stopped

WIDTH, HEIGHT, DEPTH = 96, 64, 4.0
COLOUR = (0.8, 0.4, 0.2)


def camera(x: float) -> Camera:
    pose = np.eye(4)
    pose[0, 3] = -x
    return Camera(np.array([[80.0, 0, 44.0], [0, 82.0, 30.0], [0, 0, 1.0]]), pose, WIDTH, HEIGHT)


def wall(alpha: np.ndarray | None = None) -> tuple[Capture, Geometry]:
    """An even wall at ``DEPTH`` seen by three cameras."""
    views, shapes = [], []
    for x in (0.0, 0.3, 0.6):
        known = np.ones((HEIGHT, WIDTH), np.float32) if alpha is None else alpha
        image = np.float32(COLOUR) * np.ones((HEIGHT, WIDTH, 1), np.float32)
        views.append(View(f"wall{x}", image, camera(x), mask=alpha, alpha=alpha))
        shapes.append(ViewGeometry(camera(x), DEPTH * known, 6 * known))
    return Capture(tuple(views)), Geometry(tuple(shapes), "test")


def test_the_wider_frame_sees_the_same_rays() -> None:
    narrow, wide = camera(0.3), widened(camera(0.3))
    assert (wide.width_px, wide.height_px) == (round(WIDTH * (1 + 2 * MARGIN) * SCALE),
                                               round(HEIGHT * (1 + 2 * MARGIN) * SCALE))
    points = np.array([[0.0, 0.0, 4.0], [1.0, -0.5, 3.0], [-2.0, 1.0, 5.0]])
    near, far = narrow.project(points)[0], wide.project(points)[0]
    size = np.array([WIDTH, HEIGHT])
    np.testing.assert_allclose(far, (near + MARGIN * size) * SCALE)


def test_what_lies_beyond_the_frame_continues_its_edge_at_little_trust() -> None:
    view = prepare_views_beyond_frames(*wall(), 1)[0]
    assert view.gaps.mean() > 0.5
    np.testing.assert_allclose(view.depth[view.gaps], DEPTH, rtol=1e-3)
    np.testing.assert_allclose(view.image[view.gaps], np.broadcast_to(COLOUR, (view.gaps.sum(), 3)), atol=0.02)
    assert view.weight[view.gaps].max() <= FILL_TRUST


@pytest.mark.parametrize("by", ["alpha", "mask"])
def test_around_a_thing_that_is_cut_out_there_stays_nothing(by: str) -> None:
    alpha = np.zeros((HEIGHT, WIDTH), np.float32)
    alpha[20:44, 34:62] = 1
    capture, geometry = wall(alpha)
    if by == "mask":
        capture = Capture(tuple(replace(view, alpha=None, masked=True) for view in capture.views))
    view = prepare_views_beyond_frames(capture, geometry, 3)[1]
    rows, columns = np.nonzero(view.weight > 0)
    inside = widened(camera(0.3)).project(camera(0.3).unproject(np.full((HEIGHT, WIDTH), DEPTH))[20:44, 34:62]
                                          .reshape(-1, 3))[0]
    low, high = inside.min(axis=0) - 3, inside.max(axis=0) + 3
    assert len(rows) and columns.min() >= low[0] and columns.max() <= high[0]
    assert rows.min() >= low[1] and rows.max() <= high[1]


def test_they_are_spread_over_the_photographs_and_a_stop_is_heard() -> None:
    capture, geometry = wall()
    centres = [view.camera.centre[0] for view in prepare_views_beyond_frames(capture, geometry, 2)]
    np.testing.assert_allclose(centres, (0.0, 0.6))
    assert len(prepare_views_beyond_frames(capture, geometry, 9)) == 3

    def check() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        prepare_views_beyond_frames(capture, geometry, 2, check)


def test_seeds_reach_beyond_the_photographs_unless_told_not_to(tmp_path: Path) -> None:
    capture, geometry = wall()
    config = PipelineConfig(optimise=replace(PipelineConfig().optimise, pseudo_views=6))
    prepared = prepare(capture, geometry, config)
    assert (len(prepared.pseudo), len(prepared.beyond), len(prepared.unseen)) == (6, 2, 8)
    without = prepare(capture, geometry, replace(config, seeding=SeedingConfig(fill_beyond=False)))
    assert without.beyond == [] and len(without.seeds.positions) < len(prepared.seeds.positions)
    edge = camera(0.6).unproject(np.full((HEIGHT, WIDTH), DEPTH))[:, -1, 0].max()
    assert prepared.seeds.positions[:, 0].max() > edge + 0.5 > without.seeds.positions[:, 0].max()

    save_prepared(tmp_path / "prepared.npz", prepared)
    again = load_prepared(tmp_path / "prepared.npz")
    assert (len(again.pseudo), len(again.beyond)) == (6, 2)
    np.testing.assert_array_equal(again.seeds.positions, prepared.seeds.positions)
    for kept, made in zip(again.unseen, prepared.unseen, strict=True):
        np.testing.assert_array_equal(kept.image, made.image)
        np.testing.assert_array_equal(kept.gaps, made.gaps)
        np.testing.assert_array_equal(kept.camera.K, made.camera.K)
