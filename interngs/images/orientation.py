# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the EXIF turn: of pixels, and of a camera that describes the pixels before the turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.cameras import Camera

Scalar = TypeVar("Scalar", bound=np.generic)

UPRIGHT = 1

_TURNS: dict[int, tuple[bool, int]] = {1: (False, 0), 2: (True, 0), 3: (False, 2), 4: (True, 2),
                                       5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
"""EXIF orientation -> (mirror left-right first, then quarter turns counter-clockwise), EXIF 2.32 section 4.6.4."""


def turn_upright(pixels: NDArray[Scalar], orientation: int) -> NDArray[Scalar]:
    """``pixels`` [H, W, ...] as stored, turned and mirrored as their EXIF orientation 1..8 asks."""
    mirror, quarters = _TURNS[orientation]
    if mirror:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def turn_back(pixels: NDArray[Scalar], orientation: int) -> NDArray[Scalar]:
    """The inverse of ``turn_upright``."""
    mirror, quarters = _TURNS[orientation]
    pixels = np.rot90(pixels, -quarters)
    return np.ascontiguousarray(pixels[:, ::-1] if mirror else pixels)


def turn_camera(camera: Camera, orientation: int, name: str) -> Camera:
    """The camera of the upright image, from the camera of the stored pixels.

    The camera is turned about its viewing axis, so that it sees the same world.

    Raises:
        InputError: the orientation mirrors the image, which no camera does.
    """
    mirror, quarters = _TURNS[orientation]
    if mirror:
        raise InputError("exif-mirrored", f"The EXIF orientation {orientation} of {name!r} mirrors the photo, and its "
                         "camera is for the pixels before that.", "Save the photo upright and make the poses again.")
    for _ in range(quarters):
        turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        pixels = turn.copy()
        pixels[1, 2] = camera.width_px
        pose = camera.camera_from_world.copy()
        pose[:3] = turn @ pose[:3]
        camera = replace(camera, K=pixels @ camera.K @ turn.T, camera_from_world=pose,
                         width_px=camera.height_px, height_px=camera.width_px)
    return camera
