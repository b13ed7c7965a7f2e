# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the arbitrary world of a pose file so that its cameras stand upright in Blender (Z up); knows no bpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...interngs.scene.cameras import Camera


def rotation_between(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3, 3] the smallest rotation that takes unit vector ``start`` to ``end`` (Rodrigues' formula)."""
    axis, cosine = np.cross(start, end), float(start @ end)
    if cosine < -1.0 + 1e-9:
        other = np.eye(3)[int(np.argmin(np.abs(start)))]
        half_turn = np.cross(start, other)
        half_turn /= np.linalg.norm(half_turn)
        return 2.0 * np.outer(half_turn, half_turn) - np.eye(3)
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + cross + cross @ cross / (1.0 + cosine)


def upright_world(cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """[4, 4] rotation blender_from_world: the cameras' mean up direction to +Z; identity when they disagree."""
    up = -np.mean([camera.camera_from_world[1, :3] for camera in cameras], axis=0)
    length = float(np.linalg.norm(up))
    matrix = np.eye(4)
    if length > 0.1:
        matrix[:3, :3] = rotation_between(up / length, np.array([0.0, 0.0, 1.0]))
    return matrix
