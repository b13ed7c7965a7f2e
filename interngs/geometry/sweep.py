# SPDX-License-Identifier: GPL-3.0-or-later
"""Coarse-to-fine sweeps over all views, each using what the sweep before it confirmed between the views."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from ..scene.capture import View
from . import semi_global
from .consistency import Agreement, check_views
from .depth_range import DepthRange
from .inverse_depth_planes import choose_planes
from .matching_cost import COST_SCALE, SweptView, cost_volume
from .neighbours import witnesses
from .peaks import flatten_peaks
from .silhouettes import empty_pixels

LEVELS = ((0.5, 3), (1.0, 1))
"""(scale of the working size, sweeps at that scale)."""
STEP_PX = 0.5
MAX_PLANES = 256
P1, P2, EDGE_SCALE = 8, 100, 0.08
KEPT_VIEWS = 16
"""So many views are kept at working size: those that the next one is matched against are mostly among them."""


@dataclass(frozen=True, eq=False)
class SweptDepth:
    """What the sweeps found for one view.

    Attributes:
        depth: [H, W] float32 z-depth of the cheapest label, everywhere.
        cost: [H, W] float32 its matching cost, 0..1.
        planes: how many were swept.
        agreement: what the other views say about ``depth``.
    """

    depth: NDArray[np.float32]
    cost: NDArray[np.float32]
    planes: int
    agreement: Agreement


def sweep_count(views: int) -> int:
    """How many single-view sweeps :func:`sweep_views` makes."""
    return views * sum(count for _, count in LEVELS)


def sweep_views(views: list[View], gains: NDArray[np.float32], ranges: list[DepthRange], sources: list[list[int]],
                threads: int, report_sweep: Callable[[], None]) -> list[SweptDepth]:
    """Depth of every view.

    Args:
        gains: [N, 3] factors to a common exposure.
        sources: for each view the indices of the views it is matched against.
        report_sweep: called after each of the ``sweep_count`` sweeps.
    """
    agreements: list[Agreement] = []
    others = witnesses([view.posed_camera for view in views], ranges)
    for scale, count in LEVELS:
        scaled = _ScaledViews(views, gains, scale)
        cameras = scaled.cameras
        planes = [choose_planes(cameras[k], [cameras[s] for s in sources[k]], ranges[k], STEP_PX, MAX_PLANES)
                  for k in range(len(views))]
        for _ in range(count):
            scaled.confirm(agreements)
            found = []
            for k in range(len(views)):
                found.append(_sweep_view(scaled[k], [scaled[s] for s in sources[k]], planes[k], threads))
                report_sweep()
            agreements = check_views(cameras, [depth for depth, _ in found], others)
    depths = [flatten_peaks(depth, agreements[k].confirmed, scaled[k].image) for k, (depth, _) in enumerate(found)]
    agreements = check_views(cameras, depths, others)
    return [SweptDepth(depths[k], cost, len(planes[k]), agreements[k]) for k, (_, cost) in enumerate(found)]


class _ScaledViews:
    """The views at a working size, made when they are needed; the last ones are kept."""

    def __init__(self, views: list[View], gains: NDArray[np.float32], scale: float) -> None:
        self._views, self._gains, self._scale = views, gains, scale
        self.cameras = [_camera_at(view, scale) for view in views]
        self._agreements: list[Agreement] = []
        self._kept: OrderedDict[int, SweptView] = OrderedDict()

    def confirm(self, agreements: list[Agreement]) -> None:
        """From now on views come with what these say of their depth (nothing when empty)."""
        self._agreements = agreements
        self._kept.clear()

    def __getitem__(self, index: int) -> SweptView:
        if index not in self._kept:
            view = _at_scale(self._views[index], self._gains[index], self.cameras[index])
            self._kept[index] = _with_confirmed(view, self._agreements[index]) if self._agreements else view
            while len(self._kept) > KEPT_VIEWS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(index)
        return self._kept[index]


def _camera_at(view: View, scale: float) -> Camera:
    height, width = view.image.shape[:2]
    return view.posed_camera.resized(max(round(width * scale), 1), max(round(height * scale), 1))


def _at_scale(view: View, gain: NDArray[np.float32], camera: Camera) -> SweptView:
    size = (camera.width_px, camera.height_px)
    image = cv2.resize(view.image * gain, size, interpolation=cv2.INTER_AREA)
    mask = np.ones(view.image.shape[:2], np.float32) if view.mask is None else view.mask
    counts = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0.5, np.uint8)
    empty = None if view.alpha is None else empty_pixels(view.alpha).astype(np.uint8)
    if empty is not None:
        empty = np.asarray(cv2.resize(empty, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return SweptView(np.ascontiguousarray(image, np.float32), camera, counts, empty=empty)


def _with_confirmed(view: SweptView, agreement: Agreement) -> SweptView:
    """The view with the inverse depth that another view confirms, brought to its size."""
    inverse = np.where(agreement.confirmed > 0, 1 / np.maximum(agreement.fused, np.float32(1e-20)), np.float32(0))
    size = (view.camera.width_px, view.camera.height_px)
    inverse = cv2.resize(inverse, size, interpolation=cv2.INTER_NEAREST)
    return replace(view, confirmed_inverse_depth=np.asarray(inverse * view.mask, np.float32))


def _sweep_view(view: SweptView, sources: list[SweptView], inverse_depths: NDArray[np.float64],
                threads: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth [H, W] of one view and its cost 0..1 [H, W]."""
    if not sources:
        return np.zeros(view.mask.shape, np.float32), np.ones(view.mask.shape, np.float32)
    volume = cost_volume(view, sources, inverse_depths, threads)
    total = semi_global.aggregate(volume, view.image, P1, P2, EDGE_SCALE)
    label, _ = semi_global.best_label(total)
    picked = np.round(label).astype(np.intp)[..., None]
    cost = np.take_along_axis(volume, picked, axis=2)[..., 0].astype(np.float32) / np.float32(COST_SCALE)
    step = inverse_depths[1] - inverse_depths[0]
    depth = 1 / (inverse_depths[0] + label * step)
    return (depth * view.mask).astype(np.float32), cost
