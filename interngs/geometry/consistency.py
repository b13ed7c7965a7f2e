# SPDX-License-Identifier: GPL-3.0-or-later
"""Which depths the other views confirm, contradict or cannot see."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera

RELATIVE_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Agreement:
    """What the other views say about each depth of one view.

    Attributes:
        confirmed: [H, W] int32 number of views whose own depth agrees.
        contradicted: [H, W] int32 number of views that see through the point to something behind it.
        fused: [H, W] float32 mean z-depth of the point and of the points that confirm it.
    """

    confirmed: NDArray[np.int32]
    contradicted: NDArray[np.int32]
    fused: NDArray[np.float32]


def check_views(cameras: list[Camera], depths: list[NDArray[np.float32]],
                tolerance: float = RELATIVE_TOLERANCE) -> list[Agreement]:
    """:func:`check_view` of every view, without what free space refutes.

    A match between two views of a repeating pattern confirms itself.  A third view that looks through it onto a
    surface of its own, itself confirmed, knows better: a depth must have more witnesses for it than against it.
    """
    first = [check_view(index, cameras, depths, tolerance) for index in range(len(cameras))]
    surfaces = [np.where(found.confirmed > 0, depth, np.float32(0)) for found, depth in zip(first, depths, strict=True)]
    result = []
    for index, found in enumerate(first):
        others = [depths[k] if k == index else surface for k, surface in enumerate(surfaces)]
        against = check_view(index, cameras, others, tolerance).contradicted
        refuted = against >= np.maximum(found.confirmed, 1)
        result.append(Agreement(np.where(refuted, 0, found.confirmed), against, found.fused))
    return result


def check_view(index: int, cameras: list[Camera], depths: list[NDArray[np.float32]],
               tolerance: float = RELATIVE_TOLERANCE) -> Agreement:
    """Hold the depth of one view against those of all others.

    Args:
        depths: one [H, W] float32 z-depth map per camera, 0 where unknown.
        tolerance: relative depth difference up to which two depths agree.
    """
    depth = depths[index]
    known = depth > 0
    points = cameras[index].unproject(depth).reshape(-1, 3)
    confirmed, contradicted = np.zeros(depth.shape, np.int32), np.zeros(depth.shape, np.int32)
    total, weight = depth.astype(np.float64), np.ones(depth.shape)
    for other, camera in enumerate(cameras):
        if other == index:
            continue
        pixels, z = camera.project(points)
        z = z.reshape(depth.shape)
        sampled = sample_nearest(depths[other], pixels.reshape(*depth.shape, 2), z)
        seen = known & (sampled > 0)
        ratio = np.where(seen, z / np.maximum(sampled, 1e-12), 0.0)
        agrees = seen & (np.abs(ratio - 1) < tolerance)
        confirmed += agrees
        contradicted += seen & (ratio < 1 - 2 * tolerance)
        # The other view's depth, carried over along this view's ray.
        total += np.where(agrees, depth / np.where(agrees, ratio, 1.0), 0.0)
        weight += agrees
    return Agreement(confirmed, contradicted, np.where(known, total / weight, 0).astype(np.float32))


def sample_nearest(image: NDArray[np.float32], pixels: NDArray[np.float64],
                   z: NDArray[np.float64]) -> NDArray[np.float32]:
    """Nearest values of ``image`` at ``pixels`` [..., 2] (corner-based); 0 outside or where ``z`` <= 0."""
    maps = np.where((z > 0)[..., None], pixels - 0.5, -1e4).astype(np.float32)
    maps = np.clip(maps, -1e4, 3e4)
    return np.asarray(cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_NEAREST,
                                borderMode=cv2.BORDER_CONSTANT, borderValue=0.0))
