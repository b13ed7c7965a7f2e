# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands an estimated scene upright, at a stated size, around the world's origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from .similarity import Similarity, inverse_rigid

MEDIAN_DEPTH = 4.0
"""World units from a camera to the median of what it sees: a scene of room size in Blender."""
LEVEL_SPREAD = 0.15
"""Smallest spread of the cameras' sideways axes that tells the vertical from them."""
MAX_DISAGREEMENT_DEG = 35.0
"""How far the vertical found from sideways axes may stand off the cameras' mean up."""


@dataclass(frozen=True, eq=False)
class WorldFrame:
    """The chosen frame: what takes the old world into it, and how it was found (JSON-ready)."""

    new_from_old: Similarity
    description: dict[str, Any]

    def apply_to_camera(self, camera: Camera) -> Camera:
        """The same camera in the new world."""
        pose = self.new_from_old.apply_to_pose(camera.world_from_camera)
        return replace(camera, camera_from_world=inverse_rigid(pose))


def choose_world_frame(cameras: Sequence[Camera], points: NDArray[np.floating], median_depth: float) -> WorldFrame:
    """An upright frame for estimated cameras: +Z up, the cameras' mean view along +Y, origin in the scene.

    Up: people hold cameras level, so the vertical is square to all sideways axes.  Where these point
    in too few directions to tell (cameras side by side), it is the mean of the cameras' own up.
    Scale: ``median_depth``, the median z-depth of what the cameras see, becomes ``MEDIAN_DEPTH``.
    Origin: the median of ``points`` [N, 3].
    """
    up, how = _up_axis(cameras)
    forward = np.mean([camera.forward for camera in cameras], axis=0)
    forward = forward - (forward @ up) * up
    if np.linalg.norm(forward) < 0.05:
        # Cameras all around, or looking straight down: the first camera's own axes decide.
        first = cameras[0].camera_from_world
        forward = first[2, :3] - (first[2, :3] @ up) * up
        if np.linalg.norm(forward) < 0.05:
            forward = -first[1, :3] + (first[1, :3] @ up) * up
    forward /= np.linalg.norm(forward)
    rotation = np.stack([np.cross(forward, up), forward, up])
    scale = MEDIAN_DEPTH / median_depth
    origin = np.median(points, axis=0)
    return WorldFrame(
        Similarity(float(scale), rotation, -scale * rotation @ origin),
        {
            "up_axis": "+Z", "up_from": how, "front": "the cameras' mean view runs along +Y",
            "scale": f"the median depth of what the cameras see is {MEDIAN_DEPTH:g} world units",
            "origin": "the median of the scene's points",
        })


def _up_axis(cameras: Sequence[Camera]) -> tuple[NDArray[np.float64], str]:
    ups = np.stack([-camera.camera_from_world[1, :3] for camera in cameras])
    mean_up = ups.mean(axis=0)
    if np.linalg.norm(mean_up) < 1e-3:
        mean_up = ups[0]
    mean_up /= np.linalg.norm(mean_up)
    sideways = np.stack([camera.camera_from_world[0, :3] for camera in cameras])
    _, spread, axes = np.linalg.svd(sideways / np.sqrt(len(sideways)), full_matrices=True)
    vertical = axes[2] * np.sign(axes[2] @ mean_up or 1.0)
    agrees = vertical @ mean_up >= np.cos(np.radians(MAX_DISAGREEMENT_DEG))
    least = spread[2] if len(spread) > 2 else 0.0
    if len(spread) > 1 and spread[1] > LEVEL_SPREAD and least < 0.5 * spread[1] and agrees:
        return vertical, "cameras held level: square to their sideways axes"
    return mean_up, "the mean of the cameras' up directions"
