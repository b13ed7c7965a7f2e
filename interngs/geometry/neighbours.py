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
    """Pairs (first < second) of views worth matching when nothing but the poses is known: all of a small capture."""
    ranges = [range_of_rig(view, list(cameras)) for view in range(len(cameras))] if len(cameras) > limit + 1 else []
    found = {(min(view, other), max(view, other))
             for view, others in enumerate(witnesses(cameras, ranges, limit)) for other in others}
    return sorted(found)


def _spanned(view: int, cameras: list[Camera], depth: NDArray[np.floating]) -> DepthRange:
    known = depth[::4, ::4][depth[::4, ::4] > 0]
    if known.size == 0:
        return range_of_rig(view, cameras)
    near, far = np.percentile(known, [1, 99])
    return DepthRange(float(near), float(max(far, 1.001 * near)), int(known.size))
