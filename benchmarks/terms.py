# SPDX-License-Identifier: GPL-3.0-or-later
"""What each term costs in a training step, and how long the presets take.

    python benchmarks/terms.py --scene DATA/llff_fern [--views 3] [--preset draft] [--max-side-px 504] [--threads 2]
        [--geometry FILE] [--lpips BACKBONE LINEAR] [--steps 60]

The Gaussians are those of a real run after ``--steps`` steps, whose own steps give the time of a whole step.  Then
every part is run alone on the same pictures, forward and backward, and its median wall time set against that step.
With ``--geometry FILE`` the dense geometry is kept there, and its time is left out when it is there already.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interngs.config import PipelineConfig, preset_config
from interngs.evaluate.lpips import Lpips
from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.geometry.choose import choose_geometry
from interngs.geometry.prior import Geometry
from interngs.geometry.store import load_geometry, save_geometry
from interngs.images.load import load_capture
from interngs.optimise.exposure import Exposure
from interngs.optimise.losses import (
    alpha_loss,
    edge_aware_smoothness,
    relative_depth_loss,
    weighted_l1,
    weighted_pearson_loss,
)
from interngs.optimise.model import SplatModel
from interngs.optimise.patch_correlation import patch_pearson_loss
from interngs.optimise.perceptual_loss import perceptual_loss
from interngs.optimise.pseudo_views import PseudoView
from interngs.optimise.trainer import Trainer
from interngs.pipeline import prepare
from interngs.render.cpu.library import set_threads
from interngs.render.photometric import l1_ssim
from interngs.render.rasterize import rasterize
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture

CPU = torch.device("cpu")
REPEATS = 15
PATCH_PX = 126
Row = tuple[str, float]


@dataclass(frozen=True, eq=False)
class Setting:
    """A trained model and what its terms look at."""

    trainer: Trainer
    capture: Capture
    geometry: Geometry
    pseudo: PseudoView

    @property
    def model(self) -> SplatModel:
        return self.trainer.model


def milliseconds(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Median wall time of ``work``; ``before`` is not timed."""
    times = []
    for number in range(REPEATS + 2):
        before()
        began = time.perf_counter()
        work()
        if number >= 2:
            times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


def forward_and_backward(loss: Callable[[Tensor], Tensor], picture: Tensor) -> float:
    """Milliseconds of ``loss(picture)`` and its gradient to the picture."""
    leaf = picture.detach().clone().requires_grad_()
    return milliseconds(lambda: torch.autograd.grad(loss(leaf), leaf))


def render(setting: Setting, camera: Camera, prefix: str) -> tuple[list[Row], Tensor]:
    """Forward and backward of a render to the activated parameters, and the picture [H, W, 4] (RGB, depth)."""
    active = setting.model.activated()
    leaves = [tensor.detach().requires_grad_()
              for tensor in (active.means, active.quats, active.scales, active.opacities, active.sh)]
    pose, K = (torch.tensor(values, dtype=torch.float32)[None] for values in (camera.camera_from_world, camera.K))

    def forward() -> Tensor:
        colours, _, _ = rasterize(*leaves, pose, K, camera.width_px, camera.height_px,
                                  sh_degree=setting.trainer.sh_degree, render_mode="RGB+ED")
        return colours

    made: list[Tensor] = []
    upstream = torch.randn_like(forward())

    def again() -> None:
        made[:] = [forward()]

    backward = milliseconds(lambda: torch.autograd.grad(made[0], leaves, upstream), before=again)
    rows = [(f"{prefix}: render, forward", milliseconds(forward)), (f"{prefix}: render, backward", backward)]
    return rows, forward().detach()[0]


