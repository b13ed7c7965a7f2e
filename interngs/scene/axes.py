# SPDX-License-Identifier: GPL-3.0-or-later
"""The axis conventions of worlds and files, and the rotations between them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Axes = Literal["opencv", "opengl", "blender"]
"""What x, y and z point to: ``opencv`` right, down, forward (3DGS PLY files); ``opengl`` right, up, backward (glTF,
USD with Y up, SPZ); ``blender`` right, forward, up (USD with Z up)."""

AXES: tuple[Axes, ...] = ("opencv", "opengl", "blender")

AXES_IN_WORDS: dict[Axes, str] = {
    "opencv": "x right, y down, z forward",
    "opengl": "x right, y up, z backward",
    "blender": "x right, y forward, z up",
}

_OPENCV_FROM: dict[Axes, tuple[tuple[int, int, int], ...]] = {
    "opencv": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "opengl": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "blender": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


def axes_rotation(target: Axes, source: Axes) -> NDArray[np.float64]:
    """``target_from_source`` [3, 3]: the rotation that expresses vectors of ``source`` axes in ``target`` axes."""
    return np.array(_OPENCV_FROM[target], np.float64).T @ np.array(_OPENCV_FROM[source], np.float64)
