# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras that stand around a thing: the circle they stand on, and cameras between them along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from ..scene.cameras import Camera

LEAST_SPAN = np.pi * 2 / 3
"""The cameras cover at least this angle (radians) of the circle; less is as well joined by straight lines."""
ROUND = 0.2
"""Distances from the circle and its plane, as a share of the radius, up to which the cameras are a ring."""
INWARD = 0.7
"""Least cosine between a camera's view and the way to the axis."""


@dataclass(frozen=True, eq=False)
class CameraRing:
    """A circle fitted to camera centres.

    Attributes:
        middle: [3] its centre in world units.
        axes: [3, 3] rows: two unit directions in its plane, and its normal.
    """

    middle: NDArray[np.float64]
    axes: NDArray[np.float64]

    def between(self, first: Camera, second: Camera, share: float) -> Camera:
        """The camera ``share`` (0..1) of the way along the ring, the shorter way round.

        Angle, distance from the axis and height are linear, the rotation goes along the great circle.
        A straight line would cut the corner and come nearer to the thing than any photograph did.
        """
        (angle, radius, height), (to_angle, to_radius, to_height) = (self._polar(c.centre) for c in (first, second))
        turn = (to_angle - angle + np.pi) % (2 * np.pi) - np.pi
        angle += share * turn
        radius += share * (to_radius - radius)
        height += share * (to_height - height)
        centre = self.middle + np.array([radius * np.cos(angle), radius * np.sin(angle), height]) @ self.axes
        rotation, K = blended_view(first, second, share)
        pose = np.eye(4)
        pose[:3, :3] = rotation
        pose[:3, 3] = -rotation @ centre
        return Camera(K, pose, first.width_px, first.height_px)

    def _polar(self, point: NDArray[np.float64]) -> tuple[float, float, float]:
        """Angle about the normal (radians), distance from it, height above the plane."""
        x, y, height = self.axes @ (point - self.middle)
        return float(np.arctan2(y, x)), float(np.hypot(x, y)), float(height)


def fit_ring(cameras: list[Camera]) -> CameraRing | None:
    """The ring that ``cameras`` stand on; ``None`` unless they stand around something and look at it.

    A plane through the centres by their smallest spread, then a circle in it by linear least squares
    (Kasa 1976).
    """
    if len(cameras) < 3:
        return None
    centres = np.stack([camera.centre for camera in cameras])
    mean = centres.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centres - mean)
    if lengths[1] < 1e-3 * lengths[0]:
        return None
    flat = (centres - mean) @ axes[:2].T
    design = np.column_stack([2 * flat, np.ones(len(flat))])
    x, y, rest = np.linalg.lstsq(design, (flat**2).sum(axis=1), rcond=None)[0]
    ring = CameraRing(mean + np.array([x, y]) @ axes[:2], axes)
    radius = float(np.sqrt(rest + x * x + y * y))
    polar = np.array([ring._polar(centre) for centre in centres])
    round_enough = np.abs(polar[:, 1] - radius).max() <= ROUND * radius and np.abs(polar[:, 2]).max() <= ROUND * radius
    return ring if round_enough and _span(polar[:, 0]) >= LEAST_SPAN and _look_inward(cameras, ring) else None


def blended_view(first: Camera, second: Camera, share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation [3, 3] (along the great circle) and K (linear, for pictures of one size) ``share`` of the way."""
    rotations = Rotation.from_matrix(np.stack([first.camera_from_world[:3, :3], second.camera_from_world[:3, :3]]))
    same_size = (first.width_px, first.height_px) == (second.width_px, second.height_px)
    K = (1 - share) * first.K + share * second.K if same_size else first.K
    return Slerp([0.0, 1.0], rotations)(share).as_matrix(), K


def _span(angles: NDArray[np.float64]) -> float:
    """The angle that is left when the largest gap is taken out of the circle."""
    ordered = np.sort(angles)
    gaps = np.diff(np.append(ordered, ordered[0] + 2 * np.pi))
    return float(2 * np.pi - gaps.max())


def _look_inward(cameras: list[Camera], ring: CameraRing) -> bool:
    """Whether every camera looks towards the axis; up and down do not matter."""
    for camera in cameras:
        view, way = (ring.axes[:2] @ vector for vector in (camera.forward, ring.middle - camera.centre))
        if view @ way < INWARD * np.linalg.norm(view) * np.linalg.norm(way):
            return False
    return True
