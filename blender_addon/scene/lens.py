# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's lens (focal length, sensor fit, shift, pixel aspect) to and from the matrix K; knows no bpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CV_FROM_BLENDER = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes: Blender's x right, y up, z backward to OpenCV's x right, y down, z forward (its own inverse)."""


@dataclass(frozen=True)
class Lens:
    """A perspective lens as Blender stores it.

    Attributes:
        focal_mm: ``Camera.lens``.
        sensor_width_mm, sensor_height_mm: sensor size; the fit decides which one counts.
        sensor_fit: ``"AUTO"`` (the longer side, measured with pixel aspect), ``"HORIZONTAL"`` or ``"VERTICAL"``.
        shift_x, shift_y: lens shift as a share of the fitted side.
    """

    focal_mm: float
    sensor_width_mm: float = 36.0
    sensor_height_mm: float = 24.0
    sensor_fit: str = "AUTO"
    shift_x: float = 0.0
    shift_y: float = 0.0


def intrinsics(lens: Lens, width_px: int, height_px: int,
               pixel_aspect: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.float64]:
    """K [3, 3] in pixels (origin at the top-left corner) of a lens at an image size.

    Args:
        lens: the lens.
        width_px, height_px: image size.
        pixel_aspect: width and height of a pixel, ``render.pixel_aspect_x`` and ``_y``.
    """
    aspect = pixel_aspect[1] / pixel_aspect[0]
    fit = lens.sensor_fit
    if fit == "AUTO":
        wide = pixel_aspect[0] * width_px >= pixel_aspect[1] * height_px
        sensor_mm, fitted_px = lens.sensor_width_mm, (width_px if wide else aspect * height_px)
    elif fit == "VERTICAL":
        sensor_mm, fitted_px = lens.sensor_height_mm, aspect * height_px
    else:
        sensor_mm, fitted_px = lens.sensor_width_mm, float(width_px)
    focal_x = lens.focal_mm / sensor_mm * fitted_px
    return np.array([
        [focal_x, 0.0, width_px / 2 - lens.shift_x * fitted_px],
        [0.0, focal_x / aspect, height_px / 2 + lens.shift_y * fitted_px / aspect],
        [0.0, 0.0, 1.0]])


def lens_from_intrinsics(K: NDArray[np.float64], width_px: int, height_px: int,
                         sensor_width_mm: float = 36.0) -> tuple[Lens, tuple[float, float]]:
    """The lens, fitted horizontally, and the pixel aspect that give ``K`` at an image size.

    The focal length is kept within Blender's lower limit of 1 mm by taking a wider sensor.
    """
    focal_x, focal_y = float(K[0, 0]), float(K[1, 1])
    aspect = focal_x / focal_y
    sensor_mm = max(sensor_width_mm, 1.0 / focal_x * width_px)
    lens = Lens(focal_mm=focal_x * sensor_mm / width_px, sensor_width_mm=sensor_mm,
                sensor_height_mm=sensor_mm * height_px / width_px, sensor_fit="HORIZONTAL",
                shift_x=(width_px / 2 - float(K[0, 2])) / width_px,
                shift_y=(float(K[1, 2]) - height_px / 2) * aspect / width_px)
    return lens, ((1.0, aspect) if aspect >= 1.0 else (1.0 / aspect, 1.0))


def half_angle_rad(lens: Lens, width_px: int, height_px: int, pixel_aspect: tuple[float, float] = (1.0, 1.0)) -> float:
    """Angle between the optical axis and the nearest image edge: what a centred sphere must fit into."""
    K = intrinsics(lens, width_px, height_px, pixel_aspect)
    reaches = (K[0, 2] / K[0, 0], (width_px - K[0, 2]) / K[0, 0], K[1, 2] / K[1, 1], (height_px - K[1, 2]) / K[1, 1])
    return float(np.arctan(max(min(reaches), 1e-3)))
