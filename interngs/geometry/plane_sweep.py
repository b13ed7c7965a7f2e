# SPDX-License-Identifier: GPL-3.0-or-later
"""Dense geometry of posed photographs without any network: plane sweep, semi-global matching, consistency."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.cameras import validate_camera
from ..scene.capture import Capture, View
from . import semi_global
from .consistency import Agreement, check_view
from .depth_range import DepthRange, find_depth_ranges
from .matching_cost import COST_SCALE, Source, cost_volume, inverse_depth_planes
from .prior import Geometry, ReportProgress, ViewGeometry
from .source_views import choose_sources
from .sparse_matches import match_capture

MAX_SOURCES = 4
MAX_PLANES = 256
STEP_PX = 0.7
PASSES = 3
"""Sweeps over all views; each after the first uses what the one before confirmed."""
P1, P2, EDGE_SCALE = 8, 60, 0.08


class PlaneSweep:
    """The built-in geometry (see ``GeometryPrior``): works on any posed capture, needs no weights."""

    name = "plane-sweep"

    def __init__(self, threads: int | None = None) -> None:
        """``threads``: how many to use; by default two, or one on a machine with a single core."""
        self.threads = threads if threads is not None else min(2, os.cpu_count() or 1)

    def estimate(self, capture: Capture, report_progress: ReportProgress) -> Geometry:
        """Dense depth and confidence of every view.

        Raises:
            InputError: fewer than two views, a view without camera, or no two views that overlap.
        """
        views = list(capture.views)
        _check_capture(views)
        steps = PASSES * len(views) + 2
        matches = match_capture(views)
        report_progress(1, steps)
        cameras = [view.posed_camera for view in views]
        ranges = find_depth_ranges(cameras, matches)
        sources = [choose_sources(k, cameras, ranges[k], MAX_SOURCES) for k in range(len(views))]
        if not any(sources):
            raise InputError("no-overlap", "No two of the cameras see a common part of the scene.",
                             "Check that the poses belong to these photos, or add photos in between.")
        planes = [inverse_depth_planes(cameras[k], [cameras[s] for s in sources[k]], ranges[k], STEP_PX, MAX_PLANES)
                  for k in range(len(views))]
        depths: list[NDArray[np.float32]] = []
        known: list[NDArray[np.float32] | None] = [None] * len(views)
        done = 1
        for _ in range(PASSES):
            swept = []
            for k, view in enumerate(views):
                swept.append(_sweep_view(view, [Source(views[s], known[s]) for s in sources[k]], planes[k],
                                         self.threads))
                done += 1
                report_progress(done, steps)
            depths = [depth for depth, _ in swept]
            agreements = [check_view(k, cameras, depths) for k in range(len(views))]
            known = [_confirmed_inverse_depth(a) for a in agreements]
        result = []
        for k, view in enumerate(views):
            depth = np.where(agreements[k].confirmed > 0, agreements[k].fused, depths[k])
            confidence = _confidence(view, agreements[k], swept[k][1], bool(sources[k]))
            result.append(ViewGeometry(cameras[k], depth, confidence))
        report_progress(steps, steps)
        return Geometry(tuple(result), self.name, _report(views, ranges, sources, planes, result),
                        _warnings(views, ranges, sources))


def _confirmed_inverse_depth(agreement: Agreement) -> NDArray[np.float32]:
    """[H, W] inverse depth that another view confirms, 0 elsewhere."""
    return np.where(agreement.confirmed > 0, 1 / np.maximum(agreement.fused, np.float32(1e-20)), np.float32(0))


def _check_capture(views: list[View]) -> None:
    if len(views) < 2:
        raise InputError("too-few-views", f"Plane sweep needs at least two photos, there are {len(views)}.",
                         "Add photos of the same scene.")
    missing = [view.name for view in views if view.camera is None]
    if missing:
        raise InputError("pose-missing", f"No camera pose is known for {', '.join(map(repr, missing))}.",
                         "Give poses (COLMAP, transforms.json, Blender cameras) or use a geometry that estimates them.")
    for view in views:
        validate_camera(view.posed_camera, view.name)


def _sweep_view(view: View, sources: list[Source], inverse_depths: NDArray[np.float64],
                threads: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth [H, W] of one view and its cost 0..1 [H, W]."""
    if not sources:
        return np.zeros(view.image.shape[:2], np.float32), np.ones(view.image.shape[:2], np.float32)
    volume = cost_volume(view, sources, inverse_depths, threads)
    total = semi_global.aggregate(volume, view.image, P1, P2, EDGE_SCALE)
    label, _ = semi_global.best_label(total)
    picked = np.round(label).astype(np.intp)[..., None]
    cost = np.take_along_axis(volume, picked, axis=2)[..., 0].astype(np.float32) / np.float32(COST_SCALE)
    return _depth_of_label(label, inverse_depths), cost


def _depth_of_label(label: NDArray[np.float32], inverse_depths: NDArray[np.float64]) -> NDArray[np.float32]:
    step = inverse_depths[1] - inverse_depths[0]
    return (1 / (inverse_depths[0] + label * step)).astype(np.float32)


def _confidence(view: View, agreement: Agreement, cost: NDArray[np.float32], has_sources: bool) -> NDArray[np.float32]:
    """Confidence in DUSt3R's convention: 1 for filled depth, 3 and more for confirmed depth."""
    similarity = np.clip(1 - cost, 0, 1)
    confirmed = np.minimum(agreement.confirmed, 4)
    confidence = np.where(confirmed > 0, 2 + confirmed * (1 + 3 * similarity), 1.0)
    if not has_sources:
        confidence = np.zeros_like(confidence)
    if view.mask is not None:
        confidence = np.where(view.mask > 0.5, confidence, 0.0)
    return confidence.astype(np.float32)


def _report(views: list[View], ranges: list[DepthRange], sources: list[list[int]], planes: list[NDArray[np.float64]],
            result: list[ViewGeometry]) -> dict[str, Any]:
    return {"views": [{"name": view.name, "near": ranges[k].near, "far": ranges[k].far,
                       "range_points": ranges[k].points, "planes": len(planes[k]),
                       "sources": [views[s].name for s in sources[k]],
                       "confident_share": float((result[k].confidence >= 3).mean())}
                      for k, view in enumerate(views)]}


def _warnings(views: list[View], ranges: list[DepthRange], sources: list[list[int]]) -> tuple[str, ...]:
    warnings = [f"{view.name!r} shares no part of the scene with another photo; it gets no depth."
                for view, chosen in zip(views, sources, strict=True) if not chosen]
    guessed = [view.name for view, found in zip(views, ranges, strict=True) if found.points == 0]
    if guessed:
        warnings.append("Too few matching points to find the depth range of "
                        f"{', '.join(map(repr, guessed))}; it was guessed from the distance between the cameras.")
    return tuple(warnings)
