# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras given: brings pair pointmaps to them by one scale per pair, one depth map per view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...scene.cameras import Camera
from ..cross_view import check_views
from ..similarity import direction_angle_deg, rotation_angle_deg
from .pointmaps import (
    GOOD_CONFIDENCE,
    FloatArray,
    PairPoints,
    best_confidence,
    pixel_centres,
    weighted_median,
    weighted_median_of_stack,
)
from .pose_from_points import PointsPose, pose_from_points

SAMPLES = 4096
"""Pixels per view that the depth ratios between pairs are measured on."""
FULL_PARALLAX = 0.1
"""Baseline over median depth from which a pair tells its scale at full weight."""
GIVEN_POSE_TRUST = 5.0
"""Weight of the scale found with the given pose, where it fits as well as a free one, against the free one's."""
REWEIGHTINGS = 20
MAX_ROTATION_DEG = 15.0
"""Rotation between given and seen relative pose above which a view counts as not aligned."""
MIN_CONFIRMED_SHARE = 0.1
"""A view of whose judged pixels fewer are confirmed by another view counts as not aligned."""


@dataclass(frozen=True)
class ViewAlignment:
    """How well one view's pointmaps fit the given cameras.

    Attributes:
        misalignment_px: median over its pairs of the distance between a pixel and its point put through
            the given cameras, where the network is sure; NaN without usable pairs.
        rotation_deg, direction_deg: median over its pairs of the angle between given and seen relative
            rotation, and between given and seen direction of the baseline; NaN likewise.
        scale_error: median over its pairs of how far (relative) a pair's own scale is off the one that
            all pairs together settled on.
        reprojection_px: median cross-view reprojection error; NaN when no other view sees its points.
        confirmed_share: share of the judged pixels that another view confirms within 2 px.
        refuted_share: share of all pixels that lost their confidence.
        aligned: whether the view can be used.
    """

    misalignment_px: float
    rotation_deg: float
    direction_deg: float
    scale_error: float
    reprojection_px: float
    confirmed_share: float
    refuted_share: float
    aligned: bool


@dataclass(frozen=True, eq=False)
class PosedAlignment:
    """Depth at the given cameras: per view [H, W] z-depth (0 unknown), confidence, and the fit.

    Attributes:
        pair_scales: per pair, world units per pointmap unit; NaN for pairs that could not be used.
    """

    depths: tuple[NDArray[np.float64], ...]
    confidences: tuple[NDArray[np.float32], ...]
    views: tuple[ViewAlignment, ...]
    pair_scales: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _SeenPair:
    """A pair with its seen relative pose, what the given one says, and both depth maps in pointmap units.

    Attributes:
        scale_votes: (logarithm of the scale, weight): from the length of the seen baseline, and from
            the given pose.
        misalignment_px: median reprojection distance of the second view's sure pixels at the given pose.
    """

    points: PairPoints
    pose: PointsPose
    depths: dict[int, NDArray[np.float64]]
    weights: dict[int, NDArray[np.float64]]
    scale_votes: list[tuple[float, float]]
    misalignment_px: float


def align_to_cameras(pairs: list[PairPoints], cameras: Sequence[Camera]) -> PosedAlignment:
    """Depth and confidence of every view at its given camera.

    Each pair's relative pose is seen from its points (perspective-n-point), which makes two depth maps
    of it, true up to one scale.  The scales of all pairs come from one robust fit of their logarithms:
    what each pair says against the given cameras, and the ratio of any two depth maps of the same view.
    A view's depth is the confidence-weighted median over its pairs.

    Args:
        cameras: one per view, sized to the pointmaps; kept as they are.

    Raises:
        InputError: no view can be aligned, or all cameras stand in one place.
    """
    seen = {index: found for index, pair in enumerate(pairs)
            if pair.first != pair.second and (found := _see(pair, cameras)) is not None}
    if not seen:
        raise InputError("geometry-not-aligned", "None of the photo pairs could be aligned with the given cameras.",
                         "Check that poses and photos belong together, or leave the poses out.")
    scales = dict(zip(seen, _fit_scales(list(seen.values()), cameras), strict=True))
    depths = _fuse(list(seen.values()), list(scales.values()), cameras)
    checks = check_views(cameras, depths)
    best = best_confidence(pairs)
    confidences, reports = [], []
    for view, check in enumerate(checks):
        report = _judge(view, [(pair, scales[index]) for index, pair in seen.items()], cameras, check.error_px,
                        check.confirmed_share, float(check.refuted.mean()))
        trusted = (depths[view] > 0) & ~check.refuted if report.aligned else np.zeros_like(check.refuted)
        confidences.append(np.where(trusted, best[view], 0.0).astype(np.float32))
        reports.append(report)
    if not any(report.aligned for report in reports):
        raise InputError("geometry-not-aligned", "The photos' depth fits the given cameras nowhere.",
                         "Check that poses and photos belong together, or leave the poses out.")
    return PosedAlignment(tuple(depths), tuple(confidences), tuple(reports),
                          tuple(scales.get(index, float("nan")) for index in range(len(pairs))))


