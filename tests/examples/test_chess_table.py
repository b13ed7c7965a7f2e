# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped example: small, complete, and its cameras agree with its pictures to a fraction of a pixel."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.images.load import load_capture
from interngs.scene.capture import Capture

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chess_table"


@pytest.fixture(scope="module")
def capture() -> Capture:
    return load_capture(find_capture(EXAMPLE), list(range(12)), None)


def test_it_is_small_and_says_its_licence() -> None:
    assert sum(file.stat().st_size for file in EXAMPLE.rglob("*") if file.is_file()) < 3_000_000
    assert "CC0" in (EXAMPLE / "SOURCE.md").read_text("utf-8")


def test_twelve_posed_pictures(capture: Capture) -> None:
    assert len(capture.views) == 12
    for view in capture.views:
        assert view.image.shape == (378, 504, 3)
        assert 0.15 < view.image.mean() < 0.6 and (view.image >= 1.0).all(axis=-1).mean() < 0.01
        assert view.posed_camera.K[0, 2] == 252.0 and view.posed_camera.K[1, 2] == 189.0


def test_cameras_agree_with_the_pictures(capture: Capture) -> None:
    """Corners of the chessboard, found in the pixels, lie where the cameras project them."""
    corners = np.array(json.loads((EXAMPLE / "landmarks.json").read_text("utf-8"))["chessboard_corners"])
    everywhere = []
    for view in capture.views:
        grey = np.round(view.image.mean(axis=-1) * 255).astype(np.uint8)
        projected, _ = view.posed_camera.project(corners)
        start = (projected - 0.5).astype(np.float32)[:, None]      # OpenCV: pixel centres at whole numbers
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 0.001)
        offsets = (cv2.cornerSubPix(grey, start.copy(), (4, 4), (-1, -1), criteria) - start)[:, 0]
        distance = np.linalg.norm(offsets, axis=1)
        free = (distance > 0) & (distance < 1.0)                   # behind a piece no corner is found
        assert free.sum() >= 20, view.name
        assert np.abs(np.median(offsets[free], axis=0)).max() < 0.12, view.name
        everywhere.append(offsets[free])
    assert np.abs(np.concatenate(everywhere).mean(axis=0)).max() < 0.06


@pytest.mark.parametrize("n_views", [3, 6, 9])
def test_splits(n_views: int) -> None:
    split = find_split(EXAMPLE, n_views)
    assert len(split.train) == n_views and split.held_out == (2, 6, 10)
    assert "every 4th" in split.rule


def test_three_training_views_stand_ten_to_fifteen_degrees_apart(capture: Capture) -> None:
    directions = [capture.views[index].posed_camera.forward for index in find_split(EXAMPLE, 3).train]
    for a, b in itertools.pairwise(directions):
        assert 9.0 < np.degrees(np.arccos(a @ b)) < 15.5
