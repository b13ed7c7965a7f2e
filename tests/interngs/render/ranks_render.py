# SPDX-License-Identifier: GPL-3.0-or-later
"""One rank of the distributed renderer's test: renders its camera of a scene from its share of the Gaussians."""

from __future__ import annotations

import sys
from datetime import timedelta

import torch
import torch.distributed as dist

from interngs.render.rasterize import rasterize


def main(rank: int, ranks: int, store: str, scene: str, out: str, kind: str = "cpu") -> None:
    """Write the image, the gradients of the rank's inputs and those of the 2-D means."""
    torch.set_num_threads(1)
    device = torch.device("cpu") if kind == "cpu" else torch.device(kind, rank)
    if kind == "cuda":
        torch.cuda.set_device(device)
    backend = "gloo" if kind == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, rank=rank, world_size=ranks, timeout=timedelta(seconds=60),
                            store=dist.FileStore(store, ranks))
    data = torch.load(scene, weights_only=True, map_location=device)
    shares = [data[name][rank::ranks].clone().requires_grad_()
              for name in ("means", "quats", "scales", "opacities", "colors")]
    viewmat = data["viewmats"][rank:rank + 1].clone().requires_grad_()
    render, alpha, meta = rasterize(
        *shares, viewmat, data["Ks"][rank:rank + 1], data["width"], data["height"], sh_degree=data["sh_degree"],
        render_mode="RGB+ED", backgrounds=data["backgrounds"][rank:rank + 1], distributed=True)
    meta["means2d"].retain_grad()
    (render * data["v_render"][rank:rank + 1]).sum().backward()
    torch.save({"render": render.detach().cpu(), "alpha": alpha.detach().cpu(), "means2d": meta["means2d"].grad.cpu(),
                "radii": meta["radii"].cpu(), "viewmats": viewmat.grad.cpu(),
                "grads": [share.grad.cpu() for share in shares]}, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
