# SPDX-License-Identifier: GPL-3.0-or-later
"""Times the CPU renderer, its loss and a whole training step against plain torch on one synthetic room.

    python -m benchmarks.rasterizer [--gaussians 100000] [--width 504] [--height 378] [--repeats 20] [--threads 2]
    python -m benchmarks.rasterizer --cpu-time

Prints Markdown.  Times are the best of the repeats, because other programs can only make a run slower; both sides of
a ratio are measured in the same run with the same number of threads.  Where other programs hold the cores, wall time
says little: ``--cpu-time`` counts the CPU time of one thread instead.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interngs.render import reference
from interngs.render.cpu.library import set_threads
from interngs.render.photometric import l1_ssim, l1_ssim_torch
from interngs.render.rasterize import rasterize

SH_DEGREE = 3
FOCAL_PER_WIDTH = 0.9
SIGMA_PER_SPACING = 0.7


@dataclass(frozen=True)
class Room:
    """A synthetic scene: arguments of ``rasterize`` for one held-out view."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def leaves(self) -> list[Tensor]:
        tensors = (self.means, self.quats, self.scales, self.opacities, self.sh)
        return [tensor.clone().requires_grad_() for tensor in tensors]


def _pose(x: float, y: float, yaw: float) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
    pose[:3, 3] = -pose[:3, :3] @ [x, y, 0]
    return pose


