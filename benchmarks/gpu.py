# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything to be known of an NVIDIA machine, in one command: gsplat, parity, training, comparison; prints Markdown.

    python benchmarks/gpu.py [--data DATA] [-o OUT] [--steps 7000] [--preset normal] | --rehearse

1. finds gsplat 1.5.3, or installs it (its CUDA code is compiled at the first use: minutes);
2. runs ``tests/gpu``: our CPU kernels and plain reference against gsplat, to 1e-3;
3. trains the shipped example (and the scenes of DATA) with our preset and, from the same first Gaussians and
   photographs, with gsplat's own default training: adaptive density control, its learning rates, no priors;
4. tables: steps a second, peak GPU memory, held-out PSNR, and the seconds of training until it was reached.

``--rehearse`` goes the same way on any machine, with small photographs and few steps: the tests of 2 skip themselves,
and in gsplat's training our CPU kernels render (and, where gsplat is not installed, density control is left out); the
table names them so.  Its figures mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from interngs.config import PipelineConfig, preset_config
from interngs.evaluate.held_out import mean_metrics, measure
from interngs.events import Done, Preview, Stage
from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.geometry.choose import choose_geometry
from interngs.geometry.seeding import seeds_to_gaussians
from interngs.images.load import load_capture
from interngs.pipeline import prepare, reconstruct
from interngs.render.photometric import l1_ssim
from interngs.render.rasterize import rasterize
from interngs.scene.capture import Capture
from interngs.scene.gaussians import Gaussians

REPOSITORY = Path(__file__).resolve().parents[1]
REHEARSAL = {"steps": 40, "own_steps": 40, "preset": "draft", "max_side_px": 96}
GSPLAT = ("gsplat==1.5.3", "packaging", "ninja")
SCENES = (("llff_fern", 3), ("strecha_herzjesu-p8", 6), ("dtu_scan24", 3), ("fox", 12))
LOOK_EVERY = 0.1
"""Held-out quality is measured at every tenth of a run, outside the clock."""


@dataclass
class Curve:
    """A training as it was watched: PSNR in dB of held-out views by seconds of training."""

    name: str
    points: list[tuple[float, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    gaussians: int = 0
    ssim: float = 0.0

    @property
    def best_db(self) -> float:
        """The best PSNR on the way."""
        return max(value for _, value in self.points)

    def seconds_to(self, psnr_db: float) -> float | None:
        """Seconds until a PSNR was seen; None when it never was."""
        return next((seconds for seconds, value in self.points if value >= psnr_db), None)


# ---- gsplat ----------------------------------------------------------------------------------------------------------

def find_gsplat() -> str:
    """Install gsplat where it is missing and let it compile; how long that took, in words."""
    began = time.monotonic()
    if importlib.util.find_spec("gsplat") is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "--no-build-isolation", *GSPLAT], check=True)
        importlib.invalidate_caches()
    from gsplat import rasterization  # noqa: PLC0415 - only machines with a GPU have it

    one = torch.ones(1, 3, device="cuda")
    rasterization(torch.tensor([[0.0, 0, 3]], device="cuda"), torch.tensor([[1.0, 0, 0, 0]], device="cuda"), 0.1 * one,
                  one[:, 0], one, torch.eye(4, device="cuda")[None],
                  torch.tensor([[[50.0, 0, 32], [0, 50, 32], [0, 0, 1]]], device="cuda"), 64, 64)
    torch.cuda.synchronize()
    return f"gsplat is ready after {time.monotonic() - began:.0f} s (compiled, if it was not yet)"


def check_parity() -> bool:
    """Run the tests of the GPU; their output goes to the terminal."""
    sys.stdout.flush()
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"], cwd=REPOSITORY,
                          check=False).returncode
    return code == 0


def has_gsplat() -> bool:
    """Whether gsplat can be imported (rendering with it needs CUDA as well)."""
    return importlib.util.find_spec("gsplat") is not None


def renderer(device: torch.device) -> Callable[..., tuple[torch.Tensor, torch.Tensor, dict[str, Any]]]:
    """gsplat's renderer; in a rehearsal ours, which takes the same arguments."""
    if device.type != "cuda":
        return rasterize
    from gsplat import rasterization  # noqa: PLC0415 - only machines with a GPU have it

    found: Callable[..., tuple[torch.Tensor, torch.Tensor, dict[str, Any]]] = rasterization
    return found


class NoDensityControl:
    """Stands in for gsplat's strategy in a rehearsal without gsplat: Gaussians neither come nor go."""

    def check_sanity(self, params: Any, optimizers: Any) -> None:
        """Nothing to check."""

    def initialize_state(self, scene_scale: float) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def step_pre_backward(self, params: Any, optimizers: Any, state: Any, step: int, info: Any) -> None:
        """Nothing to prepare."""

    def step_post_backward(self, params: Any, optimizers: Any, state: Any, step: int, info: Any,
                           packed: bool = False) -> None:
        """Nothing to change."""


