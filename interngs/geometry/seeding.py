# SPDX-License-Identifier: GPL-3.0-or-later
"""From dense geometry to first Gaussians: dense, and each surface only once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..config import SeedingConfig
from ..errors import InputError
from ..scene.cameras import Camera
from ..scene.capture import Capture
from ..scene.gaussians import SH_C0, Gaussians
from .prior import GUESS_BELOW, Geometry

SIGMA_PER_PIXEL = 0.6
"""Standard deviation of a seed in units of its pixel's footprint: neighbours overlap into a closed surface."""
FLAT_COLOUR, FLAT_DEPTH = 0.06, 0.03
"""Largest colour range, and relative depth range, of a 3 x 3 neighbourhood that counts as flat."""
FILL_TOLERANCE = 0.1
"""Relative depth difference under which a guess behind an edge repeats one that is already there."""


@dataclass(frozen=True, eq=False)
class Seeds:
    """First points, one per kept pixel.

    Attributes:
        positions: [N, 3] float32 world units.
        colours: [N, 3] float32 sRGB 0..1.
        confidence: [N] float32, DUSt3R's convention.
        footprint: [N] float32 world size of the pixel the point came from (times the thinning stride).
        counts: what the selection did: ``before``, ``unsure``, ``redundant``, ``replaced``, ``thinned``,
            ``filled`` (behind edges, where no photograph looks), ``kept``.
    """

    positions: NDArray[np.float32]
    colours: NDArray[np.float32]
    confidence: NDArray[np.float32]
    footprint: NDArray[np.float32]
    counts: dict[str, int]


def select_seeds(capture: Capture, geometry: Geometry, config: SeedingConfig) -> Seeds:
    """Choose the points that become Gaussians: every sure pixel, one copy of each surface.

    Views are visited in descending mean confidence.  A pixel is redundant when a point that is already
    there projects onto it (nearest one, in front of the camera) at a depth within ``depth_tolerance``;
    of the two the more confident point stays.  (Intern-GS, redundancy-free initialisation; the depth is
    compared in the camera of the visited view.)

    Raises:
        InputError: no pixel of any view is confident enough.
    """
    stride = _least_stride(geometry, config)
    points, counts = _select(capture, geometry, config, stride)
    while len(points.positions) > config.max_seeds:
        stride += 1
        points, counts = _select(capture, geometry, config, stride)
    if len(points.positions) == 0:
        raise InputError("no-confident-points", "No pixel of any photograph got a depth that can be trusted.",
                         "Check that the poses belong to these photographs and that they overlap.")
    return Seeds(points.positions, points.colours, points.confidence, points.footprint,
                 {**counts, "kept": len(points.positions)})


def _select(capture: Capture, geometry: Geometry, config: SeedingConfig, stride: int) -> tuple[_Points, dict[str, int]]:
    """The chosen points when every ``stride``-th row and column is looked at, and the counts of ``Seeds``.

    When they are more than may be, some of them.
    """
    order = np.argsort([-_mean_confidence(view.confidence) for view in geometry.views], kind="stable")
    kept: list[_Points] = []
    counts = {"before": 0, "unsure": 0, "redundant": 0, "replaced": 0, "thinned": 0}
    for index in order:
        candidates, sure = _candidates(capture, geometry, int(index), config, stride, counts)
        if kept and config.remove_redundant:
            merged = _Points.joined(kept)
            fresh, obsolete = _compare(merged, candidates, geometry.views[index].camera, sure, stride,
                                       config.depth_tolerance)
            counts["redundant"] += int((~fresh).sum()) + int(obsolete.sum())
            counts["replaced"] += int(obsolete.sum())
            kept = [merged.select(~obsolete), candidates.select(fresh)]
        else:
            kept.append(candidates)
        if sum(len(part.positions) for part in kept) > config.max_seeds:
            break       # further views only add to them
    return _Points.joined(kept), counts


