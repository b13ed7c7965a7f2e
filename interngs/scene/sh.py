# SPDX-License-Identifier: GPL-3.0-or-later
"""Real spherical harmonics of colour, degree 0 to 4: evaluation and exact rotation.

Order and signs are those of 3D Gaussian splatting and of KHR_gaussian_splatting: within degree l the coefficients run
m = -l .. l, with the Condon-Shortley phase, so degree 1 is proportional to (-y, z, -x).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .gaussians import COEFFICIENTS_OF_DEGREE

ROWS_AT_ONCE = 65536


def sh_basis(directions: NDArray[np.floating], degree: int) -> NDArray[np.float64]:
    """Values of the basis functions.

    Built as Y_lm = sqrt(2) K_lm P_lm(z) Re or Im (x + i y)^|m| with the three-term recurrence of the associated
    Legendre functions (Sloan 2008, "Stupid spherical harmonics tricks", appendix A1 and A2).

    Args:
        directions: [..., 3] unit vectors.
        degree: 0 to 4.

    Returns:
        [..., (degree + 1)^2].
    """
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    basis = np.empty((*x.shape, COEFFICIENTS_OF_DEGREE[degree]))
    cosine, sine = np.ones_like(x), np.zeros_like(x)      # Re and Im of (x + i y)^m
    first = 1.0                                           # P_mm over sin^m: (-1)^m (2m - 1)!!
    for m in range(degree + 1):
        below, legendre = np.zeros_like(z), np.full_like(z, first)
        for level in range(m, degree + 1):
            norm = math.sqrt((2 * level + 1) / (4 * math.pi) * math.factorial(level - m) / math.factorial(level + m))
            middle = level * (level + 1)
            if m == 0:
                basis[..., middle] = norm * legendre
            else:
                basis[..., middle + m] = math.sqrt(2) * norm * legendre * cosine
                basis[..., middle - m] = math.sqrt(2) * norm * legendre * sine
            above = ((2 * level + 1) * z * legendre - (level + m) * below) / (level + 1 - m)
            below, legendre = legendre, above
        cosine, sine = cosine * x - sine * y, cosine * y + sine * x
        first *= -(2 * m + 1)
    return basis


def evaluate_sh(sh: NDArray[np.floating], directions: NDArray[np.floating]) -> NDArray[np.float64]:
    """sRGB colours [N, 3] (0.5 added, not clipped) of coefficients [N, K, 3] seen along ``directions``.

    Args:
        sh: [N, K, 3].
        directions: [N, 3] or [3]; unit vectors from the camera to the Gaussian, in the frame of the coefficients.
    """
    degree = COEFFICIENTS_OF_DEGREE.index(sh.shape[1])
    basis = np.broadcast_to(sh_basis(directions, degree), sh.shape[:2])
    return np.einsum("nk,nkc->nc", basis, sh) + 0.5


def sh_rotation(orthogonal: NDArray[np.floating], degree: int) -> NDArray[np.float64]:
    """The matrix [K, K] that turns coefficients along with their Gaussians.

    Rotated coefficients c' show along d what the old ones showed along the inverse rotation of d.  Each band is
    closed under rotations and mirrors, so its block follows exactly from the basis at sample directions.

    Args:
        orthogonal: [3, 3] rotation, or mirror, new_from_old.
        degree: 0 to 4.
    """
    directions, inverses = _samples(degree)
    turned = sh_basis(directions @ np.asarray(orthogonal, np.float64), degree)
    matrix = np.zeros((COEFFICIENTS_OF_DEGREE[degree],) * 2)
    for level in range(degree + 1):
        band = slice(level * level, (level + 1) ** 2)
        matrix[band, band] = inverses[level] @ turned[:, band]
    matrix[np.abs(matrix) < 1e-14] = 0
    return matrix


def rotate_sh(sh: NDArray[np.float32], orthogonal: NDArray[np.floating]) -> NDArray[np.float32]:
    """Coefficients [N, K, 3] turned by a rotation or mirror [3, 3] (new_from_old); the constant band is untouched."""
    count, bases, _ = sh.shape
    if bases == 1:
        return sh
    matrix = sh_rotation(orthogonal, COEFFICIENTS_OF_DEGREE.index(bases))[1:, 1:]
    # One matrix product on [N, 3 (K - 1)] rows is many times faster than small products per Gaussian.
    wide = np.kron(matrix.T, np.eye(3)).astype(np.float32)
    turned = np.empty_like(sh)
    turned[:, 0] = sh[:, 0]
    for start in range(0, count, ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = np.ascontiguousarray(sh[part, 1:]).reshape(-1, 3 * (bases - 1))
        turned[part, 1:] = (rows @ wide).reshape(-1, bases - 1, 3)
    return turned


@cache
def _samples(degree: int) -> tuple[NDArray[np.float64], list[NDArray[np.floating]]]:
    """Directions spread over the sphere (golden-angle spiral) and each band's pseudo-inverse there."""
    count = 64
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(1 - z * z)
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
    basis = sh_basis(directions, degree)
    return directions, [np.linalg.pinv(basis[:, level * level:(level + 1) ** 2]) for level in range(degree + 1)]
