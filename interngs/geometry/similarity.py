# SPDX-License-Identifier: GPL-3.0-or-later
"""Similarity transforms: scale, rotation, translation between two sets of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Similarity:
    """``y = scale * rotation @ x + translation``."""

    scale: float
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def apply(self, points: FloatArray) -> NDArray[np.float64]:
        """Transform points [..., 3]."""
        return self.scale * (points @ self.rotation.T) + self.translation

    def apply_to_pose(self, world_from_camera: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rigid pose [4, 4] of a camera after its world was transformed."""
        pose = np.eye(4)
        pose[:3, :3] = self.rotation @ world_from_camera[:3, :3]
        pose[:3, 3] = self.apply(world_from_camera[:3, 3])
        return pose


def inverse_rigid(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a rigid [4, 4] pose."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def fit_similarity(source: FloatArray, target: FloatArray, weights: FloatArray | None = None) -> Similarity:
    """Least-squares similarity from ``source`` [N, 3] to ``target`` [N, 3], weighted by [N].

    Umeyama, Least-squares estimation of transformation parameters between two point patterns
    (PAMI 1991), eqs. 40-42, with weights.
    """
    x, y = source.astype(np.float64), target.astype(np.float64)
    weight = np.ones(len(x)) if weights is None else weights.astype(np.float64)
    weight = weight / weight.sum()
    mean_x, mean_y = weight @ x, weight @ y
    centred_x, centred_y = x - mean_x, y - mean_y
    covariance = (centred_y * weight[:, None]).T @ centred_x
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    variance = float(weight @ (centred_x**2).sum(axis=1))
    scale = float((singular * signs).sum() / max(variance, 1e-300))
    return Similarity(scale, rotation, mean_y - scale * rotation @ mean_x)


def fit_camera_similarity(
    source: list[NDArray[np.float64]], target: list[NDArray[np.float64]]
) -> Similarity:
    """Similarity that takes camera poses ``source`` (each [4, 4] world_from_camera) to ``target``.

    Centres alone leave the turn about their line open (two cameras, cameras in a row), so each
    camera adds a point ahead of it and one above it, at the cameras' own spread as distance.
    """
    def markers(poses: list[NDArray[np.float64]], reach: float) -> NDArray[np.float64]:
        return np.concatenate([
            np.stack([pose[:3, 3], pose[:3, 3] + reach * pose[:3, 2], pose[:3, 3] - reach * pose[:3, 1]])
            for pose in poses])

    def spread(poses: list[NDArray[np.float64]]) -> float:
        centres = np.stack([pose[:3, 3] for pose in poses])
        return float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean())

    reach_source, reach_target = max(spread(source), 1e-9), max(spread(target), 1e-9)
    return fit_similarity(markers(source, reach_source), markers(target, reach_target))


def rotation_angle_deg(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Angle in degrees between two rotation matrices [3, 3]."""
    # The chord is exact for small angles, where the arc cosine of the trace loses all digits.
    chord = np.linalg.norm(first - second) / np.sqrt(8.0)
    return float(np.degrees(2 * np.arcsin(min(1.0, float(chord)))))


def direction_angle_deg(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Angle in degrees between two vectors [3]; 0 when one of them is zero."""
    cross = np.linalg.norm(np.cross(first, second))
    return float(np.degrees(np.arctan2(cross, float(first @ second))))
