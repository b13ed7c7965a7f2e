# SPDX-License-Identifier: GPL-3.0-or-later
"""Grey and colour PNGs: Blender's Python has no image library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit PNG: grey of [H, W], RGB of [H, W, 3] or RGBA of [H, W, 4] (ISO/IEC 15948: one IDAT, filter 0)."""
    height, width = pixels.shape[:2]
    colour_type = 0 if pixels.ndim == 2 else {3: 2, 4: 6}[pixels.shape[2]]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    flat = pixels.reshape(height, -1)
    rows = np.zeros((height, flat.shape[1] + 1), np.uint8)
    rows[:, 1:] = flat
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
            + chunk(b"IEND", b""))
