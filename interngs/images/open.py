# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens an image file safely: known types only, size checked before decoding, any mode to RGB and alpha."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import InputError
from ..formats.image_header import ImageHeader, read_image_header

Channels = NDArray[np.uint8 | np.uint16]

@dataclass(frozen=True, eq=False)
class StoredImage:
    """Pixels as they lie in the file, before the EXIF turn.

    Attributes:
        colour: [H, W, 3] uint8 or uint16, sRGB, not multiplied by alpha.
        alpha: [H, W] of the same type, or None for an opaque file.
        header: of the file; ``header.orientation`` is the turn that is still to be made.
    """

    colour: Channels
    alpha: Channels | None
    header: ImageHeader


def open_stored(path: Path) -> StoredImage:
    """Decode a JPEG, PNG or WebP file of any mode: grey, palette, CMYK, 8 or 16 bits, with or without alpha.

    Embedded colour profiles are not applied: pixels are taken as sRGB.

    Raises:
        InputError: missing, another type, animated, over the pixel limit (found in the header, before decoding),
            damaged or cut short.
    """
    header = read_image_header(path)
    if header.animated:
        raise InputError("image-animated", f"The image {path} is an animation.", "Export the frames as single images.")
    try:
        pixels = _decode_16_bit(path) if header.bit_depth == 16 else _decode_8_bit(path)
    except (OSError, ValueError, SyntaxError, EOFError, UnidentifiedImageError, Image.DecompressionBombError,
            Image.DecompressionBombWarning, cv2.error) as error:
        raise InputError("image-unreadable", f"The image {path} is damaged or cut short: {error}.",
                         "Copy or export the photo again.") from error
    if pixels.shape[:2] != (header.height_px, header.width_px):
        raise InputError("image-unreadable", f"The image {path} says {header.width_px}x{header.height_px} px and holds "
                         f"{pixels.shape[1]}x{pixels.shape[0]}.", "Copy or export the photo again.")
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    return StoredImage(pixels[..., :3], alpha, header)


def _decode_8_bit(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3 or 4] uint8 by Pillow; its bomb warning is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as image:
            has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
            return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _decode_16_bit(path: Path) -> NDArray[np.uint16]:
    """[H, W, 3 or 4] uint16 by OpenCV, since Pillow cuts 16-bit colour to 8."""
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8),
                          cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("the 16-bit PNG cannot be decoded")
    samples = np.asarray(pixels, np.uint16)
    if samples.ndim == 2:
        return np.repeat(samples[..., None], 3, axis=2)
    return samples[..., [2, 1, 0, 3][:samples.shape[2]]]


def open_mask(path: Path) -> tuple[NDArray[np.float32], ImageHeader]:
    """A mask image as stored: [H, W] float32, 1 (white) where the view counts, 0 (black) where it does not.

    Colour masks are read by their mean; an alpha channel multiplies.

    Raises:
        InputError: as ``open_stored``.
    """
    stored = open_stored(path)
    mask = to_float(stored.colour).mean(axis=2)
    if stored.alpha is not None:
        mask = mask * to_float(stored.alpha)
    return mask, stored.header


def to_float(channels: Channels) -> NDArray[np.float32]:
    """Full range 0..255 or 0..65535 to float32 0..1."""
    values = channels.astype(np.float32)
    values /= np.float32(np.iinfo(channels.dtype).max)
    return values
