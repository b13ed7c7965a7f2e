# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies behind the edges of things: holes of a warped view filled from their far side."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_REACH = 0.2
"""Longest distance over which a hole is filled, as a share of the image's width."""
SMOOTH_PX = 2.0
"""Standard deviation of the blur over what is filled."""
SAME_SURFACE = 0.9
"""Neighbours at least this share as far as the farthest one belong to what is behind."""


def fill_from_behind(image: NDArray[np.float32], depth: NDArray[np.float32],
                     ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Colour and depth for pixels where nothing is known, taken from the farthest known neighbours.

    A camera that moves sideways sees past the edge of a near thing onto what was hidden: more of the
    far surface beside it.  Each unknown pixel looks along eight directions for the first known one;
    those on the farthest surface give their colour and inverse depth, nearer ones counting more.

    Args:
        image: [H, W, 3] colours, any value where unknown.
        depth: [H, W] z-depth, 0 where unknown.

    Returns:
        Filled image, filled depth, and the mask [H, W] of pixels that were filled.
    """
    height, width = depth.shape
    known = depth > 0
    farthest = np.zeros((height, width), np.float32)
    found = [_first_known(known, step) for step in
             ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))]
    for rows, columns, distance in found:
        reachable = np.isfinite(distance) & (distance <= MAX_REACH * width)
        farthest = np.maximum(farthest, np.where(reachable, depth[rows, columns], 0.0))
    total = np.zeros((height, width), np.float32)
    colour = np.zeros_like(image)
    inverse_depth = np.zeros((height, width), np.float32)
    for rows, columns, distance in found:
        reachable = np.isfinite(distance) & (distance <= MAX_REACH * width)
        far = reachable & (depth[rows, columns] >= SAME_SURFACE * farthest)
        weight = np.where(far, 1.0 / np.maximum(distance, 1.0), 0.0).astype(np.float32)
        total += weight
        colour += weight[..., None] * image[rows, columns]
        inverse_depth += weight / np.maximum(depth[rows, columns], 1e-12)
    filled = ~known & (total > 0)
    safe = np.maximum(total, 1e-12)
    colour /= safe[..., None]
    # Rays leave streaks; what is guessed had better be smooth.  What stays unknown has no colour to lend.
    has_colour = (known | filled).astype(np.float32)
    colour = np.where(filled[..., None], colour, image) * has_colour[..., None]
    smooth = (cv2.GaussianBlur(colour, (0, 0), SMOOTH_PX)
              / np.maximum(cv2.GaussianBlur(has_colour, (0, 0), SMOOTH_PX), 1e-6)[..., None])
    inverse_depth = np.where(filled, inverse_depth / safe, 1.0)
    return (np.where(filled[..., None], smooth, image).astype(np.float32),
            np.where(filled, 1.0 / np.maximum(inverse_depth, 1e-12), depth).astype(np.float32), filled)


def _first_known(known: NDArray[np.bool_], step: tuple[int, int],
                 ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Row, column and distance of the nearest known pixel in direction -``step`` (infinite when there is none)."""
    height, width = known.shape
    rows, columns = np.mgrid[:height, :width]
    distance = np.where(known, 0.0, np.inf).astype(np.float32)
    length = float(np.hypot(*step))
    reach = int(MAX_REACH * width / length)
    # Doubling: after k rounds every pixel knows about 2^k steps.
    jump = 1
    while jump <= reach:
        shift = (step[0] * jump, step[1] * jump)
        source_rows, source_columns = rows.copy(), columns.copy()
        moved = np.full_like(distance, np.inf)
        to, origin = _overlap(height, shift[0]), _overlap(width, shift[1])
        target = (to[0], origin[0])
        source = (to[1], origin[1])
        moved[target] = distance[source] + jump * length
        nearer = moved < distance
        source_rows[target], source_columns[target] = rows[source], columns[source]
        rows, columns = np.where(nearer, source_rows, rows), np.where(nearer, source_columns, columns)
        distance = np.minimum(distance, moved)
        jump *= 2
    return rows, columns, distance


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Target and source slices of an axis moved by ``shift``."""
    if abs(shift) >= size:
        return slice(0, 0), slice(0, 0)
    if shift >= 0:
        return slice(shift, size), slice(0, size - shift)
    return slice(0, size + shift), slice(-shift, size)
