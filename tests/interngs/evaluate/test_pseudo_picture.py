# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of views nobody took: cameras where they stand, views with their trust."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interngs.evaluate.pseudo_picture import PHOTOGRAPH, PLAN_PX, UNKNOWN, WarpedView, _plan, save_pseudo_views
from interngs.scene.cameras import Camera, look_at

K = np.array([[60.0, 0, 24], [0, 60.0, 18], [0, 0, 1]])
UP = np.array([0, 0, 1.0])


def at(x: float, y: float) -> Camera:
    """A camera in the plane z = 1 that looks along +Y."""
    centre = np.array([x, y, 1.0])
    return Camera(K, look_at(centre, centre + np.array([0, 1, 0]), UP), 48, 36)


def rows_and_columns(plan: Image.Image, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.nonzero((np.asarray(plan) == colour).all(axis=-1))


def test_the_plan_looks_down_on_the_cameras() -> None:
    left, right = (rows_and_columns(_plan([at(x, 0.0)], [at(-1.0, 0.0), at(1.0, 0.0)]), PHOTOGRAPH)
                   for x in (-0.9, 0.9))
    assert left[1].mean() < PLAN_PX / 3 and right[1].mean() > 2 * PLAN_PX / 3
    # What lies ahead is up, and the triangle opens that way.
    rows, _ = rows_and_columns(_plan([at(0.0, 0.0)], [at(0.0, 2.0)]), PHOTOGRAPH)
    assert rows.min() > PLAN_PX / 2
    rows, columns = rows_and_columns(_plan([at(0.0, 0.0)], [at(1.0, 0.0)]), PHOTOGRAPH)
    top, bottom = (np.ptp(columns[rows == row]) for row in (rows.min() + 1, rows.max() - 1))
    assert top > bottom


@pytest.mark.parametrize("count", [1, 4, 6])
def test_views_and_their_trust(tmp_path: Path, count: int) -> None:
    image = np.full((36, 48, 3), 0.7, np.float32)
    weight = np.zeros((36, 48), np.float32)
    weight[:, :24] = 1
    pseudo = [at(0.1 * n, 0.0) for n in range(10)]
    save_pseudo_views(tmp_path / "p.png", [at(0, 0), at(1, 0)], pseudo, [WarpedView(n, image, weight)
                                                                       for n in range(count)])
    with Image.open(tmp_path / "p.png") as page:
        pixels = np.asarray(page).astype(int)
    first = pixels[60:200, PLAN_PX + 20:PLAN_PX + 270]
    assert (np.abs(first - round(0.7 * 255)).max(axis=-1) <= 1).mean() > 0.4
    assert (np.abs(first - np.round(np.array(UNKNOWN) * 255)).max(axis=-1) <= 1).mean() > 0.4


def test_cameras_all_around_still_have_a_plan() -> None:
    ring = [Camera(K, look_at(c := np.array([np.cos(a), np.sin(a), 0.0]), 0 * c, UP), 48, 36)
            for a in np.linspace(0, 2 * np.pi, 6, endpoint=False)]
    rows, columns = rows_and_columns(_plan(ring, ring), PHOTOGRAPH)
    assert np.ptp(rows) > PLAN_PX / 2 and np.ptp(columns) > PLAN_PX / 2
    _plan([Camera(K, look_at(np.zeros(3), -UP, np.array([0, 1.0, 0])), 48, 36)], ring)
