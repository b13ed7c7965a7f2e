# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions that the compact splat formats share: activated values, and quaternions by their three smallest parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scene.gaussians import SH_C0, Gaussians

LEAST_OPACITY = 0.25 / 255
"""Opacities from activated values are held this far inside 0..1: a quarter of a byte's step, so that logits stay
finite and a byte survives the way there and back."""

_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def logits_from_opacities(opacities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Logits of activated opacities 0..1."""
    held = np.clip(opacities, LEAST_OPACITY, 1 - LEAST_OPACITY)
    return np.log(held / (1 - held)).astype(np.float32)


def logs_from_scales(scales: NDArray[np.floating]) -> NDArray[np.float32]:
    """Natural logs of linear scales; a scale of 0, a flat Gaussian, becomes -inf and is held finite on load."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(scales).astype(np.float32)


def constant_band_from_colours(colours: NDArray[np.floating]) -> NDArray[np.float32]:
    """Constant-band coefficients of base colours 0..1."""
    return ((colours - 0.5) / SH_C0).astype(np.float32)


def bytes_from_unit(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Bytes 0..255 nearest to values 0..1; values outside are clipped."""
    return np.clip(np.rint(values * np.float32(255)), 0, 255).astype(np.uint8)


def rgba_bytes(gaussians: Gaussians) -> NDArray[np.uint8]:
    """[N, 4] base colour and activated opacity as bytes."""
    rgba = np.empty((len(gaussians), 4), np.uint8)
    rgba[:, :3] = bytes_from_unit(gaussians.base_colours)
    rgba[:, 3] = bytes_from_unit(gaussians.opacities)
    return rgba


def split_largest(quats: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Index [N] of the largest component of unit quaternions, and the other three [N, 3] with its sign made positive.

    q and -q are the same rotation, so the largest component follows from the others.  Each of them is at most
    1 / sqrt(2) in size.
    """
    rows = np.arange(len(quats))
    largest = np.abs(quats).argmax(axis=1)
    sign = np.where(quats[rows, largest] < 0, -1, 1).astype(quats.dtype)
    return largest, quats[rows[:, None], _OTHERS[largest]] * sign[:, None]


def join_largest(largest: NDArray[np.integer], others: NDArray[np.floating]) -> NDArray[np.float32]:
    """Quaternions [N, 4] from the index of the largest component and the other three."""
    rows = np.arange(len(largest))
    quats = np.empty((len(largest), 4), np.float32)
    quats[rows[:, None], _OTHERS[largest]] = others
    quats[rows, largest] = np.sqrt(np.maximum(1 - np.einsum("ni,ni->n", others, others), 0))
    return quats
