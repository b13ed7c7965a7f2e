# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth given by the capture: kept, masked, checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.geometry.given_depth import CERTAIN, UNCHECKED, GivenDepth
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View

WIDTH, HEIGHT = 60, 40


def capture() -> Capture:
    K = np.array([[60.0, 0, WIDTH / 2], [0, 60.0, HEIGHT / 2], [0, 0, 1]])
    views = []
    for index in range(3):
        pose = np.eye(4)
        pose[0, 3] = -0.4 * index
        views.append(View(f"v{index}", np.zeros((HEIGHT, WIDTH, 3), np.float32), Camera(K, pose, WIDTH, HEIGHT),
                          depth=np.full((HEIGHT, WIDTH), 5.0, np.float32)))
    return Capture(tuple(views))


def changed(index: int, **changes) -> Capture:
    whole = capture()
    views = list(whole.views)
    views[index] = replace(views[index], **changes)
    return replace(whole, views=tuple(views))


def estimate(of: Capture):
    return GivenDepth().estimate(of, lambda done, total: None)


def test_exact_depth_is_kept_and_certain() -> None:
    geometry = estimate(capture())
    assert geometry.method == "given-depth" and not geometry.warnings
    for view in geometry.views:
        assert (view.depth == 5.0).all() and (view.confidence >= 10).all()
    # The other cameras stand to the right: nobody else sees the first view's leftmost column.
    assert geometry.views[0].confidence[20, 0] == UNCHECKED and geometry.views[0].confidence[20, 30] == CERTAIN
    assert geometry.report["known_share"] == 1.0


def test_mask_and_unknown_pixels_have_no_depth() -> None:
    mask = np.ones((HEIGHT, WIDTH), np.float32)
    mask[:10] = 0.0
    depth = np.full((HEIGHT, WIDTH), 5.0, np.float32)
    depth[-5:] = [[np.nan], [np.inf], [0.0], [-1.0], [0.0]]
    view = estimate(changed(1, mask=mask, depth=depth)).views[1]
    assert (view.depth[:10] == 0).all() and (view.depth[-5:] == 0).all() and (view.depth[10:-5] == 5).all()
    assert ((view.confidence > 0) == (view.depth > 0)).all()


def test_depth_that_others_see_through_loses_confidence() -> None:
    depth = np.full((HEIGHT, WIDTH), 5.0, np.float32)
    depth[15:25, 25:35] = 2.0
    geometry = estimate(changed(1, depth=depth))
    assert (geometry.views[1].confidence[16:24, 26:34] == 0).all()
    assert (geometry.views[1].depth[16:24, 26:34] == 2.0).all()


def test_a_view_in_another_unit_is_named() -> None:
    geometry = estimate(changed(2, depth=np.full((HEIGHT, WIDTH), 0.5, np.float32)))
    assert any("'v2'" in warning for warning in geometry.warnings)


@pytest.mark.parametrize(("changes", "code"), [
    ({"depth": None}, "depth-missing"), ({"camera": None}, "depth-missing"),
    ({"depth": np.ones((3, 4), np.float32)}, "depth-size")])
def test_bad_input_is_refused(changes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        estimate(changed(0, **changes))
    assert caught.value.code == code


def test_depth_without_a_known_pixel_is_refused() -> None:
    empty = capture()
    empty = replace(empty, views=tuple(replace(view, depth=np.zeros((HEIGHT, WIDTH), np.float32))
                                       for view in empty.views))
    with pytest.raises(InputError) as caught:
        estimate(empty)
    assert caught.value.code == "depth-empty"
