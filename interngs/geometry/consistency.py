# SPDX-License-Identifier: GPL-3.0-or-later
"""Which depths the other views confirm, contradict or cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        confirmed: [H, W] uint8 number of views whose own depth agrees.
        contradicted: [H, W] uint8 number of views that see through the point to something behind it.
        fused: [H, W] float32 mean z-depth of the point and of the points that confirm it.
    """

    confirmed: NDArray[np.uint8]
    contradicted: NDArray[np.uint8]
    fused: NDArray[np.float32]


def check_views(cameras: list[Camera], depths: list[NDArray[np.float32]], others: Sequence[Sequence[int]] | None = None,
                tolerance: float = RELATIVE_TOLERANCE) -> list[Agreement]:
    """:func:`check_view` of every view, without what free space refutes.

    A match between two views of a repeating pattern confirms itself.  A third view that looks through it onto a
    surface of its own, itself confirmed, knows better: a depth must have more witnesses for it than against it.

    Args:
        others: for each view those that it is held against; by default all.
    """
    if others is None:
        others = [[k for k in range(len(cameras)) if k != index] for index in range(len(cameras))]
    first = [check_view(index, cameras, depths, tolerance, others[index]) for index in range(len(cameras))]
    result = []
    for index, found in enumerate(first):
        surfaces = {k: np.where(first[k].confirmed > 0, depths[k], np.float32(0)) for k in others[index]}
        against = check_view(index, cameras, surfaces | {index: depths[index]}, tolerance, others[index]).contradicted
        refuted = against >= np.maximum(found.confirmed, 1)
        result.append(Agreement(np.where(refuted, 0, found.confirmed).astype(np.uint8), against, found.fused))
    return result


def check_view(index: int, cameras: list[Camera],
               depths: Sequence[NDArray[np.float32]] | Mapping[int, NDArray[np.float32]],
               tolerance: float = RELATIVE_TOLERANCE, others: Sequence[int] | None = None) -> Agreement:
    """Hold the depth of one view against those of other views.

    Args:
        depths: [H, W] float32 z-depth maps by number of the view, 0 where unknown.
        others: numbers of at most 255 other views; by default all.
        tolerance: relative depth difference up to which two depths agree.
    """
    depth = depths[index]
    known = depth > 0
    points = cameras[index].unproject(depth).reshape(-1, 3)
    confirmed, contradicted = np.zeros(depth.shape, np.uint8), np.zeros(depth.shape, np.uint8)
    total, weight = depth.astype(np.float64), np.ones(depth.shape)
    for other in [k for k in range(len(cameras)) if k != index] if others is None else others:
        pixels, z = cameras[other].project(points)
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
