# SPDX-License-Identifier: GPL-3.0-or-later
"""The planes of a sweep: their spacing in inverse depth and the homographies they induce."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from .depth_range import DepthRange

FEWEST_PLANES = 24

_GRID = 8
_SAMPLES = 64


def plane_homography(reference: Camera, source: Camera, inverse_depth: float) -> NDArray[np.float64]:
    """[3, 3] map from reference to source pixels, both counted from the centre of the top-left pixel (as OpenCV's
    warps do), for the plane z = 1 / ``inverse_depth`` of the reference.

    Scaled so that the third coordinate is (depth in the source) / (depth in the reference).
    """
    source_from_reference = source.camera_from_world @ reference.world_from_camera
    plane = np.outer(source_from_reference[:3, 3], [0.0, 0.0, inverse_depth])
    return np.asarray(_centred(source.K) @ (source_from_reference[:3, :3] + plane)
                      @ np.linalg.inv(_centred(reference.K)))


def choose_planes(reference: Camera, sources: list[Camera], depth_range: DepthRange, step_px: float,
                  most: int) -> NDArray[np.float64]:
    """[D] inverse depths, far to near, evenly spaced so that the widest source moves ``step_px`` per plane.

    ``most`` bounds their number, and so widens the step where a source is very far away.
    """
    low, high = 1 / depth_range.far, 1 / depth_range.near
    samples = np.linspace(low, high, _SAMPLES)
    moves = [_movement_px(reference, source, samples) for source in sources]
    planes = max(moves, default=0.0) / step_px
    return np.linspace(low, high, int(np.clip(np.ceil(planes) + 1, FEWEST_PLANES, most)))


def _movement_px(reference: Camera, source: Camera, inverse_depths: NDArray[np.float64]) -> float:
    """Median over the reference's pixels of the way they move in the source over all of ``inverse_depths``."""
    u = (np.arange(_GRID) + 0.5) / _GRID
    pixels = np.stack([*np.meshgrid(u * reference.width_px, u * reference.height_px), np.ones((_GRID, _GRID))], -1)
    pixels = pixels.reshape(-1, 3)
    tracks = np.full((len(inverse_depths), len(pixels), 2), np.nan)
    for row, inverse_depth in enumerate(inverse_depths):
        mapped = pixels @ plane_homography(reference, source, float(inverse_depth)).T
        seen = mapped[:, 2] > 0
        xy = mapped[:, :2] / np.where(seen, mapped[:, 2], 1.0)[:, None]
        seen &= (xy >= 0).all(axis=1) & (xy < (source.width_px, source.height_px)).all(axis=1)
        tracks[row, seen] = xy[seen]
    moves = np.linalg.norm(np.diff(tracks, axis=0), axis=2)
    moves = moves[np.isfinite(moves)]
    return float(np.median(moves)) * (len(inverse_depths) - 1) if len(moves) else 0.0


def _centred(K: NDArray[np.float64]) -> NDArray[np.float64]:
    """``K`` for pixel coordinates that count from the centre of the top-left pixel."""
    return np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ K
