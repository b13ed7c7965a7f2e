# SPDX-License-Identifier: GPL-3.0-or-later
"""A first common frame for many views: pairs chained along the strongest spanning tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..similarity import Similarity, fit_camera_similarity, fit_similarity
from .errors import ViewsNotAligned
from .focal import focal_by_weiszfeld
from .pointmaps import (
    GOOD_CONFIDENCE,
    PairPoints,
    best_confidence,
    image_sizes,
    weighted_median,
)
from .pose_from_points import focal_from_points, intrinsics, pose_from_points

FloatArray = NDArray[np.float64]

PLAUSIBLE_FOCAL = (0.2, 20.0)
"""Focal length over the longer side: from a wide fisheye to a long telephoto lens."""


@dataclass(frozen=True, eq=False)
class InitialScene:
    """A rough common frame.

    Attributes:
        focals_px: one per view.
        poses: per view [4, 4] world_from_camera.
        pair_frames: per pair, what takes its pointmaps into the world.
    """

    focals_px: list[float]
    poses: list[FloatArray]
    pair_frames: list[Similarity]


def initial_scene(
    pairs: list[PairPoints],
    principal_points_px: list[FloatArray],
    known_focals_px: list[float] | None = None,
    known_poses: list[FloatArray] | None = None,
) -> InitialScene:
    """Chain the pairs' pointmaps into one frame and read cameras off it.

    Every quantity of a view comes from that view's own pixels, mask and focal length, so views of
    different shapes mix freely.  With ``known_poses`` the frame is moved onto them by one similarity.

    Raises:
        ViewsNotAligned: some views are connected to the rest by no pair, or cannot be placed.
    """
    points = _chain(pairs, len(principal_points_px))
    focals = known_focals_px or focals_of_views(pairs, points, principal_points_px)
    poses = _poses(pairs, points, focals, principal_points_px)
    if known_poses is not None:
        onto_known = fit_camera_similarity(poses, known_poses)
        points = [onto_known.apply(view_points) for view_points in points]
        poses = known_poses
    frames = [
        fit_similarity(
            np.concatenate([pair.points_1.reshape(-1, 3), pair.points_2.reshape(-1, 3)]),
            np.concatenate([points[pair.first].reshape(-1, 3), points[pair.second].reshape(-1, 3)]),
            np.concatenate([_weights(pair.confidence_1), _weights(pair.confidence_2)]))
        for pair in pairs]
    return InitialScene(list(focals), list(poses), frames)


def focals_of_views(
    pairs: list[PairPoints], points: list[FloatArray], principal_points_px: list[FloatArray]
) -> list[float]:
    """Per view the score-weighted median of the focal lengths that its own pointmaps imply.

    A view that is first in no pair is tried against its placed points with a range of focal lengths.
    """
    best = best_confidence(pairs)
    focals = []
    for view, centre in enumerate(principal_points_px):
        own = [pair for pair in pairs if pair.first == view]
        found = weighted_median(
            np.array([focal_by_weiszfeld(pair.points_1, centre) for pair in own]),
            np.array([pair.score for pair in own])) if own else None
        if found is None:
            found = focal_from_points(points[view], best[view] > GOOD_CONFIDENCE, centre)
        low, high = (limit * max(best[view].shape) for limit in PLAUSIBLE_FOCAL)
        if found is None or not low <= found <= high:
            raise ViewsNotAligned([view], "its pixels' points tell no plausible focal length")
        focals.append(found)
    return focals


def _chain(pairs: list[PairPoints], view_count: int) -> list[FloatArray]:
    """Per view its pixels' points [H, W, 3] in one frame (Prim's algorithm on the pairs' scores)."""
    remaining = sorted(pairs, key=lambda pair: pair.score, reverse=True)
    strongest = remaining[0]
    points: dict[int, FloatArray] = {
        strongest.first: strongest.points_1.astype(np.float64),
        strongest.second: strongest.points_2.astype(np.float64),
    }
    while len(points) < view_count:
        link = next((pair for pair in remaining if (pair.first in points) != (pair.second in points)), None)
        if link is None:
            missing = sorted(set(range(view_count)) - points.keys())
            raise ViewsNotAligned(missing, "no pair connects them to the other photos")
        if link.first in points:
            known, new = link.first, link.second
            here, confidence, there = link.points_1, link.confidence_1, link.points_2
        else:
            known, new = link.second, link.first
            here, confidence, there = link.points_2, link.confidence_2, link.points_1
        frame = fit_similarity(here.reshape(-1, 3), points[known].reshape(-1, 3), _weights(confidence))
        points[new] = frame.apply(there)
    return [points[view] for view in range(view_count)]


def _poses(
    pairs: list[PairPoints], points: list[FloatArray], focals_px: list[float], principal_points_px: list[FloatArray]
) -> list[FloatArray]:
    best = best_confidence(pairs)
    sizes = image_sizes(pairs)
    poses = []
    for view, (focal, centre) in enumerate(zip(focals_px, principal_points_px, strict=True)):
        K = intrinsics(focal, centre)
        found = pose_from_points(points[view], best[view] > GOOD_CONFIDENCE, K)
        if found is None:
            found = pose_from_points(points[view], np.ones(sizes[view], dtype=bool), K)
        if found is None:
            raise ViewsNotAligned([view], "its pixels' points fit no camera")
        poses.append(found.points_from_camera)
    return poses


def _weights(confidence: NDArray[np.float32]) -> FloatArray:
    """Weights of pixels in a least-squares fit: none for a guess (confidence 1)."""
    return np.log(np.maximum(confidence.reshape(-1).astype(np.float64), 1.0)) + 1e-6
