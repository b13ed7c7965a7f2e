# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the plain 24-bit TGA that Blender writes, in any thread, without Blender's image data-blocks."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...interngs.errors import InputError

HEADER = struct.Struct("<BBBHHBHHHHBB")
TRUE_COLOUR = 2
TOP_DOWN = 0x20


def read_tga(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3] RGB, uppermost row first (Truevision TGA, uncompressed true colour of 24 bits).

    Raises:
        InputError: another kind of file, or cut short.
    """
    data = path.read_bytes()
    fields = HEADER.unpack_from(data) if len(data) >= HEADER.size else (0,) * 12
    comment_bytes, _, kind, *_, width, height, bits, flags = fields
    start = HEADER.size + comment_bytes
    if kind != TRUE_COLOUR or bits != 24 or len(data) < start + 3 * width * height:
        raise InputError("tga-unreadable", f"{path.name} is not the plain image that Blender was asked for.",
                         "Capture again; if it comes back, copy the details into a report.")
    rows = np.frombuffer(data, np.uint8, 3 * width * height, start).reshape(height, width, 3)[..., ::-1]
    return rows if flags & TOP_DOWN else rows[::-1]
