# SPDX-License-Identifier: GPL-3.0-or-later
"""What alpha channels and masks say of space: a point outside the silhouette of a cut-out thing is empty."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from ..scene.capture import Capture
from .prior import Geometry, ViewGeometry

EMPTY_ALPHA = 0.05
"""Photographs show nothing where alpha is below this, in the pixel and all around it."""
MARGIN_PX = 5
"""Side of the square around a pixel that must be empty too: poses are not exact to the pixel."""


def empty_pixels(alpha: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[H, W] where a photograph with this ``alpha`` [H, W] surely shows nothing."""
    return np.asarray(cv2.dilate(alpha, np.ones((MARGIN_PX, MARGIN_PX), np.uint8))) < EMPTY_ALPHA


class Silhouettes:
    """The silhouettes of a capture; photographs without an alpha channel say nothing."""

    def __init__(self, capture: Capture, cameras: list[Camera], by_mask: bool = False) -> None:
        """``cameras`` of the capture's views, at the size of their images.

        An artist's mask hides what does not count, which need not be empty; ``by_mask`` takes it for a silhouette too.
        """
        shown = [view.mask if by_mask and view.masked else view.alpha for view in capture.views]
        self._empty = [(camera, empty_pixels(each)) for each, camera in zip(shown, cameras, strict=True)
                       if each is not None]

    def __bool__(self) -> bool:
        return bool(self._empty)

    def outside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the world points [N, 3] lie where at least one photograph shows nothing.

        Beyond a frame the nearest pixel of its edge decides: a thing that the edge does not cut ends before it.
        """
        outside = np.zeros(len(points), bool)
        for camera, empty in self._empty:
            pixels, z = camera.project(points)
            before, last = z > 0, (camera.width_px - 1, camera.height_px - 1)
            column, row = np.floor(pixels[before]).clip(0, last).astype(np.int64).T
            outside[before] |= empty[row, column]
        return outside


def carve(geometry: Geometry, capture: Capture) -> Geometry:
    """``geometry`` without the depths that a silhouette refutes; the report says how many went (``carved``)."""
    silhouettes = Silhouettes(capture, [view.camera for view in geometry.views])
    if not silhouettes:
        return geometry
    views, carved = [], 0
    for view in geometry.views:
        known = view.depth > 0
        wrong = np.zeros(known.shape, bool)
        wrong[known] = silhouettes.outside(view.pointmap()[known])
        views.append(ViewGeometry(view.camera, np.where(wrong, np.float32(0), view.depth),
                                  np.where(wrong, np.float32(0), view.confidence)))
        carved += int(wrong.sum())
    return replace(geometry, views=tuple(views), report={**geometry.report, "carved": carved})
