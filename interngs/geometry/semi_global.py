# SPDX-License-Identifier: GPL-3.0-or-later
"""Semi-global matching: smoothing of a cost volume along eight image directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1))
"""(dy, dx) of the eight paths."""

EDGE_FLOOR = 4.5
"""What a depth step costs even over an edge, in units of ``p1``: a brick wall is all edges and yet one surface."""

_BIG = np.int16(20000)


def aggregate(cost: NDArray[np.uint8], guide: NDArray[np.float32], p1: int, p2: int,
              edge_scale: float) -> NDArray[np.int16]:
    """Sum of the eight path costs (Hirschmueller 2008, equations 13 and 14).

    Args:
        cost: [H, W, D] matching cost, 0..127.
        guide: [H, W, C] image in 0..1 whose edges make depth steps cheaper.
        p1: penalty of a step of one label.
        p2: penalty of a larger step on a flat image; falls towards ``EDGE_FLOOR`` times ``p1`` over an edge.
        edge_scale: image difference at which the penalty has fallen to 1/e.

    Returns:
        [H, W, D] int16.
    """
    total = np.zeros(cost.shape, np.int16)
    for dy, dx in DIRECTIONS:
        penalty = _step_penalty(guide, dy, dx, p1, p2, edge_scale)
        if dy == 0:
            _sweep(cost.swapaxes(0, 1), total.swapaxes(0, 1), penalty.T, dx, 0, p1)
        else:
            _sweep(cost, total, penalty, dy, dx, p1)
    return total


def _step_penalty(guide: NDArray[np.float32], dy: int, dx: int, p1: int, p2: int,
                  edge_scale: float) -> NDArray[np.int16]:
    """[H, W] penalty for a large step between each pixel and the one before it on the path."""
    before = np.roll(guide, (dy, dx), axis=(0, 1))
    difference = np.abs(guide - before).max(axis=2)
    floor = p1 * EDGE_FLOOR
    return np.round(floor + (p2 - floor) * np.exp(-difference / edge_scale)).astype(np.int16)


def _sweep(cost: NDArray[np.uint8], total: NDArray[np.int16], penalty: NDArray[np.int16], step: int, shift: int,
           p1: int) -> None:
    """Add to ``total`` the path costs that run over axis 0 in steps of ``step`` and shift along axis 1."""
    length, width, depth = cost.shape
    lines = range(length) if step > 0 else range(length - 1, -1, -1)
    path = np.full((width, depth + 2), _BIG, np.int16)      # a border keeps label neighbours in range
    shifted = path.copy()
    best = np.empty((width, depth), np.int16)
    started = False
    for line in lines:
        if not started:
            path[:, 1:-1] = cost[line]
            started = True
        else:
            previous = path
            if shift:
                previous = shifted
                if shift > 0:
                    shifted[1:, 1:-1] = path[:-1, 1:-1]
                    shifted[0, 1:-1] = 0
                else:
                    shifted[:-1, 1:-1] = path[1:, 1:-1]
                    shifted[-1, 1:-1] = 0
            lowest = previous[:, 1:-1].min(axis=1)
            np.minimum(previous[:, :-2], previous[:, 2:], out=best)
            best += np.int16(p1)
            np.minimum(best, previous[:, 1:-1], out=best)
            np.minimum(best, (lowest + penalty[line])[:, None], out=best)
            best -= lowest[:, None]
            np.add(best, cost[line], out=path[:, 1:-1])
        total[line] += path[:, 1:-1]


def best_label(total: NDArray[np.int16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The cheapest label of each pixel with a parabola's sub-label part, and its margin.

    The margin [H, W] in 0..1 is how much dearer the best label away from the winner (two steps or more) is.
    """
    height, width, depth = total.shape
    flat = total.reshape(-1, depth)
    rows = np.arange(len(flat))
    winner = flat.argmin(axis=1)
    middle = flat[rows, winner].astype(np.float32)
    left = flat[rows, np.maximum(winner - 1, 0)].astype(np.float32)
    right = flat[rows, np.minimum(winner + 1, depth - 1)].astype(np.float32)
    curvature = left + right - 2 * middle
    inside = (winner > 0) & (winner < depth - 1) & (curvature > 0)
    offset = np.where(inside, (left - right) / np.maximum(2 * curvature, 1e-6), 0.0)
    label = (winner + np.clip(offset, -0.5, 0.5)).astype(np.float32)
    second = np.full(len(flat), np.inf, np.float32)
    for start in range(0, len(flat), 1 << 15):
        part = flat[start:start + (1 << 15)].copy()
        picked = winner[start:start + (1 << 15)]
        local = np.arange(len(part))
        for step in (-1, 0, 1):
            part[local, np.clip(picked + step, 0, depth - 1)] = np.iinfo(np.int16).max
        second[start:start + (1 << 15)] = part.min(axis=1)
    margin = np.clip((second - middle) / np.maximum(second, 1), 0, 1)
    return label.reshape(height, width), margin.reshape(height, width).astype(np.float32)
