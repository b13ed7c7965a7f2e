# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering by several processes that each hold a part of the Gaussians, on the CPU: gsplat's scheme over gloo.

The slow reference of gsplat's ``distributed=True``: it lets the whole multi-GPU path run, and be compared with a single
process, on a machine without a GPU.  As in Grendel-GS (arXiv 2406.18533) projection is divided by Gaussians and
compositing by cameras: every rank projects its own Gaussians into the cameras of all ranks and sends the results to
the rank that draws the image.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from interngs.render.cpu.autograd import ProjectionSettings
from interngs.render.cpu.render import composite, meta_of, project

WIDTHS = (2, 1, 3, 1, 3)
"""Numbers a projected Gaussian has: mean, depth, conic, opacity, colour."""


def render_distributed(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
                       viewmats: Tensor, Ks: Tensor, projection: ProjectionSettings, *, backgrounds: Tensor | None,
                       render_mode: str) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """``rasterize(..., distributed=True)`` for CPU tensors whose shapes have been checked.

    Every rank calls it with its part of the Gaussians and as many cameras as the others, of one image size.  The
    images are those of the rank's own cameras; ``meta`` tells of its own Gaussians in the cameras of all ranks.
    """
    own, sizes = len(viewmats), _everybody_s(len(means))
    radii, *projected = project(means, quats, scales, opacities, colors, _Gather.apply(viewmats.contiguous()),
                                _gathered(Ks), projection)
    means2d, depths, conics, effective, colours = projected
    sent = torch.cat([means2d, depths[..., None], conics, effective[..., None], colours], dim=-1)
    received = _of_own_cameras(_Exchange.apply(sent.reshape(-1, sum(WIDTHS)), own, tuple(sizes)), own, sizes)
    of_all = [part.contiguous() for part in received.split(WIDTHS, dim=-1)]
    of_all[1], of_all[3] = of_all[1][..., 0].contiguous(), of_all[3][..., 0].contiguous()
    sizes_px = _of_own_cameras(_exchanged(radii.reshape(-1, 2), own, tuple(sizes)), own, sizes).contiguous()
    offsets = tuple(sum(sizes) * camera for camera in range(own + 1))
    renders, alphas = composite(sizes_px, of_all, offsets, projection, backgrounds, render_mode, absgrad=False)
    return renders, alphas, meta_of(radii, projected, projection, own)


class _Gather(torch.autograd.Function):
    """[C, ...] of every rank, in the order of the ranks, to [ranks * C, ...] on each; gradients are added up."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.count = len(values)
        return _gathered(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * int(ctx.count)
        return total[first:first + int(ctx.count)]


class _Exchange(torch.autograd.Function):
    """Rows [ranks * C * N, D] ordered by camera, to the rows of the own C cameras from all ranks; gradients go back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, cameras: int, sizes: tuple[int, ...]) -> Tensor:
        ctx.cameras, ctx.sizes = cameras, sizes
        return _exchanged(rows, cameras, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        own = ctx.sizes[dist.get_rank()]
        back = gradients[0].new_empty(len(ctx.sizes) * ctx.cameras * own, gradients[0].shape[1])
        dist.all_to_all_single(back, gradients[0].contiguous(), [ctx.cameras * own] * len(ctx.sizes),
                               [ctx.cameras * size for size in ctx.sizes])
        return back, None, None


def _exchanged(rows: Tensor, cameras: int, sizes: tuple[int, ...]) -> Tensor:
    received = rows.new_empty(cameras * sum(sizes), rows.shape[1])
    dist.all_to_all_single(received, rows.contiguous(), [cameras * size for size in sizes],
                           [cameras * sizes[dist.get_rank()]] * len(sizes))
    return received


def _of_own_cameras(rows: Tensor, cameras: int, sizes: list[int]) -> Tensor:
    """Rows from rank after rank, each by camera, as [C, Gaussians of all ranks, D]."""
    parts = rows.split([cameras * size for size in sizes])
    return torch.cat([part.reshape(cameras, size, -1) for part, size in zip(parts, sizes, strict=True)], dim=1)


def _gathered(values: Tensor) -> Tensor:
    values = values.detach().contiguous()
    found = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(found, values)
    return torch.cat(found)


def _everybody_s(count: int) -> list[int]:
    """How many Gaussians each rank holds."""
    return [int(size) for size in _gathered(torch.tensor([count])).tolist()]
