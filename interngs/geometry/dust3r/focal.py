# SPDX-License-Identifier: GPL-3.0-or-later
"""The focal length that a view's own pointmap implies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .pointmaps import FloatArray, pixel_centres

WEISZFELD_ITERATIONS = 10


def focal_by_weiszfeld(points: FloatArray, principal_point_px: FloatArray) -> float:
    """Focal length in pixels that minimises the mean reprojection distance (not its square).

    Iteratively reweighted, started from least squares (DUSt3R, section 3.3, "recovering intrinsics").

    Args:
        points: [H, W, 3] points of the view's pixels in the view's own camera frame.
        principal_point_px: [2], the origin at the image corner.
    """
    pixels, slopes = _pixels_and_slopes(points, principal_point_px)
    slope_pixel, slope_slope = (slopes * pixels).sum(axis=-1), (slopes * slopes).sum(axis=-1)
    focal = slope_pixel.mean() / slope_slope.mean()
    for _ in range(WEISZFELD_ITERATIONS):
        distance = np.linalg.norm(pixels - focal * slopes, axis=-1)
        weight = 1.0 / np.maximum(distance, 1e-8)
        focal = (weight * slope_pixel).mean() / (weight * slope_slope).mean()
    return float(focal)


def focal_by_median(points: FloatArray, principal_point_px: FloatArray) -> float:
    """Median of the focal lengths that single pixel coordinates imply; arguments as above."""
    pixels, slopes = _pixels_and_slopes(points, principal_point_px)
    usable = np.abs(slopes) > 1e-12
    return float(np.median(pixels[usable] / slopes[usable]))


def _pixels_and_slopes(
    points: FloatArray, principal_point_px: FloatArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels relative to the principal point, and x/z, y/z; both [N, 2], finite entries only."""
    height, width = points.shape[:2]
    pixels = (pixel_centres(height, width) - principal_point_px).reshape(-1, 2)
    flat = points.reshape(-1, 3).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = flat[:, :2] / flat[:, 2:]
    usable = np.isfinite(slopes).all(axis=-1)
    return pixels[usable], slopes[usable]