def default_strategy() -> Any:
    """gsplat's default density control, with the opacity resets that 1.5.3 leaves out.

    There ``step % reset_every == 0 & step > 0`` is always false, since ``&`` binds tighter than comparisons.
    """
    if not has_gsplat():
        return NoDensityControl()
    from gsplat.strategy import DefaultStrategy  # noqa: PLC0415
    from gsplat.strategy.ops import reset_opa  # noqa: PLC0415

    class WithResets(DefaultStrategy):
        def step_post_backward(self, params: Any, optimizers: Any, state: Any, step: int, info: Any,
                               packed: bool = False) -> None:
            super().step_post_backward(params, optimizers, state, step, info, packed)
            if 0 < step < self.refine_stop_iter and step % self.reset_every == 0:
                reset_opa(params=params, optimizers=optimizers, state=state, value=2.0 * self.prune_opa)

    return WithResets()


def train_with_gsplat(capture: Capture, start: Gaussians, steps: int, device: torch.device,
                      ) -> Iterator[tuple[int, Gaussians | None]]:
    """gsplat's own training (its ``simple_trainer`` defaults) from given Gaussians; yields (step, Gaussians)."""
    rasterization = renderer(device)
    images = [torch.tensor(view.image, device=device) for view in capture.views]
    cameras = [view.posed_camera for view in capture.views]
    poses = torch.tensor(np.stack([camera.camera_from_world for camera in cameras]), dtype=torch.float32, device=device)
    Ks = torch.tensor(np.stack([camera.K for camera in cameras]), dtype=torch.float32, device=device)
    centres = np.stack([camera.centre for camera in cameras])
    scene_scale = 1.1 * float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
    sh = np.zeros((len(start), 16, 3), np.float32)
    sh[:, :start.sh.shape[1]] = start.sh
    values = {"means": start.means, "scales": start.log_scales, "quats": start.quats, "opacities": start.opacity_logits,
              "sh0": sh[:, :1], "shN": sh[:, 1:]}
    rates = {"means": 1.6e-4 * scene_scale, "scales": 5e-3, "quats": 1e-3, "opacities": 5e-2, "sh0": 2.5e-3,
             "shN": 2.5e-3 / 20}
    params = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.tensor(np.ascontiguousarray(value), device=device))
                                     for name, value in values.items()})
    optimizers = {name: torch.optim.Adam([{"params": params[name], "lr": rate, "name": name}], eps=1e-15)
                  for name, rate in rates.items()}
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizers["means"], gamma=0.01 ** (1.0 / steps))
    strategy = default_strategy()
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state(scene_scale=scene_scale)
    chance = np.random.default_rng(0)
    for step in range(steps):
        index = int(chance.integers(len(images)))
        height, width = images[index].shape[:2]
        # packed is given to both: their defaults differ.
        render, _, info = rasterization(
            params["means"], params["quats"], params["scales"].exp(), torch.sigmoid(params["opacities"]),
            torch.cat([params["sh0"], params["shN"]], 1), poses[index:index + 1], Ks[index:index + 1], width, height,
            sh_degree=min(step // 1000, 3), packed=False)
        strategy.step_pre_backward(params, optimizers, state, step, info)
        l1_ssim(render[0].clamp(0, 1), images[index], None, 0.2).backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        schedule.step()
        strategy.step_post_backward(params, optimizers, state, step, info, packed=False)
        if (step + 1) % max(1, int(LOOK_EVERY * steps)) == 0 or step + 1 == steps:
            if device.type == "cuda":
                torch.cuda.synchronize()
            yield step + 1, gaussians_of(params)


def gaussians_of(params: Any) -> Gaussians:
    """The parameters as the library's record; gsplat's own export is avoided (one NaN there empties the file)."""
    kept = torch.stack([torch.isfinite(value).reshape(len(value), -1).all(1) for value in params.values()]).all(0)
    array = {name: value.detach()[kept].cpu().numpy() for name, value in params.items()}
    quats = array["quats"] / np.linalg.norm(array["quats"], axis=1, keepdims=True)
    return Gaussians(array["means"], quats, array["scales"], array["opacities"],
                     np.concatenate([array["sh0"], array["shN"]], 1))


# ---- ours ------------------------------------------------------------------------------------------------------------

def train_with_ours(capture: Capture, config: PipelineConfig, folder: Path) -> Iterator[tuple[int, Gaussians | None]]:
    """Our pipeline; yields (0, None) when its training begins, then (step, Gaussians) at previews and at the end."""
    for event in reconstruct(capture, config, folder):
        if isinstance(event, Stage) and event.name == "optimise":
            yield 0, None
        elif isinstance(event, Preview) and event.step:
            yield event.step, event.gaussians
        elif isinstance(event, Done):
            yield event.report["steps"], event.gaussians


def first_gaussians(capture: Capture, config: PipelineConfig) -> Gaussians:
    """The Gaussians that our training starts from."""
    prior, _ = choose_geometry(capture, config.geometry, config.device)
    geometry = prior.estimate(capture, lambda done, total: None)
    return seeds_to_gaussians(prepare(capture, geometry, config).seeds, config.seeding, 3)


def watch(name: str, run: Iterator[tuple[int, Gaussians | None]], unseen: Capture, device: torch.device) -> Curve:
    """Run a training; the clock begins at step 0 and stands still while held-out views are measured."""
    curve = Curve(name)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    while True:
        began = time.monotonic()
        found = next(run, None)
        curve.seconds += time.monotonic() - began
        if found is None:
            return curve
        if device.type == "cuda":
            curve.peak_bytes = max(curve.peak_bytes, torch.cuda.max_memory_allocated())
        curve.steps, gaussians = found
        if gaussians is None:
            curve.seconds = 0.0
            continue
        metrics = mean_metrics(measure(gaussians, unseen, device))
        curve.points.append((curve.seconds, metrics["psnr"]))
        curve.gaussians, curve.ssim = len(gaussians), metrics["ssim"]
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()


def compare(scene: Path, views: int, config: PipelineConfig, steps: int, folder: Path) -> list[Curve]:
    """Both trainings of one scene."""
    files, split = find_capture(scene), find_split(scene, views)
    capture = load_capture(files, list(split.train), config.max_side_px)
    unseen = load_capture(files, list(split.held_out), config.max_side_px)
    device = torch.device(config.device)
    curves = [watch(f"ours, {config.preset}", train_with_ours(capture, config, folder), unseen, device)]
    name = "gsplat, its defaults"
    if device.type != "cuda":
        name = f"gsplat's loop on our CPU kernels{'' if has_gsplat() else ', no density control'}"
    start = first_gaussians(capture, config)
    curves.append(watch(name, train_with_gsplat(capture, start, steps, device), unseen, device))
    return curves


def print_table(title: str, curves: list[Curve]) -> None:
    """One scene's rows; *to* is the PSNR that both reached, less 0.1 dB."""
    goal = min(curve.best_db for curve in curves) - 0.1
    print(f"\n### {title}\n\n| training | steps | seconds | steps a second | PSNR at the end | best | SSIM | Gaussians "
          f"| peak GPU memory | seconds to {goal:.2f} dB |\n" + "|---" * 10 + "|")
    for curve in curves:
        reached = curve.seconds_to(goal)
        memory = f"{curve.peak_bytes / 1e9:.2f} GB" if curve.peak_bytes else "-"
        print(f"| {curve.name} | {curve.steps} | {curve.seconds:.1f} | {curve.steps / curve.seconds:.1f} | "
              f"{curve.points[-1][1]:.2f} | {curve.best_db:.2f} | {curve.ssim:.3f} | {curve.gaussians:,} | "
              f"{memory} | {'-' if reached is None else f'{reached:.1f}'} |")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """All of it; the exit code is 1 when parity fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with llff_fern, strecha_herzjesu-p8, dtu_scan24, fox")
    parser.add_argument("-o", "--output", type=Path, help="keep work folders here")
    parser.add_argument("--steps", type=int, default=7000, help="of gsplat's training (its default: 30000)")
    parser.add_argument("--preset", default="normal")
    parser.add_argument("--own-steps", type=int, help="of our training (default: the preset's)")
    parser.add_argument("--max-side-px", type=int, help="longest side of the photographs (default: the preset's)")
    parser.add_argument("--rehearse", action="store_true", help="on a machine without a GPU: does everything run?")
    rehearses = "--rehearse" in (sys.argv[1:] if arguments is None else arguments)
    parser.set_defaults(**(REHEARSAL if rehearses else {}))
    options = parser.parse_args(arguments)
    device: Literal["cpu", "cuda"] = "cpu" if options.rehearse else "cuda"
    if options.rehearse:
        print("REHEARSAL on the CPU: the figures below say nothing about a GPU.\n")
        parity = check_parity()
    else:
        if not torch.cuda.is_available():
            print("This machine has no NVIDIA GPU that this PyTorch can use.", file=sys.stderr)
            return 2
        print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}\n")
        print(find_gsplat())
        parity = check_parity()
        print(f"\nParity of the CPU kernels and gsplat (1e-3): {'holds' if parity else 'BROKEN'}")
    config = replace(preset_config(options.preset), device=device)
    # Looks at the way there, not at the wall clock: a GPU finishes a draft in seconds.
    config = replace(config, max_side_px=options.max_side_px or config.max_side_px,
                     optimise=replace(config.optimise, preview_every_s=0.5,
                                      steps=options.own_steps or config.optimise.steps))
    scenes = [(REPOSITORY / "examples" / "chess_table", 3)]
    if options.data is not None:
        scenes += [(options.data / name, views) for name, views in SCENES if (options.data / name).is_dir()]
    with tempfile.TemporaryDirectory() as temporary:
        for scene, views in scenes:
            folder = (options.output or Path(temporary)) / f"{scene.name}-{views}"
            print_table(f"{scene.name}, {views} views", compare(scene, views, config, options.steps, folder))
    return 0 if parity else 1


if __name__ == "__main__":
    sys.exit(main())