def photograph_rows(setting: Setting, config: PipelineConfig) -> list[Row]:
    """What a step does at a photograph."""
    view, shape = setting.capture.views[0], setting.geometry.views[0]
    rows, picture = render(setting, view.posed_camera, "photograph")
    rgb, depth, photo = picture[..., :3], picture[..., 3], torch.from_numpy(view.image)
    known = shape.depth > 0
    quarter = (slice(0, None, 2), slice(0, None, 2))
    target = torch.from_numpy(np.where(known, 1 / np.where(known, shape.depth, 1), 0).astype(np.float32))[quarter]
    weight = torch.from_numpy(np.where(known, np.clip((shape.confidence - 1) / 9, 0, 1), 0).astype(np.float32))[quarter]
    exposure = Exposure(len(setting.capture.views), CPU)

    def exposed() -> None:
        image = rgb.detach().requires_grad_()
        exposure.apply(image, 0).sum().backward()
        exposure.step()

    def depth_term(values: Tensor) -> Tensor:
        inverse = 1.0 / values[quarter].clamp_min(1e-6)
        return weighted_pearson_loss(inverse, target, weight) + relative_depth_loss(inverse, target, weight)

    return [*rows,
            ("photograph: L1 + SSIM", forward_and_backward(
                lambda image: l1_ssim(image, photo, None, config.optimise.ssim_share), rgb)),
            ("photograph: exposure", milliseconds(exposed)),
            ("photograph: depth term (every fourth pixel)", forward_and_backward(depth_term, depth)),
            ("photograph: smoothness (every fourth pixel)", forward_and_backward(
                lambda values: edge_aware_smoothness(1 / values[quarter].clamp_min(1e-6), photo[quarter]), depth)),
            ("photograph: closed surfaces", forward_and_backward(
                lambda alpha: alpha_loss(alpha, None, None), torch.full_like(depth, 0.9)))]


def pseudo_rows(setting: Setting) -> list[Row]:
    """What a step does at a view nobody took."""
    view = setting.pseudo
    rows, picture = render(setting, view.camera, "pseudo view")
    return [*rows, ("pseudo view: L1 to warped photographs", forward_and_backward(
        lambda image: weighted_l1(image, torch.from_numpy(view.image), torch.from_numpy(view.weight)),
        picture[..., :3]))]


def parameter_rows(setting: Setting) -> list[Row]:
    """What a step does to all Gaussians."""
    model = setting.model
    count = len(model)

    def activate() -> None:
        active = model.activated()
        tensors = (active.means, active.scales, active.opacities, active.sh)
        torch.autograd.grad(tensors, list(model.parameters.values()), [torch.ones_like(t) for t in tensors],
                            allow_unused=True)

    def drop() -> None:
        opacities = torch.sigmoid(model.parameters["opacity_logits"])
        kept = torch.rand(count) >= 0.1
        torch.autograd.grad((opacities * kept / 0.9).clamp_max(0.999).sum(), model.parameters["opacity_logits"])

    def gradients() -> None:
        for parameter in model.parameters.values():
            parameter.grad = torch.zeros_like(parameter)

    return [("Gaussians: activation", milliseconds(activate)), ("Gaussians: dropout", milliseconds(drop)),
            ("Gaussians: Adam", milliseconds(lambda: model.step(0.5), gradients)),
            ("Gaussians: opacity fade", milliseconds(lambda: model.decay_opacity(0.9999)))]


def model_rows(setting: Setting, lpips: Lpips | None) -> list[Row]:
    """What pretrained models' terms add where they are used; the networks' own time is not in them."""
    view = setting.pseudo
    known = view.depth > 0
    target = torch.from_numpy(np.where(known, 1 / np.where(known, view.depth, 1), 0).astype(np.float32))
    depth = torch.from_numpy(np.where(known, view.depth * 1.01, 1).astype(np.float32))
    say, image = torch.from_numpy(known.astype(np.float32)), torch.from_numpy(view.image)
    render_like = (image * 0.95 + 0.02).clamp(0, 1)

    def correlation(values: Tensor) -> Tensor:
        return weighted_pearson_loss(1.0 / values.clamp_min(1e-6), target, say)

    rows = [("monocular depth at a pseudo view", forward_and_backward(correlation, depth)),
            ("monocular depth at a photograph, patches included", forward_and_backward(
                lambda values: correlation(values) + patch_pearson_loss(1 / values, target, say, PATCH_PX), depth)),
            ("repaired view: L1 + SSIM", forward_and_backward(
                lambda values: l1_ssim(values, image, say, 0.4), render_like))]
    if lpips is not None:
        distance = lpips
        rows.append((f"repaired view: {lpips.name} on a crop", forward_and_backward(
            lambda values: perceptual_loss(distance, values, image, say, 0), render_like)))
    return rows


