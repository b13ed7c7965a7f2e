# SPDX-License-Identifier: GPL-3.0-or-later
"""The pose of a view whose pixels' points are known (perspective-n-point with outliers)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..similarity import inverse_rigid
from .pointmaps import FloatArray, pixel_centres

MIN_POINTS = 6
REPROJECTION_ERROR_PX = 5.0
RANSAC_ITERATIONS = 100
REFINEMENT_ROUNDS = 3
INLIER_MEDIANS = 3.0
MAX_POINTS = 20_000
FOCAL_RANGE = (0.5, 3.0)
"""Focal lengths tried, over the longer side: fields of view from 90 to 19 degrees."""
FOCAL_CANDIDATES = 13
FOCAL_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class PointsPose:
    """A pose found from points.

    Attributes:
        camera_from_points: [4, 4] rigid.
        inlier_share: share of the points that fit it.
        median_error_px: median reprojection distance over all points.
    """

    camera_from_points: NDArray[np.float64]
    inlier_share: float
    median_error_px: float

    @property
    def points_from_camera(self) -> NDArray[np.float64]:
        """[4, 4] inverse of ``camera_from_points``."""
        return inverse_rigid(self.camera_from_points)


def pose_from_points(points: FloatArray, usable: NDArray[np.bool_], K: NDArray[np.float64]) -> PointsPose | None:
    """Pose of a view from the points [H, W, 3] of its pixels, or ``None`` when none is found.

    RANSAC over the pixels in ``usable`` [H, W], then a least-squares refinement on the inliers.

    Args:
        K: [3, 3] intrinsics in pixels, the origin at the image corner.
    """
    height, width = usable.shape
    chosen = np.flatnonzero(usable & np.isfinite(points).all(axis=-1))
    if len(chosen) < MIN_POINTS:
        return None
    if len(chosen) > MAX_POINTS:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MAX_POINTS).astype(int)]
    objects = points.reshape(-1, 3)[chosen].astype(np.float64)
    pixels = pixel_centres(height, width).reshape(-1, 2)[chosen]
    # The solver's thresholds and steps are absolute, so it is given points of unit spread.
    unit = float(np.median(np.linalg.norm(objects - np.median(objects, axis=0), axis=1)))
    if not unit > 0:
        return None
    objects = objects / unit
    cv2.setRNGSeed(0)
    try:
        found, turn, shift, inliers = cv2.solvePnPRansac(
            objects, pixels, K, None, iterationsCount=RANSAC_ITERATIONS, reprojectionError=REPROJECTION_ERROR_PX,
            flags=cv2.SOLVEPNP_SQPNP)
        if not found or inliers is None or len(inliers) < MIN_POINTS:
            return None
        kept = inliers[:, 0]
        for _ in range(REFINEMENT_ROUNDS):
            turn, shift = cv2.solvePnPRefineLM(objects[kept], pixels[kept], K, None, turn, shift)
            residual = np.linalg.norm(cv2.projectPoints(objects, turn, shift, K, None)[0][:, 0] - pixels, axis=1)
            limit = min(REPROJECTION_ERROR_PX, INLIER_MEDIANS * float(np.median(residual)))
            kept = np.flatnonzero(residual <= limit)
    except cv2.error:
        return None
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(turn)[0]
    pose[:3, 3] = shift[:, 0] * unit
    return PointsPose(pose, len(kept) / len(chosen), float(np.median(residual))) if np.isfinite(pose).all() else None


def focal_from_points(points: FloatArray, usable: NDArray[np.bool_], principal_point_px: FloatArray) -> float | None:
    """Focal length in pixels under which one pose fits the points best, ``None`` when none does.

    For views without a pointmap of their own, which would tell it directly.
    """
    long_side = max(usable.shape)
    low, high = FOCAL_RANGE[0] * long_side, FOCAL_RANGE[1] * long_side
    best = None
    for _ in range(FOCAL_ROUNDS):
        candidates = np.geomspace(low, high, FOCAL_CANDIDATES)
        poses = [pose_from_points(points, usable, intrinsics(focal, principal_point_px)) for focal in candidates]
        errors = [np.inf if pose is None else pose.median_error_px for pose in poses]
        index = int(np.argmin(errors))
        if not np.isfinite(errors[index]):
            return best
        best = float(candidates[index])
        low, high = candidates[max(index - 1, 0)], candidates[min(index + 1, FOCAL_CANDIDATES - 1)]
    return best


def intrinsics(focal_px: float, principal_point_px: FloatArray) -> NDArray[np.float64]:
    """[3, 3] ``K`` of square pixels."""
    K = np.diag([focal_px, focal_px, 1.0])
    K[:2, 2] = principal_point_px
    return K