def _cast(origin: NDArray[np.float64], rays: NDArray[np.float64], spheres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance along each ray [..., 3] to the walls of a box or a sphere (x, y, z, radius)."""
    distance = np.full(rays.shape[:-1], np.inf)
    for axis, walls in ((0, (-3, 3)), (1, (-2, 2)), (2, (-1, 7))):
        for wall in walls:
            with np.errstate(divide="ignore", invalid="ignore"):
                t = (wall - origin[axis]) / rays[..., axis]
            distance = np.where((t > 1e-6) & (t < distance), t, distance)
    for x, y, z, radius in spheres:
        offset = origin - np.array([x, y, z])
        a, b = (rays**2).sum(-1), (rays * offset).sum(-1)
        discriminant = b * b - a * (offset @ offset - radius**2)
        t = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
        distance = np.where((discriminant > 0) & (t > 1e-6) & (t < distance), t, distance)
    return distance


def build_room(count: int, width: int, height: int) -> Room:
    """One Gaussian per pixel of three depth maps of a room with nine spheres, random rotation, size and colour."""
    g = np.random.default_rng(0)
    spheres = np.concatenate([g.uniform([-2, -1.2, 2.5], [2, 1.2, 5.5], (9, 3)), g.uniform(0.25, 0.6, (9, 1))], axis=1)
    focal_px = FOCAL_PER_WIDTH * width
    rows = int(np.ceil(np.sqrt((count // 3 + 1) * height / width)))
    columns = int(np.ceil((count // 3 + 1) / rows))
    points, sigmas = [], []
    for pose in (_pose(-0.5, 0, -0.1), _pose(0.5, 0.1, 0.1), _pose(0, -0.2, 0)):
        ys, xs = np.meshgrid((np.arange(rows) + 0.5) * height / rows, (np.arange(columns) + 0.5) * width / columns,
                             indexing="ij")
        rays = np.stack([(xs - width / 2) / focal_px, (ys - height / 2) / focal_px, np.ones_like(xs)], -1)
        rays = rays @ pose[:3, :3]
        origin = -pose[:3, :3].T @ pose[:3, 3]
        distance = _cast(origin, rays, spheres)
        points.append((origin + distance[..., None] * rays).reshape(-1, 3))
        sigmas.append((SIGMA_PER_SPACING * distance * width / columns / focal_px).reshape(-1))
    kept = np.sort(g.permutation(3 * rows * columns)[:count])
    sh = 0.1 * g.standard_normal((count, 16, 3))
    sh[:, 0] = g.uniform(-1, 1, (count, 3))
    K = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    arrays = (np.concatenate(points)[kept], g.standard_normal((count, 4)),
              np.concatenate(sigmas)[kept, None] * np.exp(0.3 * g.standard_normal((count, 3))),
              g.uniform(0.1, 0.9, count), sh, _pose(0.2, 0.05, 0.02)[None], K[None])
    return Room(*(torch.tensor(array, dtype=torch.float32) for array in arrays), width, height)


Clock = Callable[[], float]


def best_ms(body: Callable[[], object], repeats: int, clock: Clock) -> float:
    """Time of the fastest run, milliseconds."""
    times = []
    for _ in range(repeats):
        start = clock()
        body()
        times.append(clock() - start)
    return 1e3 * min(times)


def _resident_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def render_once(room: Room, leaves: list[Tensor], gradient: Tensor) -> None:
    """Forward and backward of the kernels; the gradients of the iteration before are dropped."""
    for leaf in leaves:
        leaf.grad = None
    render, _, _ = rasterize(*leaves, room.viewmats, room.Ks, room.width, room.height, sh_degree=SH_DEGREE,
                             render_mode="RGB+ED")
    render.backward(gradient)


def reference_once(room: Room, gradient: Tensor) -> list[Tensor]:
    """The same by the plain torch reference, in float32 and tiles of 16 px."""
    leaves = room.leaves()
    render, _, _ = reference.rasterize(*leaves, room.viewmats, room.Ks, room.width, room.height, sh_degree=SH_DEGREE,
                                       render_mode="RGB+ED", tile_px=16)
    render.backward(gradient)
    return leaves


def bench_render(room: Room, repeats: int, reference_repeats: int, clock: Clock) -> None:
    leaves = room.leaves()
    gradient = torch.randn(1, room.height, room.width, 4, generator=torch.Generator().manual_seed(0))
    render_once(make_tiny(), make_tiny().leaves(), torch.ones(1, 8, 8, 4))  # compiles and loads
    memory = ""
    if sys.platform == "linux":
        gc.collect()
        before = _resident_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        best_ms(lambda: render_once(room, leaves, gradient), 3, clock)
        memory = f"{_resident_mb('VmHWM') - before:.0f} MB"
    kernel_ms = best_ms(lambda: render_once(room, leaves, gradient), repeats, clock)
    print(f"| render forward + backward, kernels | {kernel_ms:.1f} ms |")
    print(f"| its peak memory above start | {memory or 'measured on Linux only'} |")
    if reference_repeats == 0:
        return
    reference_ms = best_ms(lambda: reference_once(room, gradient), reference_repeats, clock)
    print(f"| the same, plain torch reference (float32) | {reference_ms:.0f} ms |")
    print(f"| kernels faster by | {reference_ms / kernel_ms:.0f}x |")


def make_tiny() -> Room:
    return build_room(30, 8, 8)


def bench_loss(room: Room, repeats: int, clock: Clock) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(room.height, room.width, 3, generator=generator)
    image = torch.rand(room.height, room.width, 3, generator=generator).requires_grad_()

    def run(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        image.grad = None
        loss(image, target).backward()

    fused_ms = best_ms(lambda: run(l1_ssim), repeats, clock)
    torch_ms = best_ms(lambda: run(l1_ssim_torch), max(3, repeats // 4), clock)
    ratio = torch_ms / fused_ms
    print(f"| L1 + SSIM with gradient, kernel / torch | {fused_ms:.1f} / {torch_ms:.0f} ms ({ratio:.0f}x) |")


def bench_adam(room: Room, repeats: int, clock: Clock) -> None:
    results = []
    for options in ({"fused": True}, {}):
        leaves = room.leaves()
        for leaf in leaves:
            leaf.grad = torch.randn_like(leaf)
        optimizer = torch.optim.Adam(leaves, lr=1e-3, eps=1e-15, **options)
        optimizer.step()
        results.append(best_ms(optimizer.step, repeats, clock))
    print(f"| Adam step, fused / default | {results[0]:.1f} / {results[1]:.1f} ms |")


def bench_training(room: Room, steps: int, clock: Clock) -> None:
    """Whole steps: activations, render, loss, backward, Adam, over four views."""
    poses = torch.tensor(np.stack([_pose(x, 0.05, 0.02) for x in (-0.3, -0.1, 0.1, 0.3)]), dtype=torch.float32)

    def render(parameters: list[Tensor], view: int) -> Tensor:
        means, quats, log_scales, logits, sh = parameters
        image, _, _ = rasterize(means, quats, log_scales.exp(), logits.sigmoid(), sh, poses[view:view + 1], room.Ks,
                                room.width, room.height, sh_degree=SH_DEGREE, render_mode="RGB+ED")
        return image[0, ..., :3]

    raw = [room.means, room.quats, room.scales.log(), room.opacities.logit(), room.sh]
    with torch.no_grad():
        targets = [render(raw, view).contiguous() for view in range(len(poses))]
    generator = torch.Generator().manual_seed(0)
    start_values = [raw[0] + 0.01 * torch.randn(raw[0].shape, generator=generator), raw[1], raw[2],
                    torch.full_like(raw[3], -2.2), torch.zeros_like(raw[4])]
    parameters = [value.clone().requires_grad_() for value in start_values]
    rates = (1.6e-4, 1e-3, 5e-3, 5e-2, 2.5e-3)
    optimizer = torch.optim.Adam([{"params": [p], "lr": lr} for p, lr in zip(parameters, rates, strict=True)],
                                 eps=1e-15, fused=True)
    times, losses = [], []
    for step in range(steps):
        start = clock()
        optimizer.zero_grad()
        loss = l1_ssim(render(parameters, step % len(poses)), targets[step % len(poses)])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(clock() - start)
    if not losses[-1] < losses[0]:
        raise RuntimeError(f"the training step does not learn: loss {losses[0]:.4f} to {losses[-1]:.4f}")
    print(f"| training steps per second, mean / best | {len(times) / sum(times):.1f} / {1 / min(times):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=504)
    parser.add_argument("--height", type=int, default=378)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--reference-repeats", type=int, default=1, help="0 leaves the slow reference out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="CPU time of one thread instead of wall time")
    options = parser.parse_args()
    if options.cpu_time:
        options.threads = 1
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    set_threads(options.threads)
    room = build_room(options.gaussians, options.width, options.height)
    case = f"{options.gaussians} Gaussians, {options.width} x {options.height} px, SH {SH_DEGREE}"
    kind = "one thread, CPU time" if options.cpu_time else f"{options.threads} threads, wall time"
    print(f"| {case}, {kind} | best of {options.repeats} |")
    print("|---|---|")
    bench_render(room, options.repeats, options.reference_repeats, clock)
    bench_loss(room, options.repeats, clock)
    bench_adam(room, options.repeats, clock)
    bench_training(room, 2 * options.repeats, clock)


if __name__ == "__main__":
    main()
