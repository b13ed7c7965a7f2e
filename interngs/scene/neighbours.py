# SPDX-License-Identifier: GPL-3.0-or-later
"""Near neighbours of each point, in numpy alone, fast at any density."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .morton import morton_codes

POINTS_AT_ONCE = 16384
"""Points handled at a time, so that the work stays in the processor's cache."""

ROTATIONS = 4
"""Orders tried.  In 3D one Morton order misses neighbours across its seams; four turned ones leave few to miss."""


def near_neighbours(points: NDArray[np.floating], count: int = 8) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Mean distance of every point to ``count`` near neighbours, and which those are.

    The points are sorted along a Morton (Z-order) curve in a few rotated frames; in each order the nearest of the
    ``2 * count`` points beside a point are taken, and the best order counts.  The distance is therefore an upper
    bound near the true mean of the nearest (5 to 10 % above it typically, seldom over 50 %); it costs O(N log N) and
    adapts to the local density, which a grid of fixed cells does not.

    Args:
        points: [N, 3] finite.
        count: how many neighbours.

    Returns:
        Distances [N] in the unit of the points and indices [N, count].

    Raises:
        ValueError: there are not more than ``count`` points.
    """
    n = len(points)
    if n <= count:
        raise ValueError(f"{n} points have no {count} neighbours each")
    best = np.full(n, np.inf, np.float32)
    indices = np.zeros((n, count), np.int32)
    random = np.random.default_rng(0)
    centred = points - np.median(points, axis=0)
    for _ in range(ROTATIONS):
        turned = centred @ np.linalg.qr(random.normal(size=(3, 3)))[0]
        order = np.argsort(morton_codes(turned))
        walked = np.ascontiguousarray(turned[order].T, np.float32)
        for start in range(0, n, POINTS_AT_ONCE):
            squared = _squared_distances_beside(walked, start, min(start + POINTS_AT_ONCE, n), count)
            here = order[start:start + POINTS_AT_ONCE]
            distance = np.sqrt(np.partition(squared, count - 1, axis=1)[:, :count]).mean(axis=1)
            better = np.flatnonzero(distance < best[here])
            best[here[better]] = distance[better]
            nearest = np.argpartition(squared[better], count - 1, axis=1)[:, :count]
            places = start + better[:, None] + nearest - count + (nearest >= count)
            indices[here[better]] = order[places]
    return best, indices


def _squared_distances_beside(walked: NDArray[np.float32], start: int, stop: int, count: int) -> NDArray[np.float32]:
    """[stop - start, 2 count] squared distances to the ``count`` points before and the ``count`` after each.

    ``walked`` is [3, N]; infinite where there is no such point.
    """
    squared = np.full((2 * count, stop - start), np.inf, np.float32)
    for column in range(2 * count):
        step = column - count + (column >= count)
        low, high = max(start, -step), min(stop, walked.shape[1] - step)
        if low < high:
            gap = walked[:, low + step:high + step] - walked[:, low:high]
            squared[column, low - start:high - start] = (gap * gap).sum(axis=0)
    return np.ascontiguousarray(squared.T)
