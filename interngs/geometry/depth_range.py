# SPDX-License-Identifier: GPL-3.0-or-later
"""The depth range that each view is searched over, found from the photographs and the poses alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from .sparse_matches import SparseMatches

MIN_POINTS = 12
NEAR_MARGIN = 1.25
FAR_MARGIN = 0.6
QUANTILES = (0.005, 0.995)


@dataclass(frozen=True)
class DepthRange:
    """Nearest and farthest z-depth (world units) worth searching in a view.

    ``points`` is the number of triangulated matches that it rests on, 0 for a guess from the rig.
    """

    near: float
    far: float
    points: int


def find_depth_ranges(cameras: list[Camera], matches: list[SparseMatches]) -> list[DepthRange]:
    """One range per view: its own triangulated matches, else all points in its frame, else the rig."""
    return [_range_of_view(index, cameras, matches) for index in range(len(cameras))]


def _range_of_view(index: int, cameras: list[Camera], matches: list[SparseMatches]) -> DepthRange:
    own = [m.points for m in matches if index in (m.first, m.second)]
    depths = _depths_in_frame(cameras[index], own)
    if len(depths) < MIN_POINTS:
        depths = _depths_in_frame(cameras[index], [m.points for m in matches])
    if len(depths) < MIN_POINTS:
        return range_of_rig(index, cameras)
    low, high = np.quantile(1 / depths, QUANTILES)
    return DepthRange(near=float(1 / (high * NEAR_MARGIN)), far=float(1 / (low * FAR_MARGIN)), points=len(depths))


def _depths_in_frame(camera: Camera, parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[N] z-depths of the points that fall into the camera's frame."""
    if not parts:
        return np.zeros(0)
    pixels, z = camera.project(np.concatenate(parts))
    inside = (z > 0) & (pixels >= 0).all(axis=1) & (pixels < (camera.width_px, camera.height_px)).all(axis=1)
    return z[inside]


def range_of_rig(index: int, cameras: list[Camera]) -> DepthRange:
    """A wide guess around the point that the cameras look at, or around a usual baseline-to-depth ratio."""
    camera = cameras[index]
    others = [other for k, other in enumerate(cameras) if k != index]
    baseline = float(np.median([np.linalg.norm(other.centre - camera.centre) for other in others]))
    # Least-squares point nearest to all optical axes.
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for other in cameras:
        across = np.eye(3) - np.outer(other.forward, other.forward)
        normal += across
        right += across @ other.centre
    depth = 0.0
    if np.linalg.cond(normal) < 1e3:
        depth = float(camera.project(np.asarray(np.linalg.solve(normal, right)[None], np.float64))[1][0])
    if depth <= baseline / 2:
        depth = 8 * baseline
    return DepthRange(near=depth / 4, far=depth * 8, points=0)
