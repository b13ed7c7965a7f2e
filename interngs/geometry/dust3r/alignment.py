# SPDX-License-Identifier: GPL-3.0-or-later
"""Global alignment: one camera and one depth map per view that agree with all pairs' pointmaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...scene.cameras import Camera
from ..prior import ReportProgress
from ..similarity import Similarity, inverse_rigid
from .pointmaps import PairPoints, best_confidence, image_sizes, pixel_centres, weighted_median_of_stack
from .pose_from_points import intrinsics
from .spanning_tree import InitialScene, initial_scene
from .two_view import AlignedViews, centre_of

ITERATIONS = 300
LEARNING_RATE = 0.01
LAST_LEARNING_RATE = 1e-6
ADAM_BETAS = (0.9, 0.99)
FOCAL_STEP = 20.0
"""Focal lengths are optimised as ``FOCAL_STEP * log(focal)``, which sets their pace to the poses'."""
MEAN_PAIR_SCALE = 0.5
"""Geometric mean of the pair scales while poses are free; without it the scene could shrink to nothing."""
PIXELS_PER_VIEW = 16_384
"""Pixels of each view that take part in the optimisation; the depth maps get all of them at the end."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GlobalAlignment:
    """The outcome of a global alignment.

    Attributes:
        views: cameras, depth and confidence per view.
        pair_frames: per pair, what takes its pointmaps into the world.
        initial_loss, final_loss: the objective before the first step and after the last.
    """

    views: AlignedViews
    pair_frames: tuple[Similarity, ...]
    initial_loss: float
    final_loss: float


def align_globally(
    pairs: list[PairPoints],
    principal_points_px: list[FloatArray] | None = None,
    known_focals_px: list[float] | None = None,
    known_poses: list[FloatArray] | None = None,
    iterations: int = ITERATIONS,
    pixels_per_view: int = PIXELS_PER_VIEW,
    device: torch.device | str = "cpu",
    report_progress: ReportProgress = lambda done, total: None,
) -> GlobalAlignment:
    """Minimise, over cameras, depth maps and one similarity per pair, ``log(confidence) * distance``.

    The distance is between a pair's transformed point and the view's own point of that pixel (DUSt3R,
    section 3.4, eq. 5); Adam with a cosine schedule from a spanning-tree start.

    Args:
        pairs: without self-pairs, connecting all views 0 .. N-1.
        principal_points_px: one [2] per view, fixed; the image centres by default.
        known_focals_px: focal lengths to keep.
        known_poses: world_from_camera [4, 4] per view to keep.
        pixels_per_view: how many pixels of each view take part (all, when it has no more).

    Raises:
        ViewsNotAligned: views that cannot be placed.
    """
    pairs = [pair for pair in pairs if pair.first != pair.second]
    sizes = image_sizes(pairs)
    centres = principal_points_px or [centre_of(*sizes[view]) for view in range(len(sizes))]
    start = initial_scene(pairs, centres, known_focals_px, known_poses)
    # Depth that all pairs vote on halves the starting loss against depth of the tree's pairs alone.
    cameras = _cameras(start.focals_px, start.poses, centres, sizes)
    depths = [_positive(depth) for depth in fuse_depths(pairs, start.pair_frames, cameras)]
    problem = _Problem(pairs, start, depths, centres, known_focals_px is None, known_poses is None,
                       pixels_per_view, torch.device(device))
    with torch.no_grad():
        initial_loss = float(problem.loss())
    _minimise(problem, iterations, report_progress)
    with torch.no_grad():
        final_loss = float(problem.loss())
        if not final_loss <= initial_loss:
            # Adam's steps have a size of their own: a start that is exact already can only be shaken.
            problem.restore_start()
            final_loss = initial_loss
        focals, poses, frames = problem.focals_px(), problem.poses(), problem.pair_frames()
    cameras = _cameras(focals, poses, centres, sizes)
    depths = fuse_depths(pairs, frames, cameras)
    best = best_confidence(pairs)
    views = AlignedViews(tuple(cameras), tuple(depths), tuple(best[view] for view in range(len(cameras))))
    return GlobalAlignment(views, tuple(frames), initial_loss, final_loss)


def _cameras(
    focals_px: list[float], poses: list[FloatArray], centres: list[FloatArray], sizes: dict[int, tuple[int, int]]
) -> list[Camera]:
    return [Camera(intrinsics(focal, centre), inverse_rigid(pose), sizes[view][1], sizes[view][0])
            for view, (focal, pose, centre) in enumerate(zip(focals_px, poses, centres, strict=True))]


def _positive(depth: FloatArray) -> FloatArray:
    """Depth whose logarithm exists: points behind the camera are put just before it."""
    positive = depth[depth > 0]
    return np.maximum(depth, 1e-3 * float(np.median(positive)) if positive.size else 1e-3)


def fuse_depths(pairs: list[PairPoints], frames: list[Similarity], cameras: list[Camera]) -> list[FloatArray]:
    """One z-depth map per view: the weighted median of what its pairs say, at every pixel.

    The median, weighted by log confidence, is what minimises the alignment's objective along the ray.
    """
    candidates: dict[int, list[FloatArray]] = {view: [] for view in range(len(cameras))}
    weights: dict[int, list[FloatArray]] = {view: [] for view in range(len(cameras))}
    for pair, frame in zip(pairs, frames, strict=True):
        for view, points, confidence in ((pair.first, pair.points_1, pair.confidence_1),
                                         (pair.second, pair.points_2, pair.confidence_2)):
            pose = cameras[view].camera_from_world
            depth = frame.apply(points) @ pose[2, :3] + pose[2, 3]
            candidates[view].append(depth)
            weights[view].append(np.where(depth > 0, np.log(np.maximum(confidence, 1.0)) + 1e-6, 0.0))
    return [weighted_median_of_stack(np.stack(candidates[view]), np.stack(weights[view]))
            for view in range(len(cameras))]


class _Problem:
    """The parameters and the objective; everything batched over views and pairs."""

    def __init__(
        self, pairs: list[PairPoints], start: InitialScene, depths: list[FloatArray], centres: list[FloatArray],
        free_focals: bool, free_poses: bool, pixels_per_view: int, device: torch.device,
    ) -> None:
        chosen = _choose_pixels([depth.size for depth in depths], pixels_per_view)

        def tensor(values: NDArray[np.floating] | Sequence[NDArray[np.floating]]) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=device)

        self.free_poses = free_poses
        self.first = torch.tensor([pair.first for pair in pairs], device=device)
        self.second = torch.tensor([pair.second for pair in pairs], device=device)
        self.points_1 = tensor([pair.points_1.reshape(-1, 3)[chosen[pair.first]] for pair in pairs])
        self.points_2 = tensor([pair.points_2.reshape(-1, 3)[chosen[pair.second]] for pair in pairs])
        self.weights_1 = tensor([pair.confidence_1.ravel()[chosen[pair.first]] for pair in pairs]).log()
        self.weights_2 = tensor([pair.confidence_2.ravel()[chosen[pair.second]] for pair in pairs]).log()
        self.pixels = tensor([
            pixel_centres(*depth.shape).reshape(-1, 2)[chosen[view]] - centres[view]
            for view, depth in enumerate(depths)])

        self.log_depth = tensor([np.log(depth.ravel()[chosen[view]]) for view, depth in enumerate(depths)])
        self.scaled_log_focal = tensor(FOCAL_STEP * np.log(np.array(start.focals_px)))
        self.view_poses = tensor([_pose_parameters(pose[:3, :3], pose[:3, 3]) for pose in start.poses])
        # A pair's scale multiplies its rotation and its translation alike.
        self.pair_poses = tensor([
            _pose_parameters(frame.rotation, frame.translation / frame.scale) for frame in start.pair_frames])
        self.log_scale = tensor([np.log(max(frame.scale, 1e-9)) for frame in start.pair_frames])
        if free_poses:
            self._normalise_start()
        self.parameters = [self.log_depth, self.pair_poses, self.log_scale]
        self.parameters += [self.scaled_log_focal] if free_focals else []
        self.parameters += [self.view_poses] if free_poses else []
        self._start = [parameter.clone() for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.requires_grad_(True)

    def restore_start(self) -> None:
        """Take back everything that was optimised."""
        for parameter, start in zip(self.parameters, self._start, strict=True):
            parameter.copy_(start)

    def _normalise_start(self) -> None:
        """Bring the start to the scale that ``_scales`` will impose."""
        change = math.log(MEAN_PAIR_SCALE) - float(self.log_scale.mean())
        self.log_scale += change
        self.log_depth += change
        self.view_poses[:, 4:] = _compress(_expand(self.view_poses[:, 4:]) * math.exp(change))

    def _scales(self) -> Tensor:
        if not self.free_poses:
            return self.log_scale.exp()
        return (self.log_scale - self.log_scale.mean()).exp() * MEAN_PAIR_SCALE

    def world_points(self) -> Tensor:
        """[views, pixels, 3] each view's own points."""
        focal = (self.scaled_log_focal / FOCAL_STEP).exp()[:, None, None]
        depth = self.log_depth.exp()[..., None]
        in_camera = torch.cat([self.pixels * depth / focal, depth], dim=-1)
        rotation, translation = _matrices(self.view_poses)
        return in_camera @ rotation.mT + translation[:, None]

    def loss(self) -> Tensor:
        """The objective: the mean over the first views' pixels plus that over the second views'."""
        world = self.world_points()
        rotation, translation = _matrices(self.pair_poses)
        scale = self._scales()[:, None, None]
        total = world.new_zeros(())
        for points, weights, view in ((self.points_1, self.weights_1, self.first),
                                      (self.points_2, self.weights_2, self.second)):
            placed = scale * (points @ rotation.mT + translation[:, None])
            total = total + (weights * (placed - world[view]).norm(dim=-1)).mean()
        return total

    def focals_px(self) -> list[float]:
        """Focal length per view."""
        return [float(focal) for focal in (self.scaled_log_focal / FOCAL_STEP).exp()]

    def poses(self) -> list[FloatArray]:
        """Per view [4, 4] float64 world_from_camera."""
        rotation, translation = (part.double().cpu().numpy() for part in _matrices(self.view_poses.double()))
        poses = np.tile(np.eye(4), (len(rotation), 1, 1))
        poses[:, :3, :3], poses[:, :3, 3] = rotation, translation
        return list(poses)

    def pair_frames(self) -> list[Similarity]:
        """Per pair, what takes its points into the world."""
        rotation, translation = (part.cpu().numpy() for part in _matrices(self.pair_poses.double()))
        scale = self._scales().double().cpu().numpy()
        return [Similarity(float(s), r, s * t) for s, r, t in zip(scale, rotation, translation, strict=True)]


