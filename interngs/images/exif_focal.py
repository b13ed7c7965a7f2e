# SPDX-License-Identifier: GPL-3.0-or-later
"""The focal length that a photograph's EXIF data tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

FILM_WIDTH_MM = 36.0
"""Longer side of the 35 mm film frame that equivalent focal lengths refer to."""
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
"""EXIF FocalPlaneResolutionUnit: inch, centimetre, millimetre, micrometre."""
PLAUSIBLE = (0.2, 20.0)
"""Focal length over the longer side: from a wide fisheye to a long telephoto lens."""


def exif_focal_px(image: Image.Image) -> float | None:
    """Focal length in pixels of the image as stored, or ``None`` where EXIF does not tell it.

    The 35 mm equivalent comes first (phones write it); else the focal length in millimetres with the
    sensor's pixel density.  Values that no lens has are ignored: editing programs leave broken ones.
    """
    exif = image.getexif().get_ifd(IFD.Exif)
    long_side = max(image.size)
    equivalent_mm = _number(exif, Base.FocalLengthIn35mmFilm)
    focal_px = equivalent_mm / FILM_WIDTH_MM * long_side if equivalent_mm else None
    if focal_px is None:
        focal_mm = _number(exif, Base.FocalLength)
        density = _number(exif, Base.FocalPlaneXResolution)
        unit_mm = _MM_PER_UNIT.get(int(_number(exif, Base.FocalPlaneResolutionUnit) or 2))
        sensor_width_px = _number(exif, Base.ExifImageWidth)
        if focal_mm and density and unit_mm:
            # The density counts the sensor's pixels; a reduced copy keeps the number.
            reduced = image.size[0] / sensor_width_px if sensor_width_px else 1.0
            focal_px = focal_mm * density / unit_mm * reduced
    low, high = PLAUSIBLE
    return focal_px if focal_px is not None and low <= focal_px / long_side <= high else None


def _number(exif: Mapping[int, Any], tag: Base) -> float | None:
    """A positive, finite number under ``tag``, or ``None``."""
    try:
        value = float(exif[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return value if 0 < value < float("inf") else None
