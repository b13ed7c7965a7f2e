# SPDX-License-Identifier: GPL-3.0-or-later
"""Write OpenEXR: scan lines, ZIP compression, one part, half or float channels of any layers.

The layout is that of "OpenEXR File Layout" (openexr.com): magic and version, attributes, table of offsets, blocks of
16 lines; a block's bytes are split into even and odd ones, differenced, and deflated (``Technical Introduction``).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MAGIC = 20000630
ZIP_COMPRESSION, LINES_PER_BLOCK = 3, 16
DEFLATE_LEVEL = 4
LONG_NAMES = 0x400
_SAMPLE_TYPES = {np.dtype("<f2"): 1, np.dtype("<f4"): 2}


def exr_bytes(channels: Mapping[str, NDArray[np.floating]], pixel_aspect: float = 1.0) -> bytes:
    """An EXR file.

    Args:
        channels: [H, W] arrays by name, top row first, of float16 or float32; a name like ``Splats.Combined.R`` makes
            layers.  Linear light, premultiplied, by the format's convention.
        pixel_aspect: width of a pixel over its height.

    Raises:
        ValueError: no channel, different sizes, or another type.
    """
    ordered = {name: np.ascontiguousarray(channels[name]) for name in sorted(channels)}
    shapes = {array.shape for array in ordered.values()}
    if len(shapes) != 1 or any(array.ndim != 2 or array.dtype not in _SAMPLE_TYPES for array in ordered.values()):
        raise ValueError("channels must be float16 or float32 arrays [H, W] of one size")
    height, width = shapes.pop()
    header = _header(ordered, width, height, pixel_aspect)
    blocks = [_block(ordered, row, min(row + LINES_PER_BLOCK, height)) for row in range(0, height, LINES_PER_BLOCK)]
    offsets, at = [], len(header) + 8 * len(blocks)
    for block in blocks:
        offsets.append(at)
        at += len(block)
    return b"".join([header, struct.pack(f"<{len(offsets)}Q", *offsets), *blocks])


def _header(channels: Mapping[str, NDArray[np.floating]], width: int, height: int, pixel_aspect: float) -> bytes:
    listed = b"".join(name.encode("latin-1") + b"\0" + struct.pack("<iBxxxii", _SAMPLE_TYPES[array.dtype], 0, 1, 1)
                      for name, array in channels.items()) + b"\0"
    window = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    attributes = [("channels", "chlist", listed), ("compression", "compression", bytes([ZIP_COMPRESSION])),
                  ("dataWindow", "box2i", window), ("displayWindow", "box2i", window),
                  ("lineOrder", "lineOrder", b"\0"),
                  ("pixelAspectRatio", "float", struct.pack("<f", pixel_aspect)),
                  ("screenWindowCenter", "v2f", struct.pack("<ff", 0.0, 0.0)),
                  ("screenWindowWidth", "float", struct.pack("<f", 1.0))]
    version = 2 | (LONG_NAMES if max(map(len, channels)) > 31 else 0)
    return struct.pack("<ii", MAGIC, version) + b"".join(
        name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
        for name, kind, value in attributes) + b"\0"


def _block(channels: Mapping[str, NDArray[np.floating]], first: int, end: int) -> bytes:
    """One block: each line holds all samples of its first channel, then of the next."""
    raw = b"".join(array[row].tobytes() for row in range(first, end) for array in channels.values())
    flat = np.frombuffer(raw, np.uint8)
    split = np.concatenate([flat[0::2], flat[1::2]]).astype(np.int16)
    split[1:] = split[1:] - split[:-1] + 128
    packed = zlib.compress(split.astype(np.uint8).tobytes(), DEFLATE_LEVEL)
    data = packed if len(packed) < len(raw) else raw
    return struct.pack("<ii", first, len(data)) + data
