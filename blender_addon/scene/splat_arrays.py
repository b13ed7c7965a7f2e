# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians to and from the arrays of Blender's point attributes; knows no bpy, so any thread may do it.

The names and values are those of Blender 5.3's own Gaussian splats, in every version:

    position        vector      centre, object space
    scale           vector      standard deviations, linear
    rotation        quaternion  wxyz
    radiance:base   4 floats    constant SH coefficient (r, g, b) and opacity 0..1
    radiance:sh_k   vector      SH coefficient k + 1 of (r, g, b)

and, where Blender does not draw splats itself, what shows them as points:

    radius          float       middle one of the three standard deviations
    opacity         float       0..1
    colour          4 floats    linear colour seen without view dependence, opacity
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...interngs.scene.gaussians import Gaussians

BASE = "radiance:base"
SH_PREFIX = "radiance:sh_"
VIEWING = ("radius", "opacity", "colour")
LARGEST_OPACITY = 1.0 - 1e-6


@dataclass(frozen=True, eq=False)
class SplatArrays:
    """Contiguous float32 arrays of N points by attribute name: [N, 3], [N, 4] or [N]."""

    count: int
    arrays: dict[str, NDArray[np.float32]]
    dropped: int = 0


def linear_from_srgb(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light of sRGB-encoded values (IEC 61966-2-1)."""
    clipped = np.clip(colour, 0.0, 1.0)
    return np.where(clipped <= 0.04045, clipped / np.float32(12.92),
                    ((clipped + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)).astype(np.float32)


def _finite(gaussians: Gaussians) -> NDArray[np.bool_]:
    good = np.isfinite(gaussians.opacity_logits)
    for array in (gaussians.means, gaussians.quats, gaussians.log_scales):
        good &= np.isfinite(array.sum(axis=1))
    return good & np.isfinite(gaussians.sh.sum(axis=(1, 2)))


def splat_arrays(gaussians: Gaussians, viewing: bool) -> SplatArrays:
    """The attribute arrays of ``gaussians``; those that are not finite are dropped and counted.

    Args:
        gaussians: N Gaussians in the object's space.
        viewing: also make what shows them as points.
    """
    good = _finite(gaussians)
    dropped = len(gaussians) - int(np.count_nonzero(good))
    if dropped:
        gaussians = gaussians.select(good)
    scales, opacities = gaussians.scales, gaussians.opacities
    base = np.empty((len(gaussians), 4), np.float32)
    base[:, :3], base[:, 3] = gaussians.sh[:, 0], opacities
    arrays = {"position": gaussians.means, "scale": scales, "rotation": gaussians.quats, BASE: base}
    arrays |= {f"{SH_PREFIX}{k}": gaussians.sh[:, k + 1] for k in range(gaussians.sh.shape[1] - 1)}
    if viewing:
        colour = np.empty((len(gaussians), 4), np.float32)
        colour[:, :3], colour[:, 3] = linear_from_srgb(gaussians.base_colours), opacities
        middle = scales.sum(axis=1) - scales.max(axis=1) - scales.min(axis=1) if len(gaussians) else scales[:, 0]
        arrays |= {"radius": middle, "opacity": opacities, "colour": colour}
    return SplatArrays(len(gaussians), {name: np.ascontiguousarray(array, np.float32)
                                        for name, array in arrays.items()}, dropped)


def gaussians_from_arrays(arrays: dict[str, NDArray[np.float32]]) -> Gaussians:
    """The Gaussians that attribute arrays describe (the inverse of ``splat_arrays``)."""
    base = arrays[BASE]
    bands = [base[:, :3]]
    while (name := f"{SH_PREFIX}{len(bands) - 1}") in arrays:
        bands.append(arrays[name])
    opacity = np.clip(base[:, 3], 1e-6, LARGEST_OPACITY)
    return Gaussians(arrays["position"], arrays["rotation"], np.log(np.maximum(arrays["scale"], 1e-12)),
                     np.log(opacity / (1.0 - opacity)).astype(np.float32), np.stack(bands, axis=1))
