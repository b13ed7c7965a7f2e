# SPDX-License-Identifier: GPL-3.0-or-later
"""A slanted wall before four cameras, for processes that train together."""

from __future__ import annotations

import numpy as np

from interngs.config import OptimiseConfig, PipelineConfig, SeedingConfig
from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.geometry.seeding import Seeds, select_seeds
from interngs.optimise.pseudo_views import PseudoView, prepare_pseudo_views
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View

SIZES = ((32, 24), (32, 24), (32, 24), (24, 32))
"""The last photograph stands upright."""


def config(steps: int = 12) -> PipelineConfig:
    """Settings with refined poses, and without dropout, which every rank draws for itself."""
    return PipelineConfig(seeding=SeedingConfig(initial_opacity=0.6), optimise=OptimiseConfig(
        steps=steps, pseudo_views=4, dropout=0.0, max_gaussians=100_000, warp_start=0.0, refine_poses=True,
        opacity_fade=0.1, preview_every_s=1e9, checkpoint_every_s=1e9))


def parts(settings: PipelineConfig) -> tuple[Capture, Geometry, Seeds, list[PseudoView]]:
    """What a trainer starts from."""
    views, shapes = [], []
    for x, (width, height) in zip((0.0, 0.3, 0.6, 0.9), SIZES, strict=True):
        pose = np.eye(4)
        pose[0, 3] = -x
        camera = Camera(np.array([[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1.0]]), pose, width, height)
        depth = (4.0 + 0.3 * x) / (1.0 - 0.3 * camera.pixel_rays()[..., 0])      # the plane z = 4 + 0.3 X
        points = camera.unproject(depth)
        colour = 0.5 + 0.2 * np.stack([np.sin(4 * points[..., 0]), np.cos(5 * points[..., 1]),
                                       np.sin(3 * points[..., 0] + 4 * points[..., 1])], axis=-1)
        views.append(View(f"wall{x}", colour.astype(np.float32), camera))
        shapes.append(ViewGeometry(camera, depth.astype(np.float32), np.full(depth.shape, 6.0, np.float32)))
    capture, geometry = Capture(tuple(views)), Geometry(tuple(shapes), "test")
    pseudo = prepare_pseudo_views(capture, geometry, settings.optimise.pseudo_views, settings.seed)
    return capture, geometry, select_seeds(capture, geometry, settings.seeding), pseudo
