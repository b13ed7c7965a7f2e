# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves, turns, scales and mirrors Gaussians whole: centres, rotations, sizes and spherical harmonics together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .axes import Axes, axes_rotation
from .gaussians import Gaussians
from .quaternions import matrices_from_quaternions, multiply, quaternions_from_matrices
from .sh import rotate_sh

SIMILARITY_TOLERANCE = 1e-4
"""Relative difference of a matrix's axis scales below which it counts as one uniform scale."""

Floats = NDArray[np.floating]


def transform_gaussians(gaussians: Gaussians, new_from_old: Floats) -> Gaussians:
    """The Gaussians under an affine map, with everything that depends on it.

    A rotation, uniform scale, mirror and move are exact, spherical harmonics included.  Under a scale that differs
    between axes the ellipsoids are still exact; the view dependence of colour is turned by the rotation nearest to
    the map, since colour seen through a stretched space has no exact counterpart.

    Args:
        gaussians: in the old frame.
        new_from_old: [4, 4] or [3, 3] matrix, such as a Blender object's ``matrix_world``.

    Raises:
        InputError: the matrix is not finite, not affine, or flattens space.
    """
    linear, move = _affine_parts(new_from_old)
    left, lengths, right = np.linalg.svd(linear)
    orthogonal = left @ right
    means = (np.asarray(gaussians.means, np.float64) @ linear.T + move).astype(np.float32)
    if lengths[0] - lengths[2] <= SIMILARITY_TOLERANCE * lengths[0]:
        # A Gaussian looks the same turned inside out: for a mirror, its opposite, a rotation, turns the quaternions.
        proper = orthogonal if np.linalg.det(orthogonal) > 0 else -orthogonal
        turn = quaternions_from_matrices(proper)
        quats = gaussians.quats if np.allclose(turn, (1, 0, 0, 0), atol=1e-12) else multiply(turn, gaussians.quats)
        log_scales = gaussians.log_scales + np.float32(np.log(np.cbrt(np.prod(lengths))))
    else:
        quats, log_scales = _stretched(gaussians, linear)
    is_turned = not np.allclose(orthogonal, np.eye(3), atol=1e-12)
    sh = rotate_sh(gaussians.sh, orthogonal) if is_turned else gaussians.sh
    return Gaussians(means, quats.astype(np.float32), log_scales.astype(np.float32), gaussians.opacity_logits, sh)


def convert_axes(gaussians: Gaussians, target: Axes, source: Axes) -> Gaussians:
    """The same splat written in other axes; ``source`` are the axes that it is in."""
    return gaussians if target == source else transform_gaussians(gaussians, axes_rotation(target, source))


def _affine_parts(matrix: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    full = np.eye(4)
    given = np.asarray(matrix, np.float64)
    if given.shape not in ((3, 3), (4, 4)):
        raise InputError("transform-shape", f"The transform has shape {given.shape}.", "Give a 3x3 or 4x4 matrix.")
    full[:given.shape[0], :given.shape[1]] = given
    if not np.isfinite(full).all() or not np.allclose(full[3], (0, 0, 0, 1)):
        raise InputError("transform-not-affine", "The transform is not finite or holds a perspective.",
                         "Reset the object's transform and place it again.")
    lengths = np.linalg.svd(full[:3, :3], compute_uv=False)
    if lengths[0] == 0 or lengths[2] < 1e-9 * lengths[0]:
        raise InputError("transform-flat", "The transform flattens the splat: a scale of zero on some axis.",
                         "Give the object a scale other than zero on every axis.")
    return full[:3, :3], full[:3, 3]


def _stretched(gaussians: Gaussians, linear: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quaternions and log scales of the ellipsoids under a map that is no similarity."""
    axes = matrices_from_quaternions(gaussians.quats) * np.exp(gaussians.log_scales.astype(np.float64))[:, None, :]
    frames, lengths, _ = np.linalg.svd(linear @ axes)
    frames[np.linalg.det(frames) < 0, :, 0] *= -1
    return quaternions_from_matrices(frames), np.log(np.maximum(lengths, 1e-30))
