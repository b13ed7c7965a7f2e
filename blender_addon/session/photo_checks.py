# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of photographs from their thumbnails: blurred, or exposed unlike the others; knows no bpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLURRED_SHARE = 0.4
"""A photograph less sharp than this share of the median is called blurred."""
EXPOSURE_STOPS = 1.0
"""A photograph brighter or darker than the median by more than this is called an exposure jump."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""ITU-R BT.709 weights."""


@dataclass(frozen=True)
class PhotoMeasure:
    """Figures of one photograph: ``sharpness`` (no unit, more is sharper), ``brightness`` (mean linear light, 0..1)."""

    sharpness: float
    brightness: float


def measure(pixels: NDArray[np.floating]) -> PhotoMeasure:
    """Measure a thumbnail [H, W, 3 or 4], sRGB-encoded 0..1.

    Sharpness is the energy of the Laplacian over the energy of the gradient, so that contrast cancels out.
    """
    grey = np.asarray(pixels[..., :3], np.float64) @ LUMINANCE
    if min(grey.shape) < 3:
        return PhotoMeasure(0.0, float(np.mean(grey ** 2.2)) if grey.size else 0.0)
    laplacian = (grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4.0 * grey[1:-1, 1:-1])
    across, down = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    gradient = float(np.mean(across ** 2 + down ** 2))
    return PhotoMeasure(float(np.mean(laplacian ** 2)) / (gradient + 1e-6), float(np.mean(grey ** 2.2)))


def remarks(measures: Sequence[PhotoMeasure | None]) -> list[str]:
    """One remark, or ``""``, for each photograph, by comparison with the median; ``None`` was not measured."""
    known = [each for each in measures if each is not None]
    if len(known) < 3:
        return [""] * len(measures)
    sharpness = float(np.median([each.sharpness for each in known]))
    brightness = float(np.median([each.brightness for each in known]))
    found = []
    for each in measures:
        said = []
        if each is not None and each.sharpness < BLURRED_SHARE * sharpness:
            said.append("blurred, compared with the others")
        if each is not None:
            stops = float(np.log2((each.brightness + 1e-4) / (brightness + 1e-4)))
            if abs(stops) > EXPOSURE_STOPS:
                said.append(f"{abs(stops):.1f} stops {'brighter' if stops > 0 else 'darker'} than the others")
        found.append(", ".join(said))
    return found
