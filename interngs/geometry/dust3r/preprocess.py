# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a photograph to the size a DUSt3R network takes, and takes its camera along."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...scene.cameras import Camera

PATCH_PX = 16
SQUARE_NETWORK_PX = 224
"""Networks of this size take centre squares; larger ones take the photo's own shape."""


@dataclass(frozen=True)
class Framing:
    """Which part of a photo the network sees: resized first, then cropped.

    Attributes:
        source_px: (width, height) of the photo.
        resized_px: (width, height) after the resize.
        crop_px: (left, top, right, bottom) in the resized photo.
    """

    source_px: tuple[int, int]
    resized_px: tuple[int, int]
    crop_px: tuple[int, int, int, int]

    @property
    def width_px(self) -> int:
        """Width of the network's image."""
        return self.crop_px[2] - self.crop_px[0]

    @property
    def height_px(self) -> int:
        """Height of the network's image."""
        return self.crop_px[3] - self.crop_px[1]

    def to_network(self, camera: Camera) -> Camera:
        """The photo's camera, for the network's image (``K`` scaled, then shifted by the crop)."""
        resized = camera.resized(*self.resized_px)
        K = resized.K.copy()
        K[0] -= self.crop_px[0] * K[2]
        K[1] -= self.crop_px[1] * K[2]
        return replace(resized, K=K, width_px=self.width_px, height_px=self.height_px)

    def to_photo(self, camera: Camera) -> Camera:
        """The inverse of ``to_network``."""
        K = camera.K.copy()
        K[0] += self.crop_px[0] * K[2]
        K[1] += self.crop_px[1] * K[2]
        resized = replace(camera, K=K, width_px=self.resized_px[0], height_px=self.resized_px[1])
        return resized.resized(*self.source_px)


def framing_for(source_px: tuple[int, int], network_px: int, keep_square: bool = False) -> Framing:
    """The resize and crop of a photo of ``source_px`` (width, height) for a ``network_px`` network.

    The long side becomes ``network_px`` and both sides are cropped about the centre to multiples of 16;
    a square photo is cropped to 4:3 (the networks saw no squares in training) unless ``keep_square``.
    A 224 network gets the centre square of the photo resized to 224 on its short side.
    """
    width, height = source_px
    long_side = network_px
    if network_px == SQUARE_NETWORK_PX:
        long_side = round(network_px * max(width / height, height / width))
    scale = long_side / max(width, height)
    resized = (round(width * scale), round(height * scale))
    centre_x, centre_y = resized[0] // 2, resized[1] // 2
    if network_px == SQUARE_NETWORK_PX:
        half_width = half_height = min(centre_x, centre_y)
    else:
        half_width = (2 * centre_x) // PATCH_PX * PATCH_PX // 2
        half_height = (2 * centre_y) // PATCH_PX * PATCH_PX // 2
        if resized[0] == resized[1] and not keep_square:
            half_height = 3 * half_width // 4
    crop = (centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height)
    return Framing(source_px, resized, crop)


def network_image(image: NDArray[np.uint8], framing: Framing) -> NDArray[np.uint8]:
    """Resize and crop an upright RGB photo [H, W, 3] uint8 -> [h, w, 3] uint8."""
    shrinks = max(framing.source_px) > max(framing.resized_px)
    resample = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    resized = Image.fromarray(image).resize(framing.resized_px, resample)
    return np.asarray(resized.crop(framing.crop_px))


def normalised(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[h, w, 3] uint8 -> the network's input [3, h, w] float32 in -1..1."""
    chw = image.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    return np.ascontiguousarray((chw - np.float32(0.5)) / np.float32(0.5))
