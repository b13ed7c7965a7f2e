# SPDX-License-Identifier: GPL-3.0-or-later
"""Quaternions in wxyz order, in batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def multiply(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Hamilton product [..., 4]: the rotation ``second`` followed by ``first``."""
    a, b, c, d = np.moveaxis(np.asarray(first, np.float64), -1, 0)
    w, x, y, z = np.moveaxis(np.asarray(second, np.float64), -1, 0)
    return np.stack([a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y,
                     a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w], axis=-1)


def matrices_from_quaternions(quats: Floats) -> NDArray[np.float64]:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4]."""
    w, x, y, z = np.moveaxis(np.asarray(quats, np.float64), -1, 0)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return np.stack(rows, axis=-1).reshape(*w.shape, 3, 3)


def quaternions_from_matrices(rotations: Floats) -> NDArray[np.float64]:
    """Unit quaternions [..., 4], w >= 0, of rotation matrices [..., 3, 3].

    Takes the largest of the four squared components as pivot, so no case loses precision (Shepperd 1978).
    """
    m = np.asarray(rotations, np.float64)
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    squares = np.concatenate([trace[..., None], 2 * diagonal - trace[..., None]], axis=-1) + 1   # 4 q_i^2
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Row i holds 4 q_i q: any row is the quaternion times a factor.
    products = np.stack([np.stack([squares[..., 0], wx, wy, wz], -1), np.stack([wx, squares[..., 1], xy, xz], -1),
                         np.stack([wy, xy, squares[..., 2], yz], -1), np.stack([wz, xz, yz, squares[..., 3]], -1)], -2)
    pivot = squares.argmax(axis=-1)[..., None, None]
    row = np.take_along_axis(products, pivot, axis=-2)[..., 0, :]
    row = np.where(row[..., :1] < 0, -row, row)
    return row / np.linalg.norm(row, axis=-1, keepdims=True)
