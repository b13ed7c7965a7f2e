# SPDX-License-Identifier: GPL-3.0-or-later
"""How time and memory grow with Gaussians, pixels and views on the CPU: one process per point, and the power law.

    python benchmarks/scaling.py [gaussians] [pixels] [views]

Times are processor seconds over all threads, so that other programs of the machine do not count.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "examples" / "chess_table"
STEPS = 4
GAUSSIANS = (50_000, 100_000, 200_000, 400_000)
SIDES = ((320, 240), (640, 480), (1280, 960))
VIEWS = (3, 6, 12)


def peak_bytes() -> int:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def training_step(gaussians: int, width: int, height: int) -> dict[str, float]:
    """Processor seconds of a training step (render, L1 + SSIM, backward, Adam), and memory above the libraries'."""
    import torch  # noqa: PLC0415 - only in the measuring process

    from interngs.render.photometric import l1_ssim  # noqa: PLC0415
    from interngs.render.rasterize import rasterize  # noqa: PLC0415

    torch.set_num_threads(2)
    random = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random)

    # A slab in front of the camera that fills the image, each Gaussian about as wide as its share of it.
    means = torch.stack([8 * uniform(gaussians) - 4, 6 * uniform(gaussians) - 3, 8 + uniform(gaussians)], 1)
    sizes = torch.full((gaussians, 3), math.log(8.0 / math.sqrt(gaussians)))
    parameters = [means, torch.randn(gaussians, 4, generator=random), sizes, uniform(gaussians),
                  uniform(gaussians, 4, 3) - 0.5]
    parameters = [value.requires_grad_() for value in parameters]
    optimiser = torch.optim.Adam(parameters, lr=1e-4)
    K = torch.tensor([[[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]])
    target = torch.rand(height, width, 3)
    before, times = peak_bytes(), []
    for _ in range(STEPS):
        began = time.process_time()
        render, _, _ = rasterize(means, parameters[1], sizes.exp(), torch.sigmoid(parameters[3]), parameters[4],
                                 torch.eye(4)[None], K, width, height, sh_degree=1, render_mode="RGB+ED")
        l1_ssim(render[0, ..., :3], target, None, 0.2).backward()
        optimiser.step()
        optimiser.zero_grad()
        times.append(time.process_time() - began)
    return {"seconds": float(np.median(times[1:])), "bytes": float(peak_bytes() - before)}


def whole_run(views: int) -> dict[str, float]:
    """Processor seconds of each stage of a short draft of the shipped example, and the process's peak memory."""
    from interngs.config import preset_config  # noqa: PLC0415
    from interngs.events import Stage  # noqa: PLC0415
    from interngs.formats.detect import find_capture  # noqa: PLC0415
    from interngs.images.load import load_capture  # noqa: PLC0415
    from interngs.pipeline import reconstruct  # noqa: PLC0415

    config = preset_config("draft")
    config = replace(config, max_side_px=256, optimise=replace(config.optimise, steps=STEPS * 5), threads=2)
    indices = np.linspace(0, 11, views).round().astype(int).tolist()
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        capture = load_capture(find_capture(EXAMPLE), indices, config.max_side_px)
        stage, began = "load", time.process_time()
        for event in reconstruct(capture, config, Path(folder)):
            if isinstance(event, Stage):
                now = time.process_time()
                spent[stage] = spent.get(stage, 0.0) + now - began
                stage, began = event.name, now
    return {"geometry seconds": spent.get("geometry", 0.0), "seconds a step": spent["optimise"] / (STEPS * 5),
            "bytes": float(peak_bytes())}


def measure(call: str) -> dict[str, float]:
    """Evaluate one of the functions above in a process of its own."""
    name, _, arguments = call.partition(" ")
    output = subprocess.run([sys.executable, __file__, "--point", name, *arguments.split()], capture_output=True,
                            text=True, check=True, cwd=REPOSITORY).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The power with which ``y`` grows with ``x``: the slope of the least-squares line through the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def table(title: str, x: Sequence[float], calls: Sequence[str]) -> None:
    """Measure and print one curve, its powers, and the slope of memory."""
    rows = [measure(call) for call in calls]
    names = list(rows[0])
    print(f"| {title} | " + " | ".join(name.replace("bytes", "memory, MB") for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for value, row in zip(x, rows, strict=True):
        cells = [f"{row[name] / 1e6:.0f}" if name == "bytes" else f"{row[name]:.3f}" for name in names]
        print(f"| {value:,} | " + " | ".join(cells) + " |")
    powers = [f"{name.replace('bytes', 'memory')} ~ x^{exponent(x, [max(row[name], 1e-9) for row in rows]):.2f}"
              for name in names]
    slope = np.polyfit(x, [row["bytes"] for row in rows], 1)[0]
    print(f"\npowers: {'; '.join(powers)}; {slope:.0f} bytes more for each\n")
    sys.stdout.flush()


def main() -> None:
    """Measure the curves named on the command line, or all; with ``--point`` one point of one."""
    if sys.argv[1:2] == ["--point"]:
        function = {"step": training_step, "run": whole_run}[sys.argv[2]]
        print(json.dumps(function(*map(int, sys.argv[3:]))))
        return
    wanted = sys.argv[1:] or ["gaussians", "pixels", "views"]
    if "gaussians" in wanted:
        table("Gaussians at 640 x 480", GAUSSIANS, [f"step {count} 640 480" for count in GAUSSIANS])
    if "pixels" in wanted:
        table("pixels with 100 k Gaussians", [w * h for w, h in SIDES], [f"step 100000 {w} {h}" for w, h in SIDES])
    if "views" in wanted:
        table("views of 256 x 192", VIEWS, [f"run {views}" for views in VIEWS])


if __name__ == "__main__":
    main()
