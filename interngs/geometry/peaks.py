# SPDX-License-Identifier: GPL-3.0-or-later
"""Small islands of depth that are chance matches: taken away, and filled from what lies around and behind them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SHARE = 0.004
"""Largest island, as a share of the image."""
STEP = 0.02
"""Relative step in depth between neighbouring pixels from which they belong to different surfaces."""
MIN_CONTRAST = 0.08
"""A thing of its own differs from its surroundings in colour (mean difference, sRGB 0..1); an island that does not may
be a chance match."""
MIN_CONFIRMED = 0.25
"""It is one when no larger share of it is confirmed,"""
MIN_NEARER = 2.0
"""or when it stands at less than half the distance of its surroundings: repeating texture confirms itself."""
RING_PX = 3
"""Width of what counts as an island's surroundings."""


def flatten_peaks(depth: NDArray[np.float32], confirmed: NDArray[np.integer],
                  image: NDArray[np.float32]) -> NDArray[np.float32]:
    """``depth`` without islands that are chance matches (Hirschmueller 2008, "removal of peaks", and see above).

    Args:
        depth: [H, W] z-depth, 0 where unknown.
        confirmed: [H, W] number of views that confirm each pixel.
        image: [H, W, 3] the photograph, 0..1.

    Returns:
        [H, W] float32.  A pixel of an island takes the second farthest of the depths that its row and column meet
        first outside of islands, since what is matched wrongly is mostly background (Hirschmueller's interpolation).
    """
    island = _islands(depth, confirmed, image)
    if not island.any():
        return depth
    kept = np.where(island, np.float32(0), depth)
    around = np.stack([_last_known(kept[::turn], 0)[::turn] for turn in (1, -1)]
                      + [_last_known(kept[:, ::turn], 1)[:, ::turn] for turn in (1, -1)])
    around.sort(axis=0)
    filled = np.where(around[-2] > 0, around[-2], around[-1])
    return np.where(island & (filled > 0), filled, depth).astype(np.float32)


def _islands(depth: NDArray[np.float32], confirmed: NDArray[np.integer],
             image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[H, W] where small connected surfaces lie that are to go."""
    small = _small_surfaces(depth)
    count, components = cv2.connectedComponents(small.astype(np.uint8), connectivity=4)
    label = np.asarray(components, np.intp)
    size = 2 * RING_PX + 1
    # Labels are whole numbers below 2**24, so float32 holds them.
    reached = cv2.dilate(label.astype(np.float32), np.ones((size, size), np.uint8)).astype(np.intp)
    ring = np.where(small | (depth <= 0), 0, reached)
    log_depth = np.log(np.maximum(depth, np.float32(1e-20)))
    nearer = np.exp(_means(ring, log_depth, count) - _means(label, log_depth, count))
    contrast = np.mean([np.abs(_means(label, channel, count) - _means(ring, channel, count))
                        for channel in np.moveaxis(image, -1, 0)], axis=0)
    doubtful = (_means(label, confirmed > 0, count) <= MIN_CONFIRMED) | (nearer > MIN_NEARER)
    gone = doubtful & (contrast < MIN_CONTRAST)
    gone[0] = False
    return np.asarray(gone[label])


def _small_surfaces(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[H, W] pixels of connected surfaces no larger than ``MAX_SHARE`` of the image."""
    known = depth > 0
    if not known.any():
        return known
    # In sixteenths of a step, as OpenCV's speckle filter wants fixed-point numbers.
    steps = np.log(np.where(known, depth, depth[known].min())) * (16 / np.log1p(STEP))
    level = np.clip(steps - steps.min(), 0, 32000).astype(np.int16)
    level[~known] = -1
    cv2.filterSpeckles(level, -1, int(MAX_SHARE * depth.size), 16)
    return (level == -1) & known


def _means(label: NDArray[np.integer], values: NDArray[np.generic], count: int) -> NDArray[np.float64]:
    """Mean of ``values`` over the pixels of each label; NaN for labels without any."""
    total = np.bincount(label.ravel(), values.ravel(), minlength=count)
    with np.errstate(invalid="ignore"):
        return total / np.bincount(label.ravel(), minlength=count)


def _last_known(depth: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """For each pixel the last depth known up to it along ``axis``; 0 where there is none."""
    index = np.arange(depth.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    last = np.maximum.accumulate(np.where(depth > 0, index, -1), axis=axis)
    return np.where(last >= 0, np.take_along_axis(depth, np.maximum(last, 0), axis=axis), np.float32(0))
