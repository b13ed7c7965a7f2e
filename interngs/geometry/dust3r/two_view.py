# SPDX-License-Identifier: GPL-3.0-or-later
"""Two views alone: cameras and depth straight from their two pointmaps, with nothing to optimise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...scene.cameras import Camera
from .errors import ViewsNotAligned
from .focal import focal_by_weiszfeld
from .pointmaps import GOOD_CONFIDENCE, FloatArray, PairPoints, best_confidence
from .pose_from_points import intrinsics, pose_from_points


@dataclass(frozen=True, eq=False)
class AlignedViews:
    """Views in one frame: cameras, z-depth [H, W] and confidence [H, W] each, in the views' order."""

    cameras: tuple[Camera, ...]
    depths: tuple[NDArray[np.float64], ...]
    confidences: tuple[NDArray[np.float32], ...]


def centre_of(height: int, width: int) -> NDArray[np.float64]:
    """[2] principal point of an image cut about its optical axis, the origin at the corner."""
    return np.array([width / 2, height / 2])


def align_two_views(
    forward: PairPoints, backward: PairPoints, principal_points_px: Sequence[FloatArray] | None = None
) -> AlignedViews:
    """Cameras and depth of views 0 and 1 from the pairs (0, 1) and (1, 0).

    The pair with the higher score decides: its first view is the origin, its second view's pose comes
    from its points by perspective-n-point.  Each view's focal length comes from its own pointmap
    (DUSt3R, section 3.3).

    Args:
        principal_points_px: one [2] per view; the image centres by default.

    Raises:
        ViewsNotAligned: the second view cannot be placed.
    """
    own = {forward.first: forward, backward.first: backward}
    if set(own) != {0, 1} or forward.second != backward.first or backward.second != forward.first:
        raise ValueError("two views need the pairs (0, 1) and (1, 0)")
    centres = principal_points_px or [centre_of(*own[view].confidence_1.shape) for view in (0, 1)]
    K = [intrinsics(focal_by_weiszfeld(own[view].points_1, centres[view]), centres[view]) for view in (0, 1)]
    leading = forward if forward.score > backward.score else backward
    found = pose_from_points(leading.points_2, leading.confidence_2 > GOOD_CONFIDENCE, K[leading.second])
    if found is None:
        raise ViewsNotAligned([leading.second], "too few of its pixels were recognised in the other photo")
    cameras: dict[int, Camera] = {}
    depths: dict[int, NDArray[np.float64]] = {}
    for view in (0, 1):
        height, width = own[view].confidence_1.shape
        cameras[view] = Camera(K[view], np.eye(4), width, height)
    cameras[leading.second] = replace(cameras[leading.second], camera_from_world=found.camera_from_points)
    depths[leading.first] = leading.points_1[..., 2].astype(np.float64)
    pose = found.camera_from_points
    depths[leading.second] = leading.points_2 @ pose[2, :3] + pose[2, 3]
    confidences = best_confidence([forward, backward])
    return AlignedViews(
        (cameras[0], cameras[1]), (depths[0], depths[1]), (confidences[0], confidences[1]))
