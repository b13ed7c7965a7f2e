# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost volume of a view: how well each plane explains the sources' photos and what is known of their depth."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from .inverse_depth_planes import plane_homography
from .photometric import PhotometricCost

COST_SCALE = 127
"""Cost of a complete mismatch."""
HIDDEN_COST, OUTSIDE_COST = np.float32(0.5), np.float32(0.55)
"""Cost (0..1) of a hypothesis that lies behind what a source sees, or outside the frame of all of them.

Dearer than a match, cheaper than a clear mismatch, and low enough that repeating texture, which always finds something
alike somewhere, does not win over the smooth continuation of a surface that one view alone sees."""
DEPTH_WEIGHT = 0.5
"""Share of the other views' depths in the cost, where they are known."""
DEPTH_TOLERANCE = 0.01
"""Relative depth difference at which another view's depth is half as bad as a contradiction."""

# Beyond any cost; the smaller one wins where a point is hidden in one source and outside the other.
_HIDDEN, _OUTSIDE = np.float32(2.0), np.float32(3.0)


@dataclass(frozen=True, eq=False)
class SweptView:
    """A view as the sweep uses it: at working size, at the capture's common exposure.

    Attributes:
        image: [H, W, 3] float32, about 0..1.
        camera: sized to ``image``.
        mask: [H, W] uint8, 1 where the view counts.
        confirmed_inverse_depth: [H, W] float32 what other views have confirmed of its depth; 0 where nothing.
        empty: [H, W] uint8, 1 where the photograph's alpha says that there is nothing; None without alpha.
    """

    image: NDArray[np.float32]
    camera: Camera
    mask: NDArray[np.uint8]
    confirmed_inverse_depth: NDArray[np.float32] | None = None
    empty: NDArray[np.uint8] | None = None


def cost_volume(view: SweptView, sources: Sequence[SweptView], inverse_depths: NDArray[np.float64],
                threads: int) -> NDArray[np.uint8]:
    """[H, W, D] matching cost, 0..``COST_SCALE``.

    The photometric part is the mean over the better half (two at most) of the sources that see the point, since
    it may be hidden in the others (Kang, Szeliski and Chai 2001).  Where a source's own depth is known, a point
    behind it is not compared there at all, and a point before it is charged for standing in free space.  A point
    that a source shows to be empty space is a complete mismatch, whatever the others say.
    """
    height, width = view.image.shape[:2]
    planes = np.empty((len(inverse_depths), height, width), np.uint8)
    sweep = _Sweep(view, sources)

    def fill(label: int) -> None:
        planes[label] = sweep.plane(float(inverse_depths[label]))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(len(inverse_depths))))
    return _labels_last(planes)


def _labels_last(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[D, H, W] to a contiguous [H, W, D], in bands that stay in the cache."""
    depth, height, width = planes.shape
    volume = np.empty((height, width, depth), np.uint8)
    for top in range(0, height, 16):
        volume[top:top + 16] = planes[:, top:top + 16].transpose(1, 2, 0)
    return volume


class _Sweep:
    """One view and its sources, ready to be compared plane by plane (safe to call from several threads)."""

    def __init__(self, view: SweptView, sources: Sequence[SweptView]) -> None:
        self.camera = view.camera
        self.compare = PhotometricCost(view.image)
        self.sources = sources
        self.columns = np.arange(self.camera.width_px, dtype=np.float32)[None]
        self.rows = np.arange(self.camera.height_px, dtype=np.float32)[:, None]

    def plane(self, inverse_depth: float) -> NDArray[np.uint8]:
        """[H, W] cost of the plane at ``inverse_depth``."""
        photometric, charges, refuted = [], [], []
        for source in self.sources:
            mapping = plane_homography(self.camera, source.camera, inverse_depth)
            row = (mapping[2] / inverse_depth).astype(np.float32)
            z = (row[0] * self.columns + row[2]) + row[1] * self.rows
            if z.min() <= 0:      # part of the plane lies behind the source
                photometric.append(np.full(z.shape, _OUTSIDE))
                continue
            cost = self.compare(self._warp(source.image, mapping, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE))
            cost[self._warp(source.mask, mapping, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) == 0] = _OUTSIDE
            if source.empty is not None:
                refuted.append(self._warp(source.empty, mapping, cv2.INTER_NEAREST, cv2.BORDER_REPLICATE))
            if source.confirmed_inverse_depth is not None:
                known = self._warp(source.confirmed_inverse_depth, mapping, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
                charge, hidden = _depth_charge(known, z)
                cost[hidden] = _HIDDEN
                charges.append(charge)
            photometric.append(cost)
        total = _better_half(photometric)
        if charges:
            total *= np.float32(1 - DEPTH_WEIGHT)
            total += np.float32(DEPTH_WEIGHT / 2) * np.minimum.reduce(charges)
            total += np.float32(DEPTH_WEIGHT / 2) * np.maximum.reduce(charges)
        for empty in refuted:
            total[empty > 0] = 1
        total *= np.float32(COST_SCALE)
        return np.round(total, out=total).astype(np.uint8)

    def _warp(self, image: NDArray[Any], mapping: NDArray[np.float64], interpolation: int, border: int) -> NDArray[Any]:
        return np.asarray(cv2.warpPerspective(image, mapping, (self.camera.width_px, self.camera.height_px),
                                              flags=cv2.WARP_INVERSE_MAP | interpolation, borderMode=border))


def _depth_charge(known: NDArray[np.float32], z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Charge 0..1 [H, W] for points at depth ``z`` in a source of inverse depth ``known``, and which it cannot see.

    0 on the source's surface, 1/2 where nothing is known or the point is hidden, 1 in free space.
    """
    beyond = z * known
    beyond -= 1
    beyond *= np.float32(0.5 / DEPTH_TOLERANCE)
    charge = np.abs(beyond)
    np.minimum(charge, 1, out=charge)
    charge *= np.float32(0.5)
    free = beyond <= -1
    free &= known > 0
    charge[free] = 1
    return charge, beyond >= 1


def _better_half(costs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """[H, W] the best cost, or the mean of the best two where three sources or more see the point."""
    best = costs[0]
    if len(costs) > 1:
        second = np.maximum(costs[0], costs[1])
        best = np.minimum(costs[0], costs[1])
    if len(costs) > 2:
        third = np.full_like(best, _HIDDEN)
        for cost in costs[2:]:
            np.minimum(third, np.maximum(second, cost), out=third)
            second = np.minimum(second, np.maximum(best, cost))
            best = np.minimum(best, cost)
        best = np.where(third < _HIDDEN, (best + second) * np.float32(0.5), best)
    best[best >= _OUTSIDE] = OUTSIDE_COST
    best[best >= _HIDDEN] = HIDDEN_COST
    return best
