# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians as texels for the preview's shader; knows no bpy.

Sixteen floats (four texels) a Gaussian: centre (3), opacity, covariance xx xy xz yy yz zz, constant colour (3), the
number of its object, the step of its spherical harmonics, one unused.  Sixteen more where any object has bands above
the constant one: each float holds the three colours of one coefficient as a whole number of 24 bits, 8 a colour,
since Blender uploads textures of floats only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...interngs.scene.gaussians import SH_C0

TEXTURE_WIDTH = 4096
"""Texels in a row of every texture here."""
FLOATS_PER_SPLAT = 16
OWNER, SH_STEP = 13, 14
"""Places of the object's number and of the harmonics' step among a Gaussian's floats."""
COEFFICIENTS = 15
"""Coefficients above the constant one that are drawn: degrees 1 to 3."""
NO_COEFFICIENT = 128 * (1 + 256 + 65536)
"""The code of three zeros."""
ROWS_AT_ONCE = 65536


@dataclass(frozen=True, eq=False)
class PackedSplat:
    """One object's Gaussians: positions [N, 3] for sorting, texels [N, 16], and harmonics [N, 16] where it has some."""

    position: NDArray[np.float32]
    texels: NDArray[np.float32]
    harmonics: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.position)


def covariances(scale: NDArray[np.float32], rotation: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, 6] covariance (xx, xy, xz, yy, yz, zz) of Gaussians with ``scale`` [N, 3] and ``rotation`` [N, 4] wxyz."""
    w, x, y, z = rotation.T / np.maximum(np.linalg.norm(rotation, axis=1), np.float32(1e-12))
    one, two = np.float32(1), np.float32(2)
    axes = np.empty((len(scale), 3, 3), np.float32)
    axes[:, 0] = np.stack([one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)], axis=1)
    axes[:, 1] = np.stack([two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x)], axis=1)
    axes[:, 2] = np.stack([two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y)], axis=1)
    axes *= scale[:, None, :]
    whole = axes @ axes.transpose(0, 2, 1)
    return whole.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]


def pack(position: NDArray[np.float32], scale: NDArray[np.float32], rotation: NDArray[np.float32],
         base: NDArray[np.float32], bands: Sequence[NDArray[np.float32]] = ()) -> PackedSplat:
    """One object's Gaussians as texels.

    Args:
        position, scale, rotation, base: the attributes of the same names (see ``scene/splat_arrays.py``).
        bands: [N, 3] coefficients of degree 1 and above, in order; those above degree 3 are not drawn.
    """
    texels = np.zeros((len(position), FLOATS_PER_SPLAT), np.float32)
    texels[:, 0:3], texels[:, 3] = position, base[:, 3]
    texels[:, 10:13] = np.float32(0.5) + np.float32(SH_C0) * base[:, :3]
    harmonics = None
    if bands:
        harmonics = np.full((len(position), FLOATS_PER_SPLAT), NO_COEFFICIENT, np.float32)
    for start in range(0, len(position), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        texels[part, 4:10] = covariances(scale[part], rotation[part])
        if harmonics is not None:
            codes, step = pack_harmonics([band[part] for band in bands[:COEFFICIENTS]])
            harmonics[part, :codes.shape[1]], texels[part, SH_STEP] = codes, step
    return PackedSplat(np.ascontiguousarray(position), texels, harmonics)


def pack_harmonics(bands: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coefficients [N, 3] each as codes [N, K] of 3 x 8 bits, and the step [N] of one count.

    A colour's value is ``(code - 128) * step``; the largest error is half a step, 1/254 of a Gaussian's largest
    coefficient.
    """
    values = np.stack(bands, axis=1)
    step = np.abs(values).max(axis=(1, 2)) / np.float32(127)
    counts = np.rint(values / np.maximum(step, np.float32(1e-20))[:, None, None]) + np.float32(128)
    return counts @ np.float32([1, 256, 65536]), step


def join(splats: Sequence[PackedSplat]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The textures [rows, 4096, 4] of all objects together: texels, and harmonics when any object has some."""
    rows = max(-(-sum(map(len, splats)) * FLOATS_PER_SPLAT // (4 * TEXTURE_WIDTH)), 1)
    texels = np.zeros((rows * 4 * TEXTURE_WIDTH // FLOATS_PER_SPLAT, FLOATS_PER_SPLAT), np.float32)
    harmonics = np.zeros_like(texels) if any(each.harmonics is not None for each in splats) else None
    start = 0
    for number, each in enumerate(splats):
        part = slice(start, start + len(each))
        texels[part], texels[part, OWNER] = each.texels, number
        if harmonics is not None and each.harmonics is not None:
            harmonics[part] = each.harmonics
        start += len(each)
    shape = (rows, TEXTURE_WIDTH, 4)
    return texels.reshape(shape), None if harmonics is None else harmonics.reshape(shape)
