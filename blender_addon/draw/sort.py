# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of Gaussians from back to front, all objects together; knows no bpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .packing import TEXTURE_WIDTH

OUTLIERS = 0.02
"""Share of the nearest and of the farthest Gaussians that the depth mode's range leaves out."""


@dataclass(frozen=True, eq=False)
class Order:
    """Gaussians from far to near as texels [rows, 4096] (floats: exact up to 16.7 million), and the depths they span.

    Attributes:
        count: how many of the texels are Gaussians.
        near, far: depth along the view of all but the outermost few.
    """

    texels: NDArray[np.float32]
    count: int
    near: float
    far: float


def ascending(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices that sort finite floats, by two passes of radix sort.

    An IEEE float's bits sort like an integer once those of negatives are all flipped and those of others get the sign
    bit; numpy's stable sort of 16-bit integers is a radix sort (and leaves the interpreter to other threads).
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    keys = np.where(bits & np.uint32(0x80000000), ~bits, bits | np.uint32(0x80000000))
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    return order[np.argsort((keys >> np.uint32(16)).astype(np.uint16)[order], kind="stable")]


def back_to_front(positions: Sequence[NDArray[np.float32]], rows: NDArray[np.float32],
                  shown: Sequence[bool]) -> Order:
    """The order of several objects' Gaussians together.

    Args:
        positions: [N, 3] in each object's space; numbered on from object to object.
        rows: [objects, 4] third row of each matrix view_from_object; Blender's view looks along -Z.
        shown: objects to draw; the others' Gaussians are left out.
    """
    depths, numbers = [], []
    start = 0
    for position, row, is_shown in zip(positions, rows, shown, strict=True):
        if is_shown:
            depths.append(position @ row[:3] + row[3])
            numbers.append(np.arange(start, start + len(position), dtype=np.float32))
        start += len(position)
    z = np.concatenate(depths) if depths else np.zeros(0, np.float32)
    order = ascending(z)
    texels = np.zeros(max(-(-len(z) // TEXTURE_WIDTH), 1) * TEXTURE_WIDTH, np.float32)
    if not len(z):
        return Order(texels.reshape(-1, TEXTURE_WIDTH), 0, 0.0, 1.0)
    texels[:len(z)] = np.concatenate(numbers)[order]
    edge = int(OUTLIERS * (len(z) - 1))
    return Order(texels.reshape(-1, TEXTURE_WIDTH), len(z), -float(z[order[-1 - edge]]), -float(z[order[edge]]))
