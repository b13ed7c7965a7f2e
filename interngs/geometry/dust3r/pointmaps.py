# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of one pair's pointmaps, and small geometry on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GOOD_CONFIDENCE = 3.0
"""Confidence from which a pixel counts as seen well (the threshold of the method's authors)."""

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class PairPoints:
    """Pointmaps of one ordered pair of views, both in the first view's camera frame, scale unknown.

    Attributes:
        first, second: indices of the views.
        points_1: [H1, W1, 3] float32, one per pixel of the first view.
        points_2: [H2, W2, 3] float32, one per pixel of the second view.
        confidence_1, confidence_2: [H, W] float32, greater than 1.
    """

    first: int
    second: int
    points_1: NDArray[np.float32]
    confidence_1: NDArray[np.float32]
    points_2: NDArray[np.float32]
    confidence_2: NDArray[np.float32]

    @property
    def score(self) -> float:
        """Product of the two mean confidences; the higher, the better the pair is understood."""
        return float(self.confidence_1.mean(dtype=np.float64) * self.confidence_2.mean(dtype=np.float64))


def pixel_centres(height: int, width: int) -> NDArray[np.float64]:
    """[H, W, 2] pixel centres (x, y), the origin at the image corner."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y], axis=-1)


def image_sizes(pairs: list[PairPoints]) -> dict[int, tuple[int, int]]:
    """(height, width) of every view that occurs in ``pairs``."""
    sizes: dict[int, tuple[int, int]] = {}
    for pair in pairs:
        height, width = pair.confidence_1.shape
        sizes[pair.first] = (height, width)
        height, width = pair.confidence_2.shape
        sizes[pair.second] = (height, width)
    return sizes


def best_confidence(pairs: list[PairPoints]) -> dict[int, NDArray[np.float32]]:
    """Per view, each pixel's highest confidence over the pairs it occurs in."""
    best: dict[int, NDArray[np.float32]] = {}
    for pair in pairs:
        for view, confidence in ((pair.first, pair.confidence_1), (pair.second, pair.confidence_2)):
            best[view] = np.maximum(best[view], confidence) if view in best else confidence
    return best


def weighted_median(values: FloatArray, weights: FloatArray) -> float:
    """The value that halves the weights of ``values`` [N]; NaN when no weight is positive."""
    usable = np.isfinite(values) & (weights > 0)
    values, weights = values[usable], weights[usable]
    if values.size == 0:
        return float("nan")
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order], dtype=np.float64)
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def weighted_median_of_stack(values: FloatArray, weights: FloatArray) -> NDArray[np.float64]:
    """Weighted median along the first axis of [K, ...]; 0 where no weight is positive."""
    order = np.argsort(values, axis=0)
    sorted_values = np.take_along_axis(values, order, axis=0)
    cumulative = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0, dtype=np.float64)
    total = cumulative[-1]
    index = (cumulative < total / 2).sum(axis=0)
    picked = np.take_along_axis(sorted_values, np.minimum(index, len(values) - 1)[None], axis=0)[0]
    return np.where(total > 0, picked, 0.0)
