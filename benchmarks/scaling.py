# SPDX-License-Identifier: GPL-3.0-or-later
"""How time and memory grow with Gaussians, pixels and views on the CPU: one process per point, and the power law.

    python benchmarks/scaling.py [gaussians] [pixels] [views [NUMBER ...]] [large]

Times are processor seconds over all threads, so that other programs of the machine do not count.  Memory of whole runs
is what belongs to the process alone; pages of mapped files, which the system takes back when it needs them, are not in.
"""

from __future__ import annotations

import gc
import json
import math
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
STEPS = 4
GAUSSIANS = (50_000, 100_000, 200_000, 400_000)
SIDES = ((320, 240), (640, 480), (1280, 960))
VIEWS = (3, 6, 12, 25, 50, 100)
VIEW_PX = (128, 96)
LARGE = (25, 50, 100, 200)
LARGE_PX = (1920, 1080)
IN_MEMORY_BYTES = 1 << 20
"""In ``views``: pixels past this go to the mapped file, as past a gigabyte in earnest."""


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


def one_round(views: int) -> dict[str, float]:
    """Seconds and own memory of keeping so many views of two megapixels, and of taking each of them once to train."""
    import torch  # noqa: PLC0415

    from interngs.geometry.prior import Geometry, ViewGeometry  # noqa: PLC0415
    from interngs.images.pixel_file import PixelFile  # noqa: PLC0415
    from interngs.optimise.training_views import TrainingViews  # noqa: PLC0415
    from interngs.scene.cameras import Camera  # noqa: PLC0415
    from interngs.scene.capture import Capture, View  # noqa: PLC0415

    width, height = LARGE_PX
    camera = Camera(np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]), np.eye(4), width, height)
    image = np.random.default_rng(0).random((height, width, 3)).astype(np.float32)
    depth, confidence = np.full((height, width), 3.0, np.float32), np.full((height, width), 6.0, np.float32)
    base, watch, found = OwnMemory.now_bytes(), OwnMemory(), {}
    with tempfile.TemporaryDirectory() as folder:
        pixels, began = PixelFile(Path(folder)), time.process_time()
        capture = Capture(tuple(pixels.keep_view(View(str(k), image.copy(), camera)) for k in range(views)))
        geometry = Geometry(tuple(ViewGeometry(camera, pixels.keep(depth.copy()), pixels.keep(confidence.copy()))
                                  for _ in range(views)), "made for a benchmark")
        found["seconds to keep a view"] = (time.process_time() - began) / views
        found["keeping bytes"] = float(watch.take_peak() - base)
        training, began = TrainingViews(capture, geometry, torch.device("cpu")), time.process_time()
        for index in range(views):
            training.expect((index + 1) % views)
            training[index].image.sum()
        found["seconds to take a view"] = (time.process_time() - began) / views
        found["training bytes"] = float(watch.take_peak() - base)
    return found


class OwnMemory:
    """Watches how much memory belongs to this process alone (Linux)."""

    def __init__(self) -> None:
        self.peak_bytes, self._over = self.now_bytes(), threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def now_bytes() -> int:
        """Anonymous resident memory."""
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def take_peak(self) -> int:
        """The most since this was asked before."""
        peak, self.peak_bytes = self.peak_bytes, self.now_bytes()
        return peak

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, self.now_bytes())


def whole_run(views: int) -> dict[str, float]:
    """Processor seconds and own memory, above that at the start, of each stage of a short draft of a synthetic room."""
    from room import room_capture  # noqa: PLC0415

    from interngs.config import preset_config  # noqa: PLC0415
    from interngs.events import Stage  # noqa: PLC0415
    from interngs.images import pixel_file  # noqa: PLC0415
    from interngs.pipeline import reconstruct  # noqa: PLC0415
    from interngs.render.cpu.library import kernels  # noqa: PLC0415

    pixel_file.PixelFile.__init__.__defaults__ = (IN_MEMORY_BYTES,)
    kernels()
    config = preset_config("draft")
    config = replace(config, depth_prior="none", threads=2, optimise=replace(config.optimise, steps=STEPS * 10))
    spent, memory = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        pixels = pixel_file.PixelFile(Path(folder))
        capture = room_capture(views, *VIEW_PX)
        capture = replace(capture, views=tuple(map(pixels.keep_view, capture.views)))
        gc.collect()
        watch = OwnMemory()
        base, stage, began = watch.now_bytes(), "load", time.process_time()
        for event in reconstruct(capture, config, Path(folder) / "work"):
            if isinstance(event, Stage):
                now = time.process_time()
                spent[stage], memory[stage] = now - began, watch.take_peak() - base
                stage, began = event.name, now
    return {"geometry seconds": spent["geometry"], "seeding seconds": spent["seeding"],
            "seconds a step": spent["optimise"] / (STEPS * 10), "geometry bytes": float(memory["geometry"]),
            "seeding bytes": float(memory["seeding"]), "optimise bytes": float(memory["optimise"])}


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
    rows: list[dict[str, float]] = []
    for value, call in zip(x, calls, strict=True):
        rows.append(measure(call))
        names = list(rows[0])
        if len(rows) == 1:
            print(f"| {title} | " + " | ".join(name.replace("bytes", "memory, MB") for name in names) + " |")
            print("|---" * (len(names) + 1) + "|")
        cells = [f"{rows[-1][name] / 1e6:.0f}" if name.endswith("bytes") else f"{rows[-1][name]:.3f}" for name in names]
        print(f"| {value:,} | " + " | ".join(cells) + " |", flush=True)
    powers = [f"{name.replace('bytes', 'memory')} ~ x^{exponent(x, [max(row[name], 1e-9) for row in rows]):.2f}"
              for name in names]
    slopes = [f"{np.polyfit(x, [row[name] for row in rows], 1)[0]:.3g} more {name} for each" for name in names]
    print(f"\npowers: {'; '.join(powers)}\nslopes: {'; '.join(slopes)}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure the curves named on the command line, or all; with ``--point`` one point of one."""
    if sys.argv[1:2] == ["--point"]:
        function = {"step": training_step, "run": whole_run, "round": one_round}[sys.argv[2]]
        print(json.dumps(function(*map(int, sys.argv[3:]))))
        return
    wanted = sys.argv[1:] or ["gaussians", "pixels", "views"]
    numbers = [int(word) for word in wanted if word.isdigit()] or VIEWS
    if "gaussians" in wanted:
        table("Gaussians at 640 x 480", GAUSSIANS, [f"step {count} 640 480" for count in GAUSSIANS])
    if "pixels" in wanted:
        table("pixels with 100 k Gaussians", [w * h for w, h in SIDES], [f"step 100000 {w} {h}" for w, h in SIDES])
    if "views" in wanted:
        table("views of {} x {}".format(*VIEW_PX), numbers, [f"run {views}" for views in numbers])
    if "large" in wanted:
        table("views of {} x {}".format(*LARGE_PX), LARGE, [f"round {views}" for views in LARGE])


if __name__ == "__main__":
    main()
