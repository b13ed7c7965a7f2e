# SPDX-License-Identifier: GPL-3.0-or-later
"""Named filters with numbers that tidy a splat, and the report of what each removed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .cameras import Camera
from .gaussians import Gaussians
from .neighbours import near_neighbours

Mask = NDArray[np.bool_]

NORMAL_SCATTER = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
HULL_DIRECTIONS = 320
ROWS_AT_ONCE = 16384
"""Centres handled at a time, so that the work stays in the processor's cache."""


@dataclass(frozen=True)
class CleanSettings:
    """What to remove; ``None`` switches a filter off.  Lengths are in the splat's own units.

    The defaults take only what harms nearly every splat: what cannot be drawn or seen, what is larger than the scene,
    long needles, and points far from everything else.
    """

    min_opacity: float | None = 0.005
    """Fainter Gaussians go (1 / 255 is the least a screen shows)."""
    max_relative_size: float | None = 0.5
    """Gaussians whose largest standard deviation exceeds this share of the scene extent go."""
    min_relative_size: float | None = 1e-7
    """Gaussians whose largest standard deviation is below this share of the scene extent go: they are dead."""
    max_needle: float | None = 50.0
    """Gaussians whose longest axis exceeds the middle one by more than this factor go; flat discs stay."""
    max_isolation: float | None = 6.0
    """Gaussians whose mean distance to their ``neighbours`` exceeds that of the neighbours themselves by more than
    this factor go (a local measure, so near and far parts of a scene are judged alike)."""
    max_sparsity: float | None = 5.0
    """Gaussians whose mean distance to their ``neighbours`` lies more than this many standard deviations above the
    scene's median go (robust, on the logarithm of the distance): clouds of floaters, thin everywhere."""
    neighbours: int = 8
    """How many neighbours the isolation is measured by."""
    box: tuple[float, float, float, float, float, float] | None = None
    """Keep only centres inside: least x, y, z, then greatest x, y, z."""
    sphere: tuple[float, float, float, float] | None = None
    """Keep only centres inside: centre x, y, z and radius."""
    min_views: int | None = None
    """Gaussians whose centre fewer than this many cameras see (frame only, occlusion aside) go; needs cameras."""
    min_camera_distance: float | None = None
    """Gaussians nearer to a camera that sees them than this share of that camera's median depth go; needs cameras."""
    max_hull_reach: float | None = None
    """Gaussians outside the camera hull go: the convex hull of the cameras and of what their frames hold up to this
    many times their median depth; needs cameras."""


KEEP_ALL = CleanSettings(None, None, None, None, None, None)
"""No filter but the one for values that are not finite: ``dataclasses.replace`` switches single ones on."""


@dataclass(frozen=True)
class FilterReport:
    """What one filter did: its name, its setting in words, and how many it removed of those left to it."""

    name: str
    setting: str
    removed: int
    before: int

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.name} ({self.setting}): {self.removed} of {self.before} removed"


@dataclass(frozen=True, eq=False)
class CleanResult:
    """The Gaussians that stay, the mask [N] of them among those given, and one report entry per filter."""

    gaussians: Gaussians
    kept: Mask
    report: tuple[FilterReport, ...]


