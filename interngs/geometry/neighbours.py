# SPDX-License-Identifier: GPL-3.0-or-later
"""Which views are compared with which in a large capture: the work is to grow with the views, not their square."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from .depth_range import DepthRange, range_of_rig
from .source_views import choose_sources

WITNESSES = 12
"""With so many other views or fewer every view is compared with every other; beyond, with so many that see the same."""
SAME_WAY = 0.5
"""Cosine of the angle between two views above which they look the same way."""


def witnesses(cameras: Sequence[Camera], ranges: Sequence[DepthRange], limit: int = WITNESSES) -> list[list[int]]:
    """For each view the others that may speak of it: all of them, or the ``limit`` that see most of the same."""
    count = len(cameras)
    if count <= limit + 1:
        return [[other for other in range(count) if other != view] for view in range(count)]
    return [sorted(choose_sources(view, list(cameras), ranges[view], limit)) for view in range(count)]


def witnesses_of_depths(cameras: Sequence[Camera], depths: Sequence[NDArray[np.floating]],
                        limit: int = WITNESSES) -> list[list[int]]:
    """``witnesses``, with the ranges that depth maps [H, W] span (0 where unknown)."""
    if len(cameras) <= limit + 1:
        return witnesses(cameras, [], limit)
    ranges = [_spanned(view, list(cameras), np.asarray(depth)) for view, depth in enumerate(depths)]
    return witnesses(cameras, ranges, limit)


def pairs_by_pose(cameras: Sequence[Camera], limit: int = WITNESSES) -> list[tuple[int, int]]:
    """Pairs (first < second) of views worth matching when nothing but the poses is known: all of a small capture.

    In a large one half of a view's partners see most of the same at a guessed depth, and half, in case the guess is far
    off (along a walk, say), stand nearest to it and look the same way.
    """
    if len(cameras) <= limit + 1:
        partners = witnesses(cameras, [], limit)
    else:
        ranges = [range_of_rig(view, list(cameras)) for view in range(len(cameras))]
        partners = [seen + _nearest(view, cameras, limit // 2)
                    for view, seen in enumerate(witnesses(cameras, ranges, limit // 2))]
    return sorted({(min(view, other), max(view, other)) for view, others in enumerate(partners) for other in others})


def _nearest(view: int, cameras: Sequence[Camera], limit: int) -> list[int]:
    """The ``limit`` nearest views that look the same way."""
    others = [other for other, camera in enumerate(cameras)
              if other != view and float(camera.forward @ cameras[view].forward) > SAME_WAY]
    return sorted(others, key=lambda other: float(np.linalg.norm(cameras[other].centre - cameras[view].centre)))[:limit]


def _spanned(view: int, cameras: list[Camera], depth: NDArray[np.floating]) -> DepthRange:
    known = depth[::4, ::4][depth[::4, ::4] > 0]
    if known.size == 0:
        return range_of_rig(view, cameras)
    near, far = np.percentile(known, [1, 99])
    return DepthRange(float(near), float(max(far, 1.001 * near)), int(known.size))
