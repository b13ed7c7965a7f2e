# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the surface point of a splat that a viewer sees along a ray."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .quaternions import matrices_from_quaternions

REACH_SIGMAS = 3.0
"""Gaussians whose centre is farther from the ray than this many of their largest standard deviations are left out."""
FAINTEST = 1 / 255
HALF_HIDDEN = 0.5
"""The surface lies where this share of the light from behind is blocked: the median depth of what is seen."""

Floats = NDArray[np.floating]


def seen_point(means: Floats, quats: Floats, scales: Floats, opacities: Floats, origin: Floats,
               direction: Floats) -> NDArray[np.float64] | None:
    """The point [3] of the ray where half of the light is blocked, or None where less than that is ever blocked.

    Each Gaussian blocks its opacity times its value at the point of the ray where it is densest.

    Args:
        means, quats, scales, opacities: [N, 3], [N, 4] wxyz, [N, 3] standard deviations, [N] in 0..1.
        origin, direction: [3] of the ray in the same space; the direction of any length.
    """
    start = np.asarray(origin, np.float64)
    along = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    relative = np.asarray(means, np.float64) - start
    depth = relative @ along
    squared = np.maximum(np.einsum("ni,ni->n", relative, relative) - depth * depth, 0)
    reach = REACH_SIGMAS * scales.max(axis=1, initial=0)
    near = np.flatnonzero((squared <= reach * reach) & (depth > 0) & (opacities >= FAINTEST))
    if not len(near):
        return None
    frames = matrices_from_quaternions(quats[near])
    spread = np.maximum(scales[near].astype(np.float64), 1e-12)
    ray = np.einsum("nij,i->nj", frames, along) / spread             # in units of standard deviations
    to_centre = np.einsum("nij,ni->nj", frames, relative[near]) / spread
    densest = np.einsum("nj,nj->n", ray, to_centre) / np.einsum("nj,nj->n", ray, ray)
    miss = to_centre - densest[:, None] * ray
    alpha = opacities[near] * np.exp(-0.5 * np.einsum("nj,nj->n", miss, miss))
    order = np.argsort(densest)
    order = order[(densest[order] > 0) & (alpha[order] >= FAINTEST)]
    light = np.cumprod(1 - np.minimum(alpha[order], 0.999))
    hidden = np.flatnonzero(light <= HALF_HIDDEN)
    if not len(hidden):
        return None
    point: NDArray[np.float64] = start + densest[order[hidden[0]]] * along
    return point
