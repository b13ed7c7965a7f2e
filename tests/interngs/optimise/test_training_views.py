# SPDX-License-Identifier: GPL-3.0-or-later
"""Training views are made when they are wanted, and no more of them are kept than fit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from interngs.optimise.training_views import TrainingViews

sys.path.insert(0, str(Path(__file__).parent))
import wall

CPU = torch.device("cpu")
VIEW_BYTES = 32 * 24 * (3 + 1 + 1) * 4


def test_small_captures_are_made_once():
    capture, geometry, _, _ = wall.parts(wall.config())
    views = TrainingViews(capture, geometry, CPU)
    first = [views[index] for index in range(len(views))]
    assert [views[index] for index in range(len(views))] == first
    np.testing.assert_array_equal(first[1].image.numpy(), capture.views[1].image)
    np.testing.assert_allclose(first[1].inverse_depth.numpy(), 1 / geometry.views[1].depth, rtol=1e-6)
    np.testing.assert_allclose(first[1].depth_weight.numpy(), 5 / 9, rtol=1e-6)     # confidence 6 of 1..10


def test_of_large_captures_the_last_views_are_kept_and_the_values_stay():
    capture, geometry, _, _ = wall.parts(wall.config())
    whole, views = TrainingViews(capture, geometry, CPU), TrainingViews(capture, geometry, CPU, 2 * VIEW_BYTES)
    seen = {}
    for index in (0, 1, 2, 0, 1, 3, 3, 2):
        views.expect((index + 1) % 4)
        view = views[index]
        assert len(views._ready) <= 2 and views._ready_bytes <= 2 * VIEW_BYTES
        assert torch.equal(view.image, whole[index].image)
        assert torch.equal(view.inverse_depth, whole[index].inverse_depth)
        seen.setdefault(index, view)
    assert views[0] is not seen[0]
