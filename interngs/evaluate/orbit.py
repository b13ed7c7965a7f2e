# SPDX-License-Identifier: GPL-3.0-or-later
"""A closed camera path that stays where the photographs were taken and looks at what they show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera, look_at

REACH = 0.6
"""Size of the loop relative to the spread of the cameras: inside what the photographs support."""


def orbit_cameras(cameras: list[Camera], frames: int, width_px: int, height_px: int) -> list[Camera]:
    """``frames`` cameras on an ellipse through the middle of ``cameras``, all aimed at their common focus.

    The ellipse lies along the two directions in which the camera centres spread most; a lone camera
    gets a small circle.  Intrinsics are the first camera's, resized to ``width_px`` x ``height_px``.
    """
    centres = np.stack([camera.centre for camera in cameras])
    focus = common_focus(cameras)
    middle = centres.mean(axis=0)
    axes, radii = _spread(centres, cameras[0], float(np.linalg.norm(focus - middle)))
    up = -np.mean([camera.camera_from_world[1, :3] for camera in cameras], axis=0)
    first = cameras[0].resized(width_px, height_px)
    result = []
    for angle in np.linspace(0, 2 * np.pi, frames, endpoint=False):
        centre = middle + REACH * (np.cos(angle) * radii[0] * axes[0] + np.sin(angle) * radii[1] * axes[1])
        result.append(Camera(first.K, look_at(centre, focus, up), width_px, height_px))
    return result


def common_focus(cameras: list[Camera]) -> NDArray[np.float64]:
    """[3] the point nearest to all viewing axes, in front of the cameras; for near-parallel axes one far along them."""
    centres = np.stack([camera.centre for camera in cameras])
    directions = np.stack([camera.forward for camera in cameras])
    spread = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())
    projectors = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    # A weak pull towards a point ahead keeps the system solvable when the axes are parallel.
    ahead = centres.mean(axis=0) + directions.mean(axis=0) * max(3 * spread, 1e-6)
    pull = 1e-2
    focus = np.linalg.solve(projectors.sum(axis=0) + pull * np.eye(3),
                            np.einsum("nij,nj->i", projectors, centres) + pull * ahead)
    in_front = ((focus - centres) * directions).sum(axis=1).mean()
    return focus if in_front > 0.1 * spread else ahead


def _spread(centres: NDArray[np.float64], camera: Camera, distance: float) -> tuple[NDArray[np.float64], list[float]]:
    """The two main directions [2, 3] of the camera centres and how far they reach."""
    if len(centres) < 2:
        return camera.camera_from_world[:2, :3], [0.05 * distance, 0.03 * distance]
    _, lengths, axes = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=True)
    scale = np.sqrt(2.0 / len(centres))
    first = float(lengths[0]) * scale
    second = max(float(lengths[1]) * scale if len(lengths) > 1 else 0.0, 0.15 * first)
    return axes[:2], [first, second]
