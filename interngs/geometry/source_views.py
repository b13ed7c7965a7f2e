# SPDX-License-Identifier: GPL-3.0-or-later
"""Which other views each view is matched against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from .depth_range import DepthRange

MIN_OVERLAP = 0.08
GRID = 12
INVERSE_DEPTHS = 5
GOOD_ANGLE_DEG = 7.0


def choose_sources(index: int, cameras: list[Camera], depth_range: DepthRange, limit: int) -> list[int]:
    """At most ``limit`` source views for view ``index``, best first; empty when no view overlaps it."""
    points = _probe_points(cameras[index], depth_range)
    scores = {other: _score(cameras[index], cameras[other], points)
              for other in range(len(cameras)) if other != index}
    ranked = sorted(scores, key=lambda other: (-scores[other], other))
    return [other for other in ranked if scores[other] > 0][:limit]


def _probe_points(camera: Camera, depth_range: DepthRange) -> NDArray[np.float64]:
    """[N, 3] world points spread over the view's frustum, evenly in inverse depth."""
    u = (np.arange(GRID) + 0.5) / GRID
    pixels = np.stack([*np.meshgrid(u * camera.width_px, u * camera.height_px), np.ones((GRID, GRID))], -1)
    rays = pixels.reshape(-1, 3) @ np.linalg.inv(camera.K).T
    # The middle of the range: its ends are margins that may hold nothing.
    inverse = np.linspace(1 / depth_range.far, 1 / depth_range.near, INVERSE_DEPTHS + 2)[1:-1]
    in_camera = (rays[None] / inverse[:, None, None]).reshape(-1, 3)
    world_from_camera = camera.world_from_camera
    return in_camera @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]


def _score(camera: Camera, other: Camera, points: NDArray[np.float64]) -> float:
    """Share of the probe points that the other view sees, each weighted by its triangulation angle."""
    pixels, z = other.project(points)
    inside = (z > 0) & (pixels >= 0).all(axis=1) & (pixels < (other.width_px, other.height_px)).all(axis=1)
    if inside.mean() < MIN_OVERLAP:
        return 0.0
    a, b = points - camera.centre, points - other.centre
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    # Narrow angles measure depth badly, wide ones look at other sides of things.
    weight = np.exp(-(np.log(np.maximum(angle, 0.05) / GOOD_ANGLE_DEG) ** 2) / (2 * 0.9**2))
    return float((inside * weight).mean())
