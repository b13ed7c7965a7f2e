# SPDX-License-Identifier: GPL-3.0-or-later
"""Morton (Z-order) codes: an order of points in which neighbours in space are neighbours in the list."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 21
"""Bits per axis: three axes fit into 64 bits."""


def morton_codes(points: NDArray[np.floating]) -> NDArray[np.uint64]:
    """[N] codes of points [N, 3]: the bits of the three coordinates interleaved over their bounding cube."""
    codes = np.zeros(len(points), np.uint64)
    if not len(points):
        return codes
    exact = np.asarray(points, np.float64)
    low = exact.min(axis=0)
    step = max(float((exact.max(axis=0) - low).max()), 1e-30) / ((1 << BITS) - 1)
    cells = ((exact - low) / step).astype(np.uint64)
    for axis in range(3):
        codes |= _spread(cells[:, axis]) << np.uint64(axis)
    return codes


def _spread(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Move bit i of 21-bit numbers to bit 3 i."""
    spread = values.copy()
    for shift, mask in ((32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F),
                        (4, 0x10C30C30C30C30C3), (2, 0x1249249249249249)):
        spread = (spread | (spread << np.uint64(shift))) & np.uint64(mask)
    return spread
