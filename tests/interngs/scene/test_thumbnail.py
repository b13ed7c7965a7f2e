# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails: close to what the renderer gives, whole in the picture, fast."""

from __future__ import annotations

import time

import numpy as np
import torch

from interngs.render.view import ViewRenderer
from interngs.scene.gaussians import Gaussians
from interngs.scene.thumbnail import good_viewpoint, render_thumbnail


def ball(n: int, degree: int = 2, size: float = -3.2) -> Gaussians:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(n, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    quats = rng.normal(size=(n, 4))
    sh = rng.normal(0, 0.1, (n, (degree + 1) ** 2, 3))
    sh[:, 0] = 2 * means
    return Gaussians(*(a.astype(np.float32) for a in (
        means * [1, 2, 0.7] + [10, 0, 3], quats / np.linalg.norm(quats, axis=1, keepdims=True),
        rng.normal(size, 0.3, (n, 3)), rng.normal(2, 1, n), sh)))


def test_it_looks_as_the_renderers_picture() -> None:
    g = ball(6000)
    camera = good_viewpoint(g.means, 96)
    picture = render_thumbnail(g, camera)
    truth = ViewRenderer(g, torch.device("cpu")).render(camera)
    assert np.abs(picture[..., 3] - truth.alpha).mean() < 0.001
    assert np.abs(picture[..., :3] * picture[..., 3:] - truth.rgb).mean() < 0.001
    assert picture.min() >= 0 and picture.max() <= 1


def test_the_whole_splat_is_in_the_picture() -> None:
    g = ball(3000)
    alpha = render_thumbnail(g, good_viewpoint(g.means, 64))[..., 3]
    assert alpha.mean() > 0.15
    assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) < 0.1


def test_large_splats_take_seconds() -> None:
    g = ball(400_000, 3, -6)
    start = time.process_time()
    picture = render_thumbnail(g, good_viewpoint(g.means, 256))
    assert time.process_time() - start < 20
    assert picture[..., 3].max() > 0.8


def test_nothing_to_see() -> None:
    for g in (ball(0), ball(5)):
        camera = good_viewpoint(np.zeros((3, 3)), 16)
        assert render_thumbnail(g.select(np.zeros(len(g), bool)), camera).max() == 0