def _choose_pixels(pixel_counts: list[int], wanted: int) -> list[NDArray[np.intp]]:
    """Per view an equal number of pixel indices, spread over the image; all where the counts allow it."""
    count = min(wanted, *pixel_counts)
    random = np.random.default_rng(0)
    return [np.arange(total) if total == count else np.sort(random.choice(total, count, replace=False))
            for total in pixel_counts]


def _minimise(problem: _Problem, iterations: int, report_progress: ReportProgress) -> None:
    optimiser = torch.optim.Adam(problem.parameters, lr=LEARNING_RATE, betas=ADAM_BETAS)
    for iteration in range(iterations):
        fall = 0.5 * (1 + math.cos(math.pi * iteration / iterations))
        optimiser.param_groups[0]["lr"] = LAST_LEARNING_RATE + (LEARNING_RATE - LAST_LEARNING_RATE) * fall
        optimiser.zero_grad(set_to_none=True)
        loss = problem.loss()
        loss.backward()
        optimiser.step()
        report_progress(iteration + 1, iterations)


def _compress(translation: Tensor) -> Tensor:
    return translation.sign() * translation.abs().log1p()


def _expand(parameters: Tensor) -> Tensor:
    return parameters.sign() * parameters.abs().expm1()


def _pose_parameters(rotation: FloatArray, translation: FloatArray) -> FloatArray:
    """[7]: quaternion x, y, z, w, then the translation with its magnitude compressed by log(1 + t)."""
    return np.concatenate([
        Rotation.from_matrix(rotation).as_quat(), np.sign(translation) * np.log1p(np.abs(translation))])


def _matrices(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """[N, 7] parameters -> rotations [N, 3, 3] and translations [N, 3]."""
    x, y, z, w = torch.nn.functional.normalize(parameters[:, :4], dim=-1).unbind(dim=-1)
    rotation = torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ], dim=-1).unflatten(-1, (3, 3))
    return rotation, _expand(parameters[:, 4:])
