# SPDX-License-Identifier: GPL-3.0-or-later
"""The optimisation loop: a generator of typed events that can stop, and be resumed, at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..config import PipelineConfig
from ..events import CheckpointSaved, Event, Log, Preview, Progress
from ..geometry.prior import Geometry
from ..geometry.seeding import Seeds, seeds_to_gaussians
from ..render.photometric import l1_ssim
from ..render.rasterize import rasterize
from ..scene.cameras import Camera
from ..scene.capture import Capture
from ..scene.gaussians import Gaussians
from ..stopping import StopCheck, Stopped, stop_check
from .checkpoint import Checkpoint, CheckpointStore
from .density import DensityControl
from .exposure import Exposure
from .losses import alpha_loss, edge_aware_smoothness, relative_depth_loss, weighted_l1, weighted_pearson_loss
from .model import Activated, model_from_seeds
from .pose_refinement import PoseRefinement
from .prior_term import Picture, PriorTerm
from .pseudo_views import PseudoView
from .training_views import TrainingView, TrainingViews

PROGRESS_EVERY_S = 0.25
MAX_FADE_PER_STEP = 0.005
"""Faster than this even well-supported Gaussians could not hold their opacity (Binocular3DGS uses 0.005)."""
MEASURED_ALPHA = 4.0
"""An alpha channel is a measurement, a closed frame an assumption: it has so many times the weight."""
PSNR_STRIDE = 2
"""The PSNR that is shown on the way looks at every second row and column."""
PACKED_FROM = 1_000_000
"""From so many Gaussians on, a GPU keeps only what a view shows of them (gsplat's packed mode: less memory)."""


@dataclass(frozen=True)
class Rendered:
    """A differentiable render: ``rgb`` [H, W, 3], ``depth`` [H, W] expected z, ``alpha`` [H, W], and ``meta``."""

    rgb: Tensor
    depth: Tensor
    alpha: Tensor
    meta: dict[str, Tensor]


def default_sh_degree(views: int) -> int:
    """Few photographs cannot tell view dependence from geometry: degree 1 up to 5 views, 2 up to 11, else 3."""
    return 1 if views <= 5 else 2 if views <= 11 else 3


class Trainer:
    """Optimises Gaussians against the photographs of a capture.

    All randomness is drawn anew from (seed, step), so a resumed run equals an uninterrupted one.
    """

    views_per_step = 1
    """How many photographs a step looks at, over all processes that train together (see ``distributed``)."""

    def __init__(self, capture: Capture, geometry: Geometry, seeds: Seeds, pseudo: list[PseudoView],
                 config: PipelineConfig, device: torch.device, prior_terms: Sequence[PriorTerm] = ()) -> None:
        """``capture`` with its ``geometry``, ``seeds`` to start from, ``pseudo`` views (may be empty).

        ``prior_terms`` are what pretrained models have to say (see ``PriorTerm``).
        """
        self.config = config.optimise
        self.seed = config.seed
        self.device = device
        degree = self.config.sh_degree
        self.sh_degree = default_sh_degree(len(capture.views)) if degree is None else degree
        gaussians = seeds_to_gaussians(seeds, config.seeding, self.sh_degree)
        self.model = model_from_seeds(gaussians, seeds, self.config, device)
        self.views = TrainingViews(capture, geometry, device)
        self.exposure = Exposure(len(self.views), device) if self.config.exposure and len(self.views) > 1 else None
        self.poses = self._pose_refinement(geometry) if self.config.refine_poses else None
        self.density = DensityControl(self.config, len(gaussians), device, self.views_per_step)
        self.pseudo = pseudo
        self.prior_terms = prior_terms
        self.step_number = 0
        self._psnr_of_view = [float("nan")] * len(self.views)

    def run(self, checkpoints: CheckpointStore | None, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Optimise to the last step, or until ``should_stop()``; then a checkpoint is written first.

        Yields ``Progress``, ``Preview`` and ``CheckpointSaved``.
        """
        config = self.config
        first_step, started = self.step_number, self._now()
        last_progress = last_preview = last_checkpoint = started
        last_saved_step = self.step_number
        while self.step_number < config.steps:
            if should_stop():
                break
            try:
                yield from self._refresh_priors(stop_check(should_stop))
            except Stopped:
                break
            loss = self._step(self.step_number)
            self.step_number += 1
            now = self._now()
            finished = self.step_number == config.steps
            if now - last_progress >= PROGRESS_EVERY_S or finished:
                last_progress = now
                yield self._progress(float(loss), first_step, now - started)
            if now - last_preview >= config.preview_every_s and not finished:
                last_preview = now
                yield Preview(self.step_number, self.gaussians())
            steps_since = self.step_number - last_saved_step
            if checkpoints is not None and not finished and (
                    now - last_checkpoint >= config.checkpoint_every_s or steps_since >= config.checkpoint_every_steps):
                last_checkpoint, last_saved_step = now, self.step_number
                yield CheckpointSaved(self.save(checkpoints), self.step_number)
        if checkpoints is not None:
            yield CheckpointSaved(self.save(checkpoints), self.step_number)

    def _now(self) -> float:
        """Seconds by which previews and checkpoints are due."""
        return time.monotonic()

    def gaussians(self) -> Gaussians:
        """A copy of the current Gaussians."""
        return self.model.to_gaussians()

    def cameras_from_world(self) -> list[np.ndarray]:
        """[4, 4] float64 poses of the training views, with refinement when it is on."""
        with torch.no_grad():
            return [self._camera_from_world(index).cpu().double().numpy() for index in range(len(self.views))]

    def save(self, checkpoints: CheckpointStore) -> Path:
        """Write the present state; returns where."""
        facts = {"gaussians": len(self.model), "views_per_step": self.views_per_step}
        return checkpoints.save(Checkpoint(self.step_number, self._state(), facts))

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``."""
        self.model.load_state(checkpoint.tensors)
        self.density.load_state(checkpoint.tensors)
        for part in (self.exposure, self.poses):
            if part is not None:
                part.load_state(checkpoint.tensors)
        for term in self.prior_terms:
            term.load_state(checkpoint.tensors)
        # Another number of processes counts in other steps.
        self.step_number = checkpoint.step * checkpoint.facts.get("views_per_step", 1) // self.views_per_step

    def _state(self) -> dict[str, Tensor]:
        tensors = self.model.state() | self.density.state()
        for part in (self.exposure, self.poses):
            if part is not None:
                tensors |= part.state()
        for term in self.prior_terms:
            tensors |= term.state()
        return tensors

    def _refresh_priors(self, check: StopCheck) -> Iterator[Event]:
        for term in self.prior_terms:
            if (what := term.due(self.step_number)) is not None:
                yield Log(what)
                term.refresh(self.step_number, self._picture, check)

    @torch.no_grad()
    def _picture(self, camera: Camera) -> Picture:
        """A render of the present Gaussians, none of them left out."""
        K, pose = (torch.tensor(values, dtype=torch.float32, device=self.device)
                   for values in (camera.K, camera.camera_from_world))
        rendered = self._render(self.model.activated(), K, pose, camera.width_px, camera.height_px)
        return Picture(rendered.rgb, rendered.depth, rendered.alpha)

    def _add_prior_losses(self, loss: Tensor, kind: Literal["training_loss", "pseudo_loss"], number: int,
                          rendered: Rendered) -> Tensor:
        picture = Picture(rendered.rgb, rendered.depth, rendered.alpha)
        for term in self.prior_terms:
            prior_loss = getattr(term, kind)(number, picture, self.step_number)
            if prior_loss is not None:
                loss = loss + prior_loss
        return loss

    def _step(self, step: int) -> Tensor:
        progress = step / self.config.steps
        index = self._view_at(step)
        view = self.views[index]
        self.views.expect(self._view_at(step + 1))
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) & 0x7FFFFFFF)
        active = self._with_dropout(self.model.activated(), progress, generator)
        loss, rendered = self._training_view_loss(active, index)
        if self._pseudo_view_due(step):
            loss = loss + self._pseudo_view_loss(active, generator)
        (loss / self.views_per_step).backward()
        gradient = rendered.meta["means2d"].grad
        if gradient is not None:
            self.density.observe(gradient * self.views_per_step, rendered.meta["radii"], view.image.shape[1],
                                 view.image.shape[0], rendered.meta["gaussian_ids"])
        self._update(step, progress)
        return loss.detach()

    def _update(self, step: int, progress: float) -> None:
        self.model.step(progress)
        if self.exposure is not None:
            self.exposure.step()
        if self.poses is not None:
            self.poses.step(progress)
        if self.config.opacity_fade > 0:
            most = MAX_FADE_PER_STEP * self.views_per_step
            self.model.decay_opacity(math.exp(-min(self.config.opacity_fade / self.config.steps, most)))
        if self.density.due(step):
            self.density.change(self.model, step)

    def _training_view_loss(self, active: Activated, index: int) -> tuple[Tensor, Rendered]:
        config, view = self.config, self.views[index]
        height, width = view.image.shape[:2]
        rendered = self._render(active, view.K, self._camera_from_world(index), width, height)
        if rendered.meta["means2d"].requires_grad:
            rendered.meta["means2d"].retain_grad()
        image = self.exposure.apply(rendered.rgb, index) if self.exposure is not None else rendered.rgb
        loss = l1_ssim(image, view.image, view.mask, config.ssim_share)
        if config.alpha_weight > 0:
            weight = config.alpha_weight * (1.0 if view.alpha is None else MEASURED_ALPHA)
            loss = loss + weight * alpha_loss(rendered.alpha, view.alpha, view.mask)
        loss = loss + self._geometry_loss(rendered, view)
        mask = None if view.mask is None else view.mask[::PSNR_STRIDE, ::PSNR_STRIDE]
        loss = self._add_prior_losses(loss, "training_loss", index, rendered)
        self._psnr_of_view[index] = _psnr(image.detach()[::PSNR_STRIDE, ::PSNR_STRIDE],
                                          view.image[::PSNR_STRIDE, ::PSNR_STRIDE], mask)
        return loss, rendered

    def _geometry_loss(self, rendered: Rendered, view: TrainingView) -> Tensor | float:
        """The terms on depth, over every second row and column; which ones changes from round to round."""
        config = self.config
        turn = self.step_number // len(self.views)
        rows, columns = slice(turn % 2, None, 2), slice(turn // 2 % 2, None, 2)
        inverse_depth = 1.0 / rendered.depth[rows, columns].clamp_min(1e-6)
        target = view.inverse_depth[rows, columns]
        loss: Tensor | float = 0.0
        if config.depth_weight > 0:
            weight = view.depth_weight[rows, columns] * (rendered.alpha.detach()[rows, columns] > 0.5)
            loss = loss + config.depth_weight * (weighted_pearson_loss(inverse_depth, target, weight)
                                                 + relative_depth_loss(inverse_depth, target, weight))
        if config.smooth_weight > 0:
            loss = loss + config.smooth_weight * edge_aware_smoothness(inverse_depth, view.image[rows, columns])
        return loss

    def _pseudo_view_due(self, step: int) -> bool:
        config = self.config
        started = step >= config.warp_start * config.steps
        wanted = config.warp_weight > 0 or bool(self.prior_terms)
        return bool(self.pseudo) and wanted and started and step % config.warp_every == 0

    def _pseudo_view_loss(self, active: Activated, generator: torch.Generator) -> Tensor:
        number = self._pseudo_number(generator)
        view = self.pseudo[number]
        image, weight = (torch.from_numpy(array).to(self.device) for array in (view.image, view.weight))
        K = torch.tensor(view.camera.K, dtype=torch.float32, device=self.device)
        pose = torch.tensor(view.camera.camera_from_world, dtype=torch.float32, device=self.device)
        rendered = self._render(active, K, pose, view.camera.width_px, view.camera.height_px)
        fading = 1.0 - self.config.warp_fade * self.step_number / self.config.steps
        loss = self.config.warp_weight * fading * weighted_l1(rendered.rgb, image, weight)
        if self.config.alpha_weight > 0:
            loss = loss + self.config.alpha_weight * alpha_loss(rendered.alpha, None, weight > 0)
        return self._add_prior_losses(loss, "pseudo_loss", number, rendered)

    def _pseudo_number(self, generator: torch.Generator) -> int:
        return int(torch.randint(len(self.pseudo), (1,), generator=generator))

    def _render(self, active: Activated, K: Tensor, camera_from_world: Tensor, width: int, height: int) -> Rendered:
        colours, alphas, meta = rasterize(
            active.means, active.quats, active.scales, active.opacities, active.sh, camera_from_world[None], K[None],
            width, height, sh_degree=self.sh_degree, render_mode="RGB+ED", distributed=self.views_per_step > 1,
            packed=self.device.type == "cuda" and self.views_per_step == 1 and len(active.means) >= PACKED_FROM)
        return Rendered(colours[0, ..., :3], colours[0, ..., 3], alphas[0, ..., 0], meta)

    def _camera_from_world(self, index: int) -> Tensor:
        return self.views.camera_from_world(index) if self.poses is None else self.poses.camera_from_world(index)

    def _view_at(self, step: int) -> int:
        """Every view once per round, each round in a new order."""
        count = len(self.views)
        generator = torch.Generator().manual_seed((self.seed * 7919 + step // count) & 0x7FFFFFFF)
        return int(torch.randperm(count, generator=generator)[step % count])

    def _with_dropout(self, active: Activated, progress: float, generator: torch.Generator) -> Activated:
        """Leave out a growing share of Gaussians; the others' opacity makes up for them (DropGaussian)."""
        rate = self.config.dropout * progress
        if rate <= 0:
            return active
        kept = (torch.rand(len(self.model), generator=generator) >= rate).to(self.device)
        opacities = (active.opacities * kept / (1 - rate)).clamp_max(0.999)
        return Activated(active.means, active.quats, active.scales, opacities, active.sh)

    def _pose_refinement(self, geometry: Geometry) -> PoseRefinement:
        poses = torch.stack([self.views.camera_from_world(index) for index in range(len(self.views))])
        centres = np.stack([view.camera.centre for view in geometry.views])
        scale = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean()) or 1.0
        return PoseRefinement(poses, scale, self.config.pose_rate)

    def _progress(self, loss: float, first_step: int, elapsed_s: float) -> Progress:
        done = self.step_number - first_step
        known = [psnr for psnr in self._psnr_of_view if np.isfinite(psnr)]
        return Progress("optimise", self.step_number, self.config.steps, loss,
                        float(np.mean(known)) if known else None, len(self.model),
                        elapsed_s / done * (self.config.steps - self.step_number))


def _psnr(image: Tensor, target: Tensor, mask: Tensor | None) -> float:
    error = (image.clamp(0, 1) - target).square().mean(dim=-1)
    mse = error.mean() if mask is None else (error * mask).sum() / mask.sum().clamp_min(1)
    return float(-10 * torch.log10(mse.clamp_min(1e-10)))