def _see(pair: PairPoints, cameras: Sequence[Camera]) -> _SeenPair | None:
    """The pair with its seen relative pose, or ``None`` when its second view cannot be placed."""
    sure = pair.confidence_2 > GOOD_CONFIDENCE
    pose = pose_from_points(pair.points_2, sure, cameras[pair.second].K)
    if pose is None:
        return None
    second_from_first = pose.camera_from_points
    depths = {
        pair.first: pair.points_1[..., 2].astype(np.float64),
        pair.second: pair.points_2 @ second_from_first[2, :3] + second_from_first[2, 3],
    }
    weights = {
        view: np.where(depths[view] > 0, np.log(np.maximum(confidence, 1.0)) + 1e-6, 0.0) * pose.inlier_share
        for view, confidence in ((pair.first, pair.confidence_1), (pair.second, pair.confidence_2))}
    given = cameras[pair.second].camera_from_world @ cameras[pair.first].world_from_camera
    votes, misalignment_px = _scale_votes(pair, sure, pose, given, cameras[pair.second], depths[pair.first])
    return _SeenPair(pair, pose, depths, weights, votes, misalignment_px)


def _scale_votes(
    pair: PairPoints, sure: NDArray[np.bool_], pose: PointsPose, given: NDArray[np.float64], camera: Camera,
    first_depth: NDArray[np.float64],
) -> tuple[list[tuple[float, float]], float]:
    """The pair's two votes on the logarithm of its scale, and its misalignment in pixels.

    The seen baseline's length against the given one's needs no exact rotation but is noisy.  With the
    given pose each pixel tells the scale by itself: the one that brings its point closest to its ray.
    That is ten times as exact when the pose is, and worthless when it is not, so its weight falls with
    how much worse the given pose reprojects than the seen one.
    """
    seen = pose.camera_from_points
    baseline, seen_baseline = float(np.linalg.norm(given[:3, 3])), float(np.linalg.norm(seen[:3, 3]))
    middle = float(np.median(first_depth[first_depth > 0])) if (first_depth > 0).any() else 0.0
    # Cameras in one place differ by rounding alone.
    if baseline <= 1e-9 * (1 + np.linalg.norm(camera.centre)) or middle <= 0 or seen_baseline <= 1e-6 * middle:
        return [], _reprojection_px(pair.points_2, sure, camera, given[:3, :3], seen[:3, 3])
    weight = pose.inlier_share * min(1.0, seen_baseline / middle / FULL_PARALLAX)
    votes = [(float(np.log(baseline / seen_baseline)), weight)]

    points = pair.points_2.reshape(-1, 3) @ given[:3, :3].T
    rays = camera.pixel_rays().reshape(-1, 3)
    across, shift_across = np.cross(rays, points), np.cross(rays, given[:3, 3])
    lever = (across**2).sum(axis=-1)
    scales = -(across * shift_across).sum(axis=-1) / np.maximum(lever, 1e-300)
    pixel_weights = np.sqrt(lever) * np.log(np.maximum(pair.confidence_2.ravel(), 1.0))
    scale = weighted_median(scales, pixel_weights)
    if not scale > 0:
        return votes, _reprojection_px(
            pair.points_2, sure, camera, given[:3, :3], given[:3, 3] * seen_baseline / baseline)
    given_px = _reprojection_px(pair.points_2, sure, camera, given[:3, :3], given[:3, 3] / scale)
    seen_px = _reprojection_px(pair.points_2, sure, camera, seen[:3, :3], seen[:3, 3])
    fit = min(1.0, seen_px / max(given_px, 1e-9))
    votes.append((float(np.log(scale)), GIVEN_POSE_TRUST * weight * fit**4))
    return votes, given_px


def _reprojection_px(
    points: NDArray[np.float32], sure: NDArray[np.bool_], camera: Camera, rotation: NDArray[np.float64],
    translation: NDArray[np.float64],
) -> float:
    """Median distance in pixels between the ``sure`` pixels of a view and their points at a pose."""
    in_camera = (points[sure] @ rotation.T + translation) @ camera.K.T
    ahead = in_camera[:, 2] > 1e-9
    pixels = pixel_centres(*sure.shape)[sure][ahead]
    distance = np.linalg.norm(in_camera[ahead, :2] / in_camera[ahead, 2:] - pixels, axis=-1)
    # Points behind the camera are as wrong as can be; they count, so that the median knows of them.
    return float(np.median(np.append(distance, np.full((~ahead).sum(), np.inf)))) if sure.any() else float("nan")


