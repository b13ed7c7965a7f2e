# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth that came with the capture, as a geometry: nothing to estimate, only to check."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.cameras import validate_camera
from ..scene.capture import Capture, View
from .cross_view import CrossViewCheck, check_views
from .prior import Geometry, ReportProgress, ViewGeometry

CERTAIN = 20.0
"""Confidence of given depth that a second view confirms."""
UNCHECKED = 10.0
"""Confidence of given depth that no other view sees."""
MASKED_BELOW = 0.5
"""Mask values under this are background."""
POOR_AGREEMENT = 0.5
"""Confirmed share under which a view's depth and pose are said not to fit the others'."""


class GivenDepth:
    """Depth and poses of the capture, as they are (see ``GeometryPrior``).

    Background by mask has no depth.  Pixels that another view sees through keep their depth and lose
    their confidence: exact depth of a rendering never disagrees, scanned depth does at edges.
    """

    name = "given-depth"

    def estimate(self, capture: Capture, report_progress: ReportProgress) -> Geometry:
        """The given depth with confidence from a check between the views.

        Raises:
            InputError: a view without depth or pose, depth of another size, or no known depth at all.
        """
        cameras, depths = [], []
        for view in capture.views:
            given = _checked_depth(view)
            depth = np.where(np.isfinite(given) & (given > 0), given, 0).astype(np.float32)
            if view.mask is not None:
                depth[view.mask < MASKED_BELOW] = 0
            cameras.append(view.posed_camera)
            depths.append(depth)
        if not any((depth > 0).any() for depth in depths):
            raise InputError("depth-empty", "The given depth maps hold no depth: every pixel is unknown or masked.",
                             "Render or export the depth again, or choose another geometry.")
        report_progress(0, 1)
        checks = check_views(cameras, depths)
        views = []
        for camera, depth, check in zip(cameras, depths, checks, strict=True):
            confidence = np.where(check.confirmations > 0, CERTAIN, UNCHECKED)
            confidence = np.where((depth > 0) & ~check.refuted, confidence, 0).astype(np.float32)
            views.append(ViewGeometry(camera, depth, confidence))
        report_progress(1, 1)
        return Geometry(tuple(views), self.name, _report(capture, checks, views), _warnings(capture, checks))


def _checked_depth(view: View) -> NDArray[np.float32]:
    if view.camera is None or view.depth is None:
        missing = "pose" if view.camera is None else "depth"
        raise InputError("depth-missing", f"{view.name!r} has no {missing}, so its given depth cannot be used.",
                         "Give every photo a depth map and a pose, or choose another geometry.")
    validate_camera(view.camera, view.name)
    if view.depth.shape != view.image.shape[:2]:
        raise InputError("depth-size", f"The depth of {view.name!r} is {view.depth.shape[1]}x{view.depth.shape[0]} px, "
                         f"its image {view.image.shape[1]}x{view.image.shape[0]} px.",
                         "Render depth and image at the same size.")
    return view.depth


def _report(capture: Capture, checks: list[CrossViewCheck], views: list[ViewGeometry]) -> dict[str, object]:
    return {
        "known_share": float(np.mean([(view.depth > 0).mean() for view in views])),
        "views": [{"view": view.name, "confirmed_share": check.confirmed_share,
                   "refuted_share": float(check.refuted.mean())}
                  for view, check in zip(capture.views, checks, strict=True)]}


def _warnings(capture: Capture, checks: list[CrossViewCheck]) -> tuple[str, ...]:
    warnings = []
    for view, check in zip(capture.views, checks, strict=True):
        judged = (check.confirmations > 0) | (check.contradictions > 0)
        if judged.any() and check.confirmed_share < POOR_AGREEMENT:
            warnings.append(f"The depth of {view.name!r} does not fit the other views' (only "
                            f"{100 * check.confirmed_share:.0f} % confirmed): its pose or its depth's unit is wrong.")
    return tuple(warnings)