def clean(gaussians: Gaussians, settings: CleanSettings | None = None, cameras: Sequence[Camera] = ()) -> CleanResult:
    """Run the filters that ``settings`` switches on, in a fixed order, each on what the earlier ones left.

    Args:
        gaussians: in world units.
        settings: defaults when ``None``.
        cameras: training cameras, in the same world; wanted by ``min_views`` and ``min_camera_distance``.

    Raises:
        InputError: a setting out of range, or one that needs cameras without any.
    """
    settings = settings or CleanSettings()
    _validate(settings, cameras)
    kept = np.ones(len(gaussians), bool)
    report: list[FilterReport] = []

    def apply(name: str, setting: str, keep: Mask) -> None:
        nonlocal kept
        before = int(kept.sum())
        kept[np.flatnonzero(kept)] &= keep
        report.append(FilterReport(name, setting, before - int(kept.sum()), before))

    apply("finite", "every value a number", finite(gaussians))
    if settings.box is not None:
        apply("box", "{:g} {:g} {:g} to {:g} {:g} {:g}".format(*settings.box),
              inside_box(gaussians.means[kept], box_matrix(settings.box[:3], settings.box[3:])))
    if settings.sphere is not None:
        *centre, radius = settings.sphere
        apply("sphere", "centre {:g} {:g} {:g}, radius {:g}".format(*settings.sphere),
              inside_sphere(gaussians.means[kept], box_matrix(np.subtract(centre, radius), np.add(centre, radius))))
    if settings.min_opacity is not None:
        apply("opacity", f"at least {settings.min_opacity:g}", opaque(gaussians, settings.min_opacity)[kept])
    if settings.max_relative_size is not None or settings.min_relative_size is not None:
        low, high = settings.min_relative_size or 0.0, settings.max_relative_size or math.inf
        extent = scene_extent(gaussians.means[kept])
        apply("size", f"{low:g} to {high:g} of the extent {extent:.4g}",
              sized(gaussians, low * extent, high * extent)[kept])
    if settings.max_needle is not None:
        apply("needles", f"longest to middle axis at most {settings.max_needle:g}",
              not_needle(gaussians, settings.max_needle)[kept])
    if settings.min_views is not None:
        apply("support", f"seen by at least {settings.min_views} cameras",
              view_counts(gaussians.means[kept], cameras) >= settings.min_views)
    if settings.min_camera_distance is not None:
        apply("near cameras", f"at least {settings.min_camera_distance:g} of a camera's median depth",
              clear_of_cameras(gaussians.means[kept], cameras, settings.min_camera_distance))
    if settings.max_hull_reach is not None:
        apply("camera hull", f"within {settings.max_hull_reach:g} times the cameras' median depths",
              inside_camera_hull(gaussians.means[kept], cameras, settings.max_hull_reach))
    if settings.max_isolation is not None or settings.max_sparsity is not None:
        isolation, sparsity = settings.max_isolation or math.inf, settings.max_sparsity or math.inf
        apply("isolated", f"{isolation:g} times as far as its {settings.neighbours} neighbours, or {sparsity:g} "
              "deviations from the median", not_isolated(gaussians.means[kept], isolation, sparsity,
                                                         settings.neighbours))
    return CleanResult(gaussians.select(kept), kept, tuple(report))


def _validate(settings: CleanSettings, cameras: Sequence[Camera]) -> None:
    def refuse(field: str, rule: str) -> InputError:
        return InputError("clean-setting", f"The clean setting {field} is {getattr(settings, field)}; {rule}.",
                          "Correct the number, or switch the filter off.")
    for field in ("min_opacity", "max_relative_size", "min_relative_size", "max_needle", "max_isolation",
                  "max_sparsity", "min_views", "min_camera_distance", "max_hull_reach"):
        value = getattr(settings, field)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise refuse(field, "it must be a number from 0")
    if settings.neighbours < 1:
        raise refuse("neighbours", "it must be at least 1")
    if settings.box is not None and not all(a < b for a, b in zip(settings.box[:3], settings.box[3:], strict=True)):
        raise refuse("box", "its least corner must lie below its greatest on every axis")
    if settings.sphere is not None and not (all(map(math.isfinite, settings.sphere)) and settings.sphere[3] > 0):
        raise refuse("sphere", "its radius must be positive")
    for field in ("min_views", "min_camera_distance", "max_hull_reach"):
        if getattr(settings, field) is not None and not cameras:
            raise InputError("clean-no-cameras", f"The clean setting {field} needs the training cameras, and none "
                             "were given.", "Give the capture's cameras, or switch the filter off.")


def scene_extent(means: NDArray[np.floating]) -> float:
    """Diameter of the ball round the median centre that holds 90 % of the centres, world units; 1 when empty."""
    if not len(means):
        return 1.0
    distance = np.linalg.norm(means - np.median(means, axis=0), axis=1)
    return float(2 * np.quantile(distance, 0.9)) or 1.0


def finite(gaussians: Gaussians) -> Mask:
    """[N] where every value of the Gaussian is finite and its quaternion has a length."""
    keep = np.isfinite(gaussians.opacity_logits) & (np.abs(gaussians.quats).max(axis=1, initial=0) > 0)
    for values in (gaussians.means, gaussians.quats, gaussians.log_scales, gaussians.sh):
        keep &= np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    return keep


def opaque(gaussians: Gaussians, min_opacity: float) -> Mask:
    """[N] where the opacity is at least ``min_opacity`` (0..1)."""
    with np.errstate(over="ignore"):
        return gaussians.opacities >= min_opacity


def sized(gaussians: Gaussians, least: float, most: float) -> Mask:
    """[N] where the largest standard deviation lies in ``least`` .. ``most`` (world units)."""
    with np.errstate(over="ignore"):
        largest = np.exp(gaussians.log_scales.max(axis=1, initial=-np.inf))
    return (largest >= least) & (largest <= most)


def not_needle(gaussians: Gaussians, max_ratio: float) -> Mask:
    """[N] where the longest axis is at most ``max_ratio`` times the middle one; flat discs pass."""
    return needle_ratios(gaussians.log_scales) <= max_ratio