def _fit_scales(pairs: list[_SeenPair], cameras: Sequence[Camera]) -> list[float]:
    """Scale of every pair: iteratively reweighted least absolute deviations of the logarithms."""
    rows, targets, weights = [], [], []

    def equation(coefficients: dict[int, float], target: float, weight: float) -> None:
        row = np.zeros(len(pairs))
        for index, value in coefficients.items():
            row[index] = value
        rows.append(row)
        targets.append(target)
        weights.append(weight)

    for index, pair in enumerate(pairs):
        for vote, weight in pair.scale_votes:
            equation({index: 1.0}, vote, weight)
    if not rows:
        raise InputError("cameras-in-one-place", "The given cameras all stand in the same place, so nothing tells "
                         "the size of the scene.", "Give poses with distance between them.")
    for view in range(len(cameras)):
        for first, second, log_ratio, weight in _depth_ratios(pairs, view):
            # log s_first + log z_first = log s_second + log z_second
            equation({first: 1.0, second: -1.0}, log_ratio, weight)
    # A pair that is tied to nothing keeps the scale of the others' median rather than failing the solve.
    A, b, base = np.stack(rows), np.array(targets), np.array(weights)
    solution = np.zeros(len(pairs))
    reweight = base
    for _ in range(REWEIGHTINGS):
        root = np.sqrt(reweight)
        solution = np.linalg.lstsq(A * root[:, None], b * root, rcond=None)[0]
        reweight = base / np.maximum(np.abs(A @ solution - b), 1e-4)
    return [float(scale) for scale in np.exp(solution)]


def _depth_ratios(pairs: list[_SeenPair], view: int) -> list[tuple[int, int, float, float]]:
    """(pair, other pair, median of log(other depth / depth), weight) for all pairs that hold ``view``."""
    holding = [index for index, pair in enumerate(pairs) if view in pair.depths]
    if len(holding) < 2:
        return []
    size = pairs[holding[0]].depths[view].size
    chosen = np.arange(size) if size <= SAMPLES else np.random.default_rng(view).choice(size, SAMPLES, replace=False)
    depth = np.stack([pairs[index].depths[view].ravel()[chosen] for index in holding])
    weight = np.stack([pairs[index].weights[view].ravel()[chosen] for index in holding])
    log_depth = np.log(np.maximum(depth, 1e-12))
    ratios = []
    for a in range(len(holding)):
        for b in range(a + 1, len(holding)):
            shared = np.minimum(weight[a], weight[b])
            ratio = weighted_median(log_depth[b] - log_depth[a], shared)
            if np.isfinite(ratio):
                # All ratios of one view together weigh about as much as its pairs' baselines do.
                share = min(pairs[holding[a]].pose.inlier_share, pairs[holding[b]].pose.inlier_share)
                ratios.append((holding[a], holding[b], ratio, share / (len(holding) - 1)))
    return ratios


def _fuse(pairs: list[_SeenPair], scales: list[float], cameras: Sequence[Camera]) -> list[NDArray[np.float64]]:
    depths = []
    for view, camera in enumerate(cameras):
        holding = [(pair, scale) for pair, scale in zip(pairs, scales, strict=True) if view in pair.depths]
        if not holding:
            depths.append(np.zeros((camera.height_px, camera.width_px)))
            continue
        depths.append(weighted_median_of_stack(
            np.stack([scale * pair.depths[view] for pair, scale in holding]),
            np.stack([pair.weights[view] for pair, _ in holding])))
    return depths


def _judge(
    view: int, scaled_pairs: list[tuple[_SeenPair, float]], cameras: Sequence[Camera], error_px: FloatArray,
    confirmed_share: float, refuted_share: float,
) -> ViewAlignment:
    misalignments, rotations, directions, scale_errors = [], [], [], []
    by_neighbour: dict[int, list[float]] = {}
    for pair, scale in scaled_pairs:
        if view not in pair.depths:
            continue
        given = cameras[pair.points.second].camera_from_world @ cameras[pair.points.first].world_from_camera
        seen = pair.pose.camera_from_points
        misalignments.append(pair.misalignment_px)
        rotations.append(rotation_angle_deg(given[:3, :3], seen[:3, :3]))
        directions.append(direction_angle_deg(given[:3, 3], seen[:3, 3]))
        scale_errors += [abs(float(np.exp(vote)) / scale - 1) for vote, _ in pair.scale_votes[-1:]]
        neighbour = pair.points.first + pair.points.second - view
        by_neighbour.setdefault(neighbour, []).append(rotations[-1])
    # One view with a wrong pose spoils its neighbours' pairs too; it alone agrees with none of them.
    best_rotation = min((float(np.mean(angles)) for angles in by_neighbour.values()), default=float("inf"))
    return ViewAlignment(
        misalignment_px=_median(misalignments),
        rotation_deg=_median(rotations),
        direction_deg=_median(directions),
        scale_error=_median(scale_errors),
        reprojection_px=_median(error_px[np.isfinite(error_px)]),
        confirmed_share=confirmed_share,
        refuted_share=refuted_share,
        aligned=best_rotation <= MAX_ROTATION_DEG and confirmed_share >= MIN_CONFIRMED_SHARE,
    )


def _median(values: list[float] | FloatArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
