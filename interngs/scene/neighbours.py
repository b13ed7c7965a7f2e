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
        walked = turned[order].astype(np.float32)
        for start in range(0, n, POINTS_AT_ONCE):
            rows = np.arange(start, min(start + POINTS_AT_ONCE, n))
            distance, places = _beside(walked, rows, count)
            points_here = order[rows]
            better = distance < best[points_here]
            best[points_here[better]] = distance[better]
            indices[points_here[better]] = order[places[better]]
    return best, indices


def _beside(walked: NDArray[np.float32], rows: NDArray[np.intp], count: int,
            ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Mean distance from ``rows`` to the nearest ``count`` of the 2 count rows beside each, and those rows."""
    steps = np.concatenate([np.arange(-count, 0), np.arange(1, count + 1)])
    places = rows[:, None] + steps
    outside = (places < 0) | (places >= len(walked))
    places[outside] = 0
    gap = walked[places] - walked[rows, None]
    squared = np.einsum("nki,nki->nk", gap, gap)
    squared[outside] = np.inf
    nearest = np.argpartition(squared, count - 1, axis=1)[:, :count]
    distance = np.sqrt(np.take_along_axis(squared, nearest, axis=1)).mean(axis=1)
    return distance, np.take_along_axis(places, nearest, axis=1)