def add_seeds(seeds: Seeds, camera: Camera, image: NDArray[np.float32], depth: NDArray[np.float32],
              wanted: NDArray[np.bool_]) -> Seeds:
    """``seeds`` and those ``wanted`` pixels [H, W] of a further view that are not there yet, with confidence 1.

    What is guessed is smooth: every second row and column does, with Gaussians twice as large.
    """
    coarse = wanted[::2, ::2]
    coarse_depth = depth[::2, ::2][coarse]
    focal_px = 0.5 * (camera.K[0, 0] + camera.K[1, 1])
    candidates = _Points(camera.unproject(depth)[::2, ::2][coarse].astype(np.float32), image[::2, ::2][coarse],
                         np.ones(len(coarse_depth), np.float32), (2 * coarse_depth / focal_px).astype(np.float32))
    there = _Points(seeds.positions, seeds.colours, seeds.confidence, seeds.footprint)
    fresh, _ = _compare(there, candidates, camera, coarse, 2, FILL_TOLERANCE)
    joined = _Points.joined([there, candidates.select(fresh)])
    filled = seeds.counts.get("filled", 0) + int(fresh.sum())
    counts = {**seeds.counts, "filled": filled, "kept": len(joined.positions)}
    return Seeds(joined.positions, joined.colours, joined.confidence, joined.footprint, counts)


