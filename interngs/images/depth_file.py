# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a depth map that came with a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.npy_file import read_npy
from .open import open_stored

WORLD_UNITS_PER_PNG_STEP = 1e-3
"""16-bit PNG depth counts thousandths of a world unit (millimetres of a scene in metres), as nerfstudio has it."""


def read_depth(path: Path) -> NDArray[np.float32]:
    """[H, W] float32 z-depth in world units, 0 where unknown, of the photo as stored.

    ``.npy``: numbers in world units, [H, W] or [H, W, 1].  ``.png``: 16 bits, see ``WORLD_UNITS_PER_PNG_STEP``.

    Raises:
        InputError: missing, damaged, or another kind of file.
    """
    if path.suffix.lower() == ".npy":
        depth = read_npy(path)
        if depth.ndim == 3 and depth.shape[2] == 1:
            depth = depth[..., 0]
        if depth.ndim != 2 or depth.size == 0:
            raise InputError("depth-shape", f"The depth map {path} has shape {depth.shape}, not height x width.",
                             "Write it again as one number per pixel.")
    else:
        stored = open_stored(path)
        if stored.header.bit_depth != 16:
            raise InputError("depth-type", f"The depth map {path} has {stored.header.bit_depth} bits per pixel.",
                             "Write depth as 16-bit PNG (thousandths of a world unit) or as .npy.")
        depth = stored.colour[..., 0].astype(np.float64) * WORLD_UNITS_PER_PNG_STEP
    with np.errstate(over="ignore", invalid="ignore"):
        single = depth.astype(np.float32)
    return np.where(np.isfinite(single) & (single > 0), single, np.float32(0.0))
