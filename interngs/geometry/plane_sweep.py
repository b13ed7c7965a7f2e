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
from .depth_range import DepthRange, find_depth_ranges
from .exposure_gains import exposure_gains
from .neighbours import pairs_by_pose
from .prior import Geometry, ReportProgress, ViewGeometry
from .source_views import choose_sources
from .sparse_matches import match_capture
from .sweep import SweptDepth, sweep_count, sweep_views

MAX_SOURCES = 4


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
        steps, done = sweep_count(len(views)) + 1, 0

        def step_done() -> None:
            nonlocal done
            done += 1
            report_progress(done, steps)

        cameras = [view.posed_camera for view in views]
        matches = match_capture(views, pairs_by_pose(cameras))
        ranges = find_depth_ranges(cameras, matches)
        sources = [choose_sources(k, cameras, ranges[k], MAX_SOURCES) for k in range(len(views))]
        if not any(sources):
            raise InputError("no-overlap", "No two of the cameras see a common part of the scene.",
                             "Check that the poses belong to these photos, or add photos in between.")
        step_done()
        swept = sweep_views(views, exposure_gains(views, matches), ranges, sources, self.threads, step_done)
        result = [ViewGeometry(cameras[k], _fused(swept[k]), _confidence(view, swept[k], bool(sources[k])))
                  for k, view in enumerate(views)]
        return Geometry(tuple(result), self.name, _report(views, ranges, sources, swept, result),
                        _warnings(views, ranges, sources))


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


def _fused(swept: SweptDepth) -> NDArray[np.float32]:
    """The mean with the depths that confirm it, where any do; else the sweep's own depth."""
    return np.where(swept.agreement.confirmed > 0, swept.agreement.fused, swept.depth)


def _confidence(view: View, swept: SweptDepth, has_sources: bool) -> NDArray[np.float32]:
    """Confidence in DUSt3R's convention: 1 for filled depth, 3 and more for confirmed depth."""
    similarity = np.clip(1 - swept.cost, 0, 1)
    confirmed = np.minimum(swept.agreement.confirmed, 4)
    confidence = np.where(confirmed > 0, 2 + confirmed * (1 + 3 * similarity), 1.0)
    if not has_sources:
        confidence = np.zeros_like(confidence)
    if view.mask is not None:
        confidence = np.where(view.mask > 0.5, confidence, 0.0)
    return confidence.astype(np.float32)


def _report(views: list[View], ranges: list[DepthRange], sources: list[list[int]], swept: list[SweptDepth],
            result: list[ViewGeometry]) -> dict[str, Any]:
    return {"views": [{"name": view.name, "near": ranges[k].near, "far": ranges[k].far,
                       "range_points": ranges[k].points, "planes": swept[k].planes,
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