def step_times(trainer: Trainer, steps: int) -> list[float]:
    """Seconds of each of the first ``steps`` steps."""
    stamps: list[float] = []

    def stop() -> bool:
        stamps.append(time.perf_counter())
        return len(stamps) > steps

    for _ in trainer.run(None, stop):
        pass
    return list(np.diff(stamps))


def prepared(options: argparse.Namespace, config: PipelineConfig) -> tuple[Setting, dict[str, float]]:
    """A trainer before its first step, and the seconds of what came before."""
    files, split = find_capture(options.scene), find_split(options.scene, options.views)
    capture = load_capture(files, list(split.train), config.max_side_px)
    seconds, began = {}, time.perf_counter()
    if options.geometry is not None and options.geometry.exists():
        geometry = load_geometry(options.geometry)
    else:
        prior, _ = choose_geometry(capture, config.geometry, config.device, config.threads)
        geometry = prior.estimate(capture, lambda done, total: None)
        seconds["geometry"] = time.perf_counter() - began
        if options.geometry is not None:
            save_geometry(options.geometry, geometry)
    began = time.perf_counter()
    prepared = prepare(capture, geometry, config)
    trainer = Trainer(capture, geometry, prepared.seeds, prepared.unseen, config, CPU)
    seconds["preparation"] = time.perf_counter() - began
    return Setting(trainer, capture, geometry, prepared.pseudo[len(prepared.pseudo) // 2]), seconds


def main() -> None:
    """Measure and print markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, required=True)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--preset", default="draft", choices=("draft", "normal", "high"))
    parser.add_argument("--max-side-px", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="steps of the run that the parts are measured on")
    parser.add_argument("--geometry", type=Path, help="keep the geometry here (.npz)")
    parser.add_argument("--lpips", type=Path, nargs=2, metavar=("BACKBONE", "LINEAR"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    set_threads(options.threads)
    config = replace(preset_config(options.preset), device="cpu", threads=options.threads)
    if options.max_side_px is not None:
        config = replace(config, max_side_px=options.max_side_px)
    # Views nobody took begin after a tenth of the steps otherwise, and few steps would not meet them.
    config = replace(config, optimise=replace(config.optimise, warp_start=0.0))
    setting, seconds = prepared(options, config)
    times = step_times(setting.trainer, options.steps)
    step_ms = 1000 * float(np.median(times[len(times) // 2:]))
    rows = [*photograph_rows(setting, config), *pseudo_rows(setting), *parameter_rows(setting)]
    rows.append(("the rest (order of views, PSNR on the way, events)", step_ms - sum(value for _, value in rows)))
    height, width = setting.capture.views[0].image.shape[:2]
    total = sum(seconds.values()) + config.optimise.steps * step_ms / 1000
    print(f"{options.preset}, {width}x{height} px, {len(setting.model) / 1000:.0f} k Gaussians; "
          + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
          + f"; {config.optimise.steps} steps of {step_ms:.0f} ms; {total:.0f} s in all\n")
    print("| part of a step | ms | share |\n|---|---|---|")
    for name, value in [*rows, ("a whole step", step_ms)]:
        print(f"| {name} | {value:.1f} | {100 * value / step_ms:.1f} % |")
    print("\n| with models | ms | beside a step |\n|---|---|---|")
    for name, value in model_rows(setting, None if options.lpips is None else Lpips.from_files(*options.lpips)):
        print(f"| {name} | {value:.1f} | {100 * value / step_ms:.1f} % |")


if __name__ == "__main__":
    main()
