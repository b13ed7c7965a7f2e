# SPDX-License-Identifier: GPL-3.0-or-later
"""How alike two images are around each pixel: correlation in windows of several sizes, and colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOWS_PX = (3, 7, 15)
"""Small windows keep edges and thin things, large ones decide where there is little texture."""
NOISE_VARIANCE = 1e-4
"""Regulariser of the correlation: a window must vary by more than about 1 % of white to say anything."""
COLOUR_WEIGHT = 0.5
"""Share of the colour difference in the cost; it is what speaks in areas without texture."""
COLOUR_LIMIT = 0.12
"""Mean absolute difference of the channels (0..1) from which on colours are simply different."""


class PhotometricCost:
    """Cost 0..1 of one reference image against images that were warped onto it.

    Half is one minus the zero-mean normalised cross-correlation of the grey images, half the truncated colour
    difference (the pair of measures of Mei et al. 2011, AD-Census, with correlation in the place of census).
    """

    def __init__(self, image: NDArray[np.float32]) -> None:
        """``image``: [H, W, 3] in 0..1."""
        self.image = image
        self.grey = to_grey(image)
        self.windows = []
        for window in WINDOWS_PX:
            mean = _box(self.grey, window)
            variance = np.maximum(_box(self.grey * self.grey, window) - mean * mean, 0)
            self.windows.append((window, mean, 1 / (np.sqrt(variance + NOISE_VARIANCE) * len(WINDOWS_PX))))

    def __call__(self, warped: NDArray[np.float32]) -> NDArray[np.float32]:
        """[H, W] float32 cost of ``warped`` [H, W, 3], already brought to the reference's exposure."""
        cost = self._correlation(to_grey(warped))
        np.subtract(1, cost, out=cost)
        np.clip(cost, 0, 1, out=cost)
        cost *= np.float32(1 - COLOUR_WEIGHT)
        difference = cv2.transform(cv2.absdiff(warped, self.image),
                                   np.full((1, 3), 1 / (3 * COLOUR_LIMIT), np.float32))
        difference = _box(np.minimum(difference, 1), 3)
        difference *= np.float32(COLOUR_WEIGHT)
        cost += difference
        return cost

    def _correlation(self, warped: NDArray[np.float32]) -> NDArray[np.float32]:
        """[H, W] mean over the windows of the correlation, -1..1."""
        square, product = warped * warped, warped * self.grey
        total = np.zeros(self.grey.shape, np.float32)
        for window, mean, scale in self.windows:
            warped_mean, variance, covariance = _box(warped, window), _box(square, window), _box(product, window)
            variance -= warped_mean * warped_mean
            np.maximum(variance, 0, out=variance)
            variance += np.float32(NOISE_VARIANCE)
            warped_mean *= mean
            covariance -= warped_mean
            covariance *= scale
            covariance /= np.sqrt(variance, out=variance)
            total += covariance
        return total


def to_grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """[H, W] luma of an sRGB image [H, W, 3]."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def _box(image: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    return np.asarray(cv2.boxFilter(image, -1, (window, window), borderType=cv2.BORDER_REFLECT_101))