def needle_ratios(log_scales: NDArray[np.floating]) -> NDArray[np.floating]:
    """[N] longest over middle standard deviation of ``log_scales`` [N, 3]."""
    ordered = np.sort(log_scales, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        ratios: NDArray[np.floating] = np.exp(ordered[:, 2] - ordered[:, 1])
    return ratios


def box_matrix(least: Sequence[float] | NDArray[np.floating],
               greatest: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """``world_from_box`` [4, 4] of the axis-aligned box between two corners; its own cube runs from -1 to 1."""
    low, high = np.asarray(least, np.float64), np.asarray(greatest, np.float64)
    matrix = np.diag([*(high - low) / 2, 1.0])
    matrix[:3, 3] = (low + high) / 2
    return matrix


def inside_box(means: NDArray[np.floating], world_from_box: NDArray[np.floating]) -> Mask:
    """[N] where a centre lies in the box whose own frame is the cube -1..1, as Blender's cube and cube empty are.

    Raises:
        InputError: the box is flat or not finite.
    """
    return np.abs(_in_frame(means, world_from_box)).max(axis=1, initial=0) <= 1


def inside_sphere(means: NDArray[np.floating], world_from_sphere: NDArray[np.floating]) -> Mask:
    """[N] where a centre lies in the ellipsoid whose own frame is the unit ball, as Blender's sphere empty is.

    Raises:
        InputError: the sphere is flat or not finite.
    """
    return np.linalg.norm(_in_frame(means, world_from_sphere), axis=1) <= 1


def _in_frame(means: NDArray[np.floating], world_from_region: NDArray[np.floating]) -> NDArray[np.float64]:
    matrix = np.asarray(world_from_region, np.float64)
    # Relative to its size: a box a millimetre wide is no flat box.
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) <= 1e-9 * float(np.prod(lengths)):
        raise InputError("clean-flat-region", "The crop region is flat or its transform is not finite.",
                         "Give the crop object a size on every axis.")
    region_from_world = np.linalg.inv(matrix)
    return means @ region_from_world[:3, :3].T + region_from_world[:3, 3]


def not_isolated(means: NDArray[np.floating], max_isolation: float = 6.0, max_sparsity: float = math.inf,
                 neighbours: int = 8) -> Mask:
    """[N] where the mean distance to the near neighbours is ordinary, judged locally and by the whole splat.

    Args:
        means: [N, 3] centres, finite.
        max_isolation: greatest ratio to the median of the neighbours' own mean distances.
        max_sparsity: greatest number of robust standard deviations above the splat's median, on the logarithm.
        neighbours: how many; splats of not more points than that are kept whole.
    """
    isolation, deviations = isolation_of(means, neighbours)
    return (isolation <= max_isolation) & (deviations <= max_sparsity)


def isolation_of(means: NDArray[np.floating],
                 neighbours: int = 8) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each centre [N, 3] is from its near neighbours, as two measures [N].

    Returns:
        The ratio of its mean distance to the median of the neighbours' own mean distances; and how many robust
        standard deviations it lies above the splat's median, on the logarithm.  Zeros for splats of not more than
        ``neighbours`` points.
    """
    if len(means) <= neighbours:
        return np.zeros(len(means), np.float32), np.zeros(len(means), np.float32)
    distance, beside = near_neighbours(means, neighbours)
    distance = np.maximum(distance, np.finfo(np.float32).tiny)
    with np.errstate(over="ignore"):
        ratio = distance / np.median(distance[beside], axis=1)
    logs = np.log(distance)
    centre = np.median(logs)
    # Even spacing has next to no scatter; without a floor, ordinary edges would count as outliers.
    scatter = max(NORMAL_SCATTER * float(np.median(np.abs(logs - centre))), 0.1)
    return ratio.astype(np.float32), ((logs - centre) / scatter).astype(np.float32)


def view_counts(means: NDArray[np.floating], cameras: Sequence[Camera]) -> NDArray[np.int32]:
    """[N] how many cameras have the centre in front of them and inside their frame."""
    counts = np.zeros(len(means), np.int32)
    for camera in cameras:
        counts += _in_frame_of(camera, means)[0]
    return counts


def clear_of_cameras(means: NDArray[np.floating], cameras: Sequence[Camera], min_share: float) -> Mask:
    """[N] where no camera that sees the centre is nearer to it than ``min_share`` of that camera's median depth."""
    keep = np.ones(len(means), bool)
    for camera in cameras:
        seen, depth = _in_frame_of(camera, means)
        if seen.any():
            keep &= ~(seen & (depth < min_share * np.median(depth[seen])))
    return keep


def inside_camera_hull(means: NDArray[np.floating], cameras: Sequence[Camera], reach: float) -> Mask:
    """[N] where a centre lies in the convex hull of the cameras and of their frames' far corners.

    A frame's far corners lie ``reach`` times as deep as the median of the centres that the camera sees.  Cameras that
    see no centre do not count.
    """
    corners = []
    for camera in cameras:
        seen, depth = _in_frame_of(camera, means)
        if seen.any():
            far = float(np.median(depth[seen])) * reach
            frame = np.array([[0, 0, 1], [camera.width_px, 0, 1], [0, camera.height_px, 1],
                              [camera.width_px, camera.height_px, 1]], np.float64)
            in_camera = far * frame @ np.linalg.inv(camera.K).T
            corners += [camera.centre[None], in_camera @ camera.camera_from_world[:3, :3] + camera.centre]
    keep = np.zeros(len(means), bool)
    if not corners:
        return keep
    hull = np.concatenate(corners)
    middle = hull.mean(axis=0)      # small numbers: float32 is then exact enough
    normals, offsets = _hull_faces(hull - middle)
    for start in range(0, len(means), ROWS_AT_ONCE):
        rows = (np.asarray(means[start:start + ROWS_AT_ONCE], np.float64) - middle).astype(np.float32)
        keep[start:start + ROWS_AT_ONCE] = (rows @ normals <= offsets).all(axis=1)
    return keep


def _hull_faces(points: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Outward unit normals [3, F] and offsets [F] of the convex hull of ``points``, by trying all triples.

    Of many points only those that are extreme in one of ``HULL_DIRECTIONS`` directions are taken.
    """
    if len(points) > HULL_DIRECTIONS // 4:
        steps = (np.arange(HULL_DIRECTIONS) + 0.5) / HULL_DIRECTIONS
        polar, turn = np.arccos(1 - 2 * steps), np.pi * (1 + np.sqrt(5)) * np.arange(HULL_DIRECTIONS)
        directions = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)])
        points = points[np.unique((points @ directions).argmax(axis=0))]
    first, second, third = np.array(list(itertools.combinations(range(len(points)), 3))).T
    normals = np.cross(points[second] - points[first], points[third] - points[first])
    lengths = np.linalg.norm(normals, axis=1)
    size = float(np.abs(points).max())
    usable = lengths > 1e-9 * size * size
    normals = normals[usable] / lengths[usable, None]
    heights = normals @ points.T - np.einsum("ij,ij->i", normals, points[first[usable]])[:, None]
    below, above = (heights <= 1e-6 * size).all(axis=1), (heights >= -1e-6 * size).all(axis=1)
    faces = np.unique(np.round(np.concatenate([normals[below], -normals[above]]), 6), axis=0)
    return faces.T.astype(np.float32), ((points @ faces.T).max(axis=0) + 1e-6 * size).astype(np.float32)


def in_free_space(means: NDArray[np.floating], views: Sequence[tuple[Camera, NDArray[np.floating]]],
                  tolerance: float = 0.02) -> Mask:
    """[N] where exact depth maps prove the centre to float in empty space, to be removed.

    Args:
        means: [N, 3] centres, world units.
        views: camera and its z-depth [H, W] in world units, 0 where unknown.
        tolerance: how far in front of the surface, as a share of its depth, a centre may lie.
    """
    return free_space_depth(means, views) > tolerance


def free_space_depth(means: NDArray[np.floating],
                     views: Sequence[tuple[Camera, NDArray[np.floating]]]) -> NDArray[np.float32]:
    """[N] the greatest distance by which a centre lies before the surface of an exact depth map.

    As a share of the surface's depth; negative behind it, -inf where no map says anything.  ``views`` as in
    ``in_free_space``.
    """
    most = np.full(len(means), -np.inf, np.float32)
    for camera, depth in views:
        pixels, z = camera.project(np.asarray(means, np.float64))
        seen = np.flatnonzero(_in_frame_of(camera, means)[0])
        share = np.array([depth.shape[1] / camera.width_px, depth.shape[0] / camera.height_px])
        column, row = (pixels[seen] * share).astype(np.int64).T
        surface = depth[np.minimum(row, depth.shape[0] - 1), np.minimum(column, depth.shape[1] - 1)]
        told = surface > 0
        seen, surface = seen[told], surface[told]
        most[seen] = np.maximum(most[seen], 1 - z[seen] / surface)
    return most


def _in_frame_of(camera: Camera, means: NDArray[np.floating]) -> tuple[Mask, NDArray[np.float64]]:
    pixels, depth = camera.project(np.asarray(means, np.float64))
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < camera.width_px) & (pixels[:, 1] < camera.height_px)
    return inside & (depth > 0), depth
