# SPDX-License-Identifier: GPL-3.0-or-later
"""gsplat's distributed mode on two GPUs: the images of one process, and the command from start to end."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interngs.render.rasterize import rasterize

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2 or importlib.util.find_spec("gsplat") is None,
                       reason="needs an NVIDIA GPU with gsplat, and a second one"),
]


def test_two_gpus_draw_what_the_cpu_draws(tmp_path):
    g = torch.Generator().manual_seed(0)
    count = 400
    data = {"means": torch.randn(count, 3, generator=g) * 0.7 + torch.tensor([0.0, 0, 4]),
            "quats": torch.randn(count, 4, generator=g), "opacities": 0.05 + 0.9 * torch.rand(count, generator=g),
            "scales": torch.exp(0.4 * torch.randn(count, 3, generator=g) - 2.5),
            "colors": 0.3 * torch.randn(count, 9, 3, generator=g), "viewmats": torch.eye(4).repeat(2, 1, 1),
            "Ks": torch.tensor([[40.0, 0, 23], [0, 42, 17], [0, 0, 1]]).repeat(2, 1, 1), "width": 47, "height": 33,
            "sh_degree": 2, "backgrounds": torch.rand(2, 3, generator=g),
            "v_render": torch.randn(2, 33, 47, 4, generator=g)}
    data["viewmats"][1, 0, 3] = 0.3
    torch.save(data, tmp_path / "scene.pt")
    script = ROOT / "tests" / "interngs" / "render" / "ranks_render.py"
    processes = [subprocess.Popen([sys.executable, str(script), str(rank), "2", str(tmp_path / "store"),
                                   str(tmp_path / "scene.pt"), str(tmp_path / f"{rank}.pt"), "cuda"], cwd=ROOT)
                 for rank in range(2)]
    assert [process.wait(600) for process in processes] == [0, 0]
    names = ("means", "quats", "scales", "opacities", "colors")
    inputs = [data[name].clone().requires_grad_() for name in names]
    render, _, _ = rasterize(*inputs, data["viewmats"], data["Ks"], 47, 33, sh_degree=2, render_mode="RGB+ED",
                             backgrounds=data["backgrounds"])
    (render * data["v_render"]).sum().backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        difference = (found["render"][0] - render[rank])[..., :3].abs()
        assert float((difference > 1e-3).double().mean()) < 1e-3
        for mine, whole in zip(found["grads"], inputs, strict=True):
            assert float((mine - whole.grad[rank::2]).norm()) <= 1e-2 * float(whole.grad.norm())


def test_the_command_trains_on_two_gpus(tmp_path):
    example, out = str(ROOT / "examples" / "chess_table"), str(tmp_path / "out")
    run = subprocess.run([sys.executable, "-m", "interngs.cli", "reconstruct", example, "-o", out, "--gpus", "2",
                          "--steps", "60", "--views", "0", "5", "11"],
                         cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["complete"] and report["steps"] == 30 and report["gaussians"] > 1000