def seeds_to_gaussians(seeds: Seeds, config: SeedingConfig, sh_degree: int) -> Gaussians:
    """Round Gaussians at the seeds, as large as their pixel or their nearest neighbours, whichever is smaller.

    Guesses are fainter than what is sure.  What stands behind a surface is seen through it as long as that is not
    closed; as opaque as the surface it would take the surface's place in the photographs, and large as guesses are,
    far around.
    """
    n = len(seeds.positions)
    neighbours = min(4, n)
    distance, _ = cKDTree(seeds.positions).query(seeds.positions, k=neighbours, workers=-1)
    spacing = distance[:, 1:].mean(axis=1) if neighbours > 1 else seeds.footprint
    sigma = SIGMA_PER_PIXEL * np.clip(spacing, 0.3 * seeds.footprint, 1.5 * seeds.footprint)
    quats = np.zeros((n, 4), np.float32)
    quats[:, 0] = 1.0
    sh = np.zeros((n, (sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (seeds.colours - 0.5) / SH_C0
    opacity = np.where(seeds.confidence < GUESS_BELOW, config.guess_opacity, config.initial_opacity)
    opacity_logits = np.log(opacity / (1.0 - opacity)).astype(np.float32)
    log_scales = np.log(np.maximum(sigma, 1e-12)).astype(np.float32)
    return Gaussians(seeds.positions.astype(np.float32), quats, np.repeat(log_scales[:, None], 3, axis=1),
                     opacity_logits, sh)


def random_seeds(capture: Capture, geometry: Geometry, count: int, seed: int) -> Seeds:
    """Grey points spread evenly through the cameras' common volume: the start without any geometry (for ablations)."""
    generator = np.random.default_rng(seed)
    depths = np.concatenate([view.depth[view.depth > 0].ravel()[::97] for view in geometry.views])
    near, far = np.percentile(depths, [1, 99])
    parts, footprints = [], []
    for view in geometry.views:
        camera = view.camera
        share = count // len(geometry.views) + 1
        pixels = generator.uniform((0, 0), (camera.width_px, camera.height_px), (share, 2))
        depth = 1.0 / generator.uniform(1.0 / far, 1.0 / near, share)
        rays = np.concatenate([pixels, np.ones((share, 1))], axis=1) @ np.linalg.inv(camera.K).T
        world = camera.world_from_camera
        parts.append((rays * depth[:, None]) @ world[:3, :3].T + world[:3, 3])
        footprints.append(depth / camera.K[0, 0] * np.sqrt(camera.width_px * camera.height_px / share))
    positions = np.concatenate(parts)[:count].astype(np.float32)
    return Seeds(positions, np.full((count, 3), 0.5, np.float32), np.ones(count, np.float32),
                 np.concatenate(footprints)[:count].astype(np.float32), {"before": count, "kept": count})


@dataclass(frozen=True, eq=False)
class _Points:
    positions: NDArray[np.float32]
    colours: NDArray[np.float32]
    confidence: NDArray[np.float32]
    footprint: NDArray[np.float32]

    def select(self, mask: NDArray[np.bool_]) -> _Points:
        return _Points(self.positions[mask], self.colours[mask], self.confidence[mask], self.footprint[mask])

    @staticmethod
    def joined(parts: list[_Points]) -> _Points:
        return _Points(*(np.concatenate([getattr(part, name) for part in parts])
                         for name in ("positions", "colours", "confidence", "footprint")))


def _mean_confidence(confidence: NDArray[np.float32]) -> float:
    sure = confidence[confidence > 0]
    return float(sure.mean()) if sure.size else 0.0


def _least_stride(geometry: Geometry, config: SeedingConfig) -> int:
    """Every how many rows and columns a pixel is taken at least, so that one view alone stays under the limit."""
    sure = max(int((view.confidence >= config.min_confidence).sum()) for view in geometry.views)
    stride = 1
    while sure / stride**2 > config.max_seeds:
        stride += 1
    return stride


def _candidates(capture: Capture, geometry: Geometry, index: int, config: SeedingConfig, stride: int,
                counts: dict[str, int]) -> tuple[_Points, NDArray[np.bool_]]:
    """The sure pixels of a view as points, and the mask [H/stride, W/stride] of where they lie."""
    view = geometry.views[index]
    known = (view.depth > 0) & (view.confidence > 0)
    sure_full = known & (view.confidence >= config.min_confidence)
    counts["before"] += int(known.sum())
    counts["unsure"] += int(known.sum() - sure_full.sum())
    sure = sure_full[::stride, ::stride]
    counts["thinned"] += int(sure_full.sum() - sure.sum())
    image, depth = capture.views[index].image[::stride, ::stride], view.depth[::stride, ::stride]
    size = np.ones(sure.shape, np.float32)
    if config.thin_flat_areas:
        flat = _flat_blocks(image, depth, sure)
        corner = np.zeros(sure.shape, bool)
        corner[::2, ::2] = True
        counts["thinned"] += int((flat & ~corner).sum())
        sure = sure & (~flat | corner)
        size[flat] = 2.0
    focal_px = 0.5 * (view.camera.K[0, 0] + view.camera.K[1, 1])
    points = _Points(view.pointmap()[::stride, ::stride][sure].astype(np.float32), image[sure],
                     view.confidence[::stride, ::stride][sure],
                     (depth[sure] * size[sure] * (stride / focal_px)).astype(np.float32))
    return points, sure


def _flat_blocks(image: NDArray[np.float32], depth: NDArray[np.float32], sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels [H, W] in 2 x 2 blocks that are sure and even in colour and depth: one Gaussian does for the four."""
    height, width = (size // 2 * 2 for size in depth.shape)
    kernel = np.ones((3, 3), np.uint8)
    colour_range = (cv2.dilate(image, kernel) - cv2.erode(image, kernel)).max(axis=-1)
    depth_range = cv2.dilate(depth, kernel) - cv2.erode(depth, kernel)
    even = sure & (colour_range < FLAT_COLOUR) & (depth_range < FLAT_DEPTH * depth)
    blocks = even[:height, :width].reshape(height // 2, 2, width // 2, 2).all(axis=(1, 3))
    flat = np.zeros(depth.shape, bool)
    flat[:height, :width] = np.repeat(np.repeat(blocks, 2, axis=0), 2, axis=1)
    return flat


def _compare(there: _Points, candidates: _Points, camera: Camera, sure: NDArray[np.bool_], stride: int,
             tolerance: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which candidates are fresh, and which points already there are to be replaced by a better candidate."""
    height, width = sure.shape
    pixels, z = camera.project(there.positions.astype(np.float64))
    column, row = (np.floor(pixels / stride).astype(np.int64)).T
    visible = np.flatnonzero((z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height))
    # Far points first: where several land on a pixel the nearest is written last and stays.
    visible = visible[np.argsort(-z[visible], kind="stable")]
    nearest = np.full((height, width), -1, np.int64)
    nearest[row[visible], column[visible]] = visible
    source = _closed(nearest)[sure]
    _, candidate_z = camera.project(candidates.positions.astype(np.float64))
    hit = source >= 0
    same = np.zeros(len(source), bool)
    same[hit] = np.abs(z[source[hit]] - candidate_z[hit]) < tolerance * candidate_z[hit]
    better = np.zeros(len(source), bool)
    better[same] = candidates.confidence[same] > there.confidence[source[same]]
    obsolete = np.zeros(len(there.positions), bool)
    obsolete[source[better]] = True
    return ~same | better, obsolete


def _closed(nearest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Empty pixels (-1) between two points take one of them: points are small, the surface is not."""
    closed = nearest.copy()
    across = (closed[:, 1:-1] < 0) & (closed[:, :-2] >= 0) & (closed[:, 2:] >= 0)
    closed[:, 1:-1][across] = closed[:, :-2][across]
    down = (closed[1:-1] < 0) & (closed[:-2] >= 0) & (closed[2:] >= 0)
    closed[1:-1][down] = closed[:-2][down]
    return closed
