# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes with a share of the Gaussians each draw what one process with all of them draws."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interngs.render.rasterize import rasterize

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("means", "quats", "scales", "opacities", "colors")


def scene(ranks: int, sh_degree: int | None, count: int = 101) -> dict:
    g = torch.Generator().manual_seed(3)
    viewmats = torch.eye(4).repeat(ranks, 1, 1)
    viewmats[:, 0, 3] = torch.linspace(-0.3, 0.3, ranks)
    K = torch.tensor([[40.0, 0, 23], [0, 42, 17], [0, 0, 1]])
    colors = torch.rand(count, 3, generator=g) if sh_degree is None else 0.3 * torch.randn(count, 9, 3, generator=g)
    return {"means": torch.randn(count, 3, generator=g) * 0.7 + torch.tensor([0.0, 0, 4]),
            "quats": torch.randn(count, 4, generator=g), "opacities": 0.05 + 0.9 * torch.rand(count, generator=g),
            "scales": torch.exp(0.4 * torch.randn(count, 3, generator=g) - 2), "colors": colors, "viewmats": viewmats,
            "Ks": K.repeat(ranks, 1, 1), "width": 47, "height": 33, "sh_degree": sh_degree,
            "backgrounds": torch.rand(ranks, 3, generator=g), "v_render": torch.randn(ranks, 33, 47, 4, generator=g)}


def run_ranks(folder: Path, data: dict, ranks: int) -> list[dict]:
    torch.save(data, folder / "scene.pt")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ranks_render.py")), str(rank), str(ranks), str(folder / "store"),
         str(folder / "scene.pt"), str(folder / f"{rank}.pt")], env=environment) for rank in range(ranks)]
    assert [process.wait(120) for process in processes] == [0] * ranks
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


@pytest.mark.parametrize(("ranks", "sh_degree"), [(2, 2), (3, None)])
def test_ranks_draw_what_one_process_draws(tmp_path, ranks, sh_degree):
    data = scene(ranks, sh_degree)
    found = run_ranks(tmp_path, data, ranks)
    inputs = [data[name].clone().requires_grad_() for name in NAMES]
    viewmats = data["viewmats"].clone().requires_grad_()
    render, alpha, meta = rasterize(*inputs, viewmats, data["Ks"], data["width"], data["height"], sh_degree=sh_degree,
                                    render_mode="RGB+ED", backgrounds=data["backgrounds"])
    meta["means2d"].retain_grad()
    (render * data["v_render"]).sum().backward()
    for rank, part in enumerate(found):
        torch.testing.assert_close(part["render"][0], render[rank], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(part["alpha"][0], alpha[rank], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(part["means2d"], meta["means2d"].grad[:, rank::ranks], rtol=1e-4, atol=1e-5)
        assert torch.equal(part["radii"], meta["radii"][:, rank::ranks])
        torch.testing.assert_close(part["viewmats"][0], viewmats.grad[rank], rtol=1e-3, atol=1e-3)
        for mine, whole in zip(part["grads"], inputs, strict=True):
            torch.testing.assert_close(mine, whole.grad[rank::ranks], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("option", ["absgrad", "packed"])
def test_what_gsplat_cannot_do_across_ranks_is_refused(option):
    data = scene(1, 2)
    with pytest.raises(ValueError, match="distributed"):
        rasterize(*(data[name] for name in NAMES), data["viewmats"], data["Ks"], 47, 33, sh_degree=2, distributed=True,
                  **{option: True})
