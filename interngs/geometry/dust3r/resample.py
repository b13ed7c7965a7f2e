# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries depth and confidence from the network's image back to the photo's pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .preprocess import Framing

EDGE_RATIO = 1.05
"""Depth ratio within a 3x3 neighbourhood from which it holds an edge, which is not smoothed over."""


def to_photo_pixels(
    depth: NDArray[np.floating], confidence: NDArray[np.floating], framing: Framing
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth and confidence [h, w] of the network's image at the photo's size; 0 outside its crop.

    Bilinear on surfaces, nearest at depth edges and next to unknown pixels, so that no point hangs
    between foreground and background.
    """
    height, width = depth.shape
    source_width, source_height = framing.source_px
    x = (np.arange(source_width) + 0.5) * framing.resized_px[0] / source_width - framing.crop_px[0]
    y = (np.arange(source_height) + 0.5) * framing.resized_px[1] / source_height - framing.crop_px[1]
    inside = ((y >= 0) & (y <= height))[:, None] & ((x >= 0) & (x <= width))[None]
    map_x, map_y = (values.astype(np.float32) for values in np.meshgrid(
        np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)))

    def sample(values: NDArray[np.float32], interpolation: int) -> NDArray[np.float32]:
        return np.asarray(cv2.remap(values, map_x, map_y, interpolation, borderMode=cv2.BORDER_REPLICATE))

    flat, trust = depth.astype(np.float32), confidence.astype(np.float32)
    box = np.ones((3, 3), np.uint8)
    edge = (cv2.dilate(flat, box) > EDGE_RATIO * cv2.erode(flat, box)).astype(np.float32)
    at_edge = sample(edge, cv2.INTER_NEAREST) > 0
    known = (sample(flat, cv2.INTER_NEAREST) > 0) & inside
    trusted = (sample(trust, cv2.INTER_NEAREST) > 0) & known
    at_photo = np.where(at_edge, sample(flat, cv2.INTER_NEAREST), sample(flat, cv2.INTER_LINEAR))
    trust_at_photo = np.where(at_edge, sample(trust, cv2.INTER_NEAREST), sample(trust, cv2.INTER_LINEAR))
    return np.where(known, at_photo, 0).astype(np.float32), np.where(trusted, trust_at_photo, 0).astype(np.float32)
