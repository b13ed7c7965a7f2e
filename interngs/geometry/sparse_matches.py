# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse points from posed photographs: SIFT matched along epipolar lines and triangulated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from ..scene.capture import View

MAX_FEATURES = 3000
EPIPOLAR_TOLERANCE_PX = 1.5
RATIO = 0.85
MIN_SIMILARITY = 0.75
MIN_ANGLE_DEG = 0.4
NEIGHBOURS = 8
SUPPORTERS = 2


@dataclass(frozen=True, eq=False)
class SparseMatches:
    """Triangulated matches between two views.

    Attributes:
        first, second: indices of the views.
        points: [N, 3] float64 world points.
    """

    first: int
    second: int
    points: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Features:
    pixels: NDArray[np.float64]
    descriptors: NDArray[np.float32]


def match_capture(views: list[View], pairs: Sequence[tuple[int, int]] | None = None) -> list[SparseMatches]:
    """Match pairs of posed views (first < second; by default all); pairs without any point are left out."""
    cameras = [view.posed_camera for view in views]
    features = [_detect(view) for view in views]
    matches = []
    for i, j in itertools.combinations(range(len(views)), 2) if pairs is None else pairs:
        points = _match_pair(cameras[i], cameras[j], features[i], features[j])
        if len(points):
            matches.append(SparseMatches(i, j, points))
    return matches


def _detect(view: View) -> _Features:
    """SIFT (Lowe 2004) with Hellinger-normalised descriptors (Arandjelovic and Zisserman 2012)."""
    grey = cv2.cvtColor(np.round(view.image * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    mask = None if view.mask is None else (view.mask > 0.5).astype(np.uint8)
    sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, contrastThreshold=0.015)
    keypoints, descriptors = sift.detectAndCompute(grey, mask)
    if descriptors is None:
        return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    # SIFT counts from the centre of the top-left pixel, cameras from its corner.
    return _Features(np.array([k.pt for k in keypoints]) + 0.5, root.astype(np.float32))


def fundamental_matrix(first: Camera, second: Camera) -> NDArray[np.float64]:
    """[3, 3] F with ``x_second^T F x_first = 0`` in pixels (Hartley and Zisserman, section 9.2)."""
    second_from_first = second.camera_from_world @ first.world_from_camera
    x, y, z = second_from_first[:3, 3]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.linalg.inv(second.K).T @ cross @ second_from_first[:3, :3] @ np.linalg.inv(first.K)


def _epipolar_distances(F: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[Na, Nb] larger one of the two point-to-epipolar-line distances, pixels."""
    a_h = np.concatenate([a, np.ones((len(a), 1))], axis=1)
    b_h = np.concatenate([b, np.ones((len(b), 1))], axis=1)
    lines_b, lines_a = a_h @ F.T, b_h @ F
    residual = np.abs(lines_b @ b_h.T)
    norm_b = np.maximum(np.linalg.norm(lines_b[:, :2], axis=1), 1e-12)
    norm_a = np.maximum(np.linalg.norm(lines_a[:, :2], axis=1), 1e-12)
    return residual / np.minimum(norm_b[:, None], norm_a[None, :])


def _match_pair(camera_a: Camera, camera_b: Camera, a: _Features, b: _Features) -> NDArray[np.float64]:
    """[N, 3] world points of the mutual, distinctive matches that obey the poses."""
    if len(a.pixels) < 2 or len(b.pixels) < 2 or np.linalg.norm(camera_a.centre - camera_b.centre) < 1e-12:
        return np.zeros((0, 3))
    tolerance_px = EPIPOLAR_TOLERANCE_PX * max(camera_a.width_px, camera_a.height_px) / 500
    distances = _epipolar_distances(fundamental_matrix(camera_a, camera_b), a.pixels, b.pixels)
    similarity = np.where(distances < tolerance_px, a.descriptors @ b.descriptors.T, -1.0)
    best = similarity.argmax(axis=1)
    rows = np.arange(len(best))
    score = similarity[rows, best]
    mutual = similarity.argmax(axis=0)[best] == rows
    # The second best must lie elsewhere: SIFT repeats a point once per orientation.
    away = np.linalg.norm(b.pixels[None, :, :] - b.pixels[best][:, None, :], axis=2) > 4.0
    second = np.where(away, similarity, -1.0).max(axis=1)
    distinct = np.sqrt(np.maximum(2 - 2 * score, 0)) < RATIO * np.sqrt(np.maximum(2 - 2 * second, 1e-9))
    chosen = np.flatnonzero(mutual & distinct & (score > MIN_SIMILARITY))
    return _triangulate(camera_a, camera_b, a.pixels[chosen], b.pixels[best[chosen]], tolerance_px)


def _triangulate(camera_a: Camera, camera_b: Camera, pixels_a: NDArray[np.float64], pixels_b: NDArray[np.float64],
                 tolerance_px: float) -> NDArray[np.float64]:
    """Linear triangulation; points behind a camera, at a tiny angle or without supporters are dropped."""
    if len(pixels_a) == 0:
        return np.zeros((0, 3))
    projections = [camera.K @ camera.camera_from_world[:3] for camera in (camera_a, camera_b)]
    homogeneous = cv2.triangulatePoints(projections[0], projections[1], pixels_a.T, pixels_b.T).T
    points = homogeneous[:, :3] / np.where(np.abs(homogeneous[:, 3:]) < 1e-15, 1e-15, homogeneous[:, 3:])
    good = np.isfinite(points).all(axis=1)
    inverse_depths = []
    for camera, pixels in ((camera_a, pixels_a), (camera_b, pixels_b)):
        projected, z = camera.project(points)
        good &= (z > 0) & (np.linalg.norm(projected - pixels, axis=1) < 2 * tolerance_px)
        inverse_depths.append(1 / np.maximum(z, 1e-12))
    rays_a, rays_b = points - camera_a.centre, points - camera_b.centre
    cosine = (rays_a * rays_b).sum(1) / np.maximum(np.linalg.norm(rays_a, axis=1) * np.linalg.norm(rays_b, axis=1),
                                                   1e-12)
    good &= np.degrees(np.arccos(np.clip(cosine, -1, 1))) > MIN_ANGLE_DEG
    kept = np.flatnonzero(good)
    return points[kept[_supported(pixels_a[kept], inverse_depths[0][kept])]]


def _supported(pixels: NDArray[np.float64], inverse_depth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Matches with at least two among their eight neighbours in the image at a like inverse depth.

    A wrong match that happens to lie on the epipolar line stands alone in depth.
    """
    if len(pixels) <= SUPPORTERS:
        return np.ones(len(pixels), bool)
    apart = np.linalg.norm(pixels[:, None] - pixels[None], axis=2)
    apart[apart < 1e-6] = np.inf
    neighbours = np.argsort(apart, axis=1)[:, :NEIGHBOURS]
    spread = np.abs(inverse_depth[neighbours] / inverse_depth[:, None] - 1)
    return np.asarray((spread < 0.1).sum(axis=1) >= SUPPORTERS)
