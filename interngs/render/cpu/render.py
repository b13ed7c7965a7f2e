# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU renderer: projection, optional packing and compositing put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interngs.render.cpu.autograd import Composite, ImageSettings, Project, ProjectionSettings


def render(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
           Ks: Tensor, projection: ProjectionSettings, *, backgrounds: Tensor | None, render_mode: str, absgrad: bool,
           packed: bool) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """``rasterize`` for CPU tensors whose shapes have been checked."""
    cameras, count = len(viewmats), len(means)
    radii, *projected = project(means, quats, scales, opacities, colors, viewmats, Ks, projection)
    offsets = tuple(count * camera for camera in range(cameras + 1))
    camera_ids = gaussian_ids = None
    if packed:
        visible = (radii > 0).all(dim=-1)
        camera_ids, gaussian_ids = torch.where(visible)
        offsets = (0, *visible.sum(dim=1).cumsum(0).tolist())
        radii, *projected = (tensor[camera_ids, gaussian_ids] for tensor in (radii, *projected))
    renders, alphas = composite(radii, projected, offsets, projection, backgrounds, render_mode, absgrad)
    meta = meta_of(radii, projected, projection, cameras)
    return renders, alphas, meta | {"camera_ids": camera_ids, "gaussian_ids": gaussian_ids}


def project(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
            Ks: Tensor, projection: ProjectionSettings) -> tuple[Tensor, ...]:
    """Radii [C, N, 2], then what ``composite`` takes: means2d, depths, conics, effective opacities and colours."""
    sh = None if projection.sh_degree is None else colors.contiguous()
    *projected, colours = Project.apply(
        means.contiguous(), quats.contiguous(), scales.contiguous(), opacities.contiguous(), sh,
        viewmats.contiguous(), Ks.contiguous(), projection)
    return *projected, colors.expand(len(viewmats), len(means), 3) if sh is None else colours


def composite(radii: Tensor, projected: Sequence[Tensor], offsets: tuple[int, ...], projection: ProjectionSettings,
              backgrounds: Tensor | None, render_mode: str, absgrad: bool) -> tuple[Tensor, Tensor]:
    """Images [C, H, W, channels of ``render_mode``] and alphas [C, H, W, 1].

    Args:
        radii: as ``project`` gives them, like ``projected``; dense, or packed one camera after the other.
        offsets: [C + 1] where each camera's Gaussians begin and end.
    """
    means2d, depths, conics, effective, colours = projected
    channels = 3 if render_mode == "RGB" else 4
    image = ImageSettings(projection.width, projection.height, channels, "ED" in render_mode, absgrad)
    renders, alphas = Composite.apply(means2d, conics, depths, effective, colours.contiguous(),
                                      None if backgrounds is None else backgrounds.contiguous(), radii, offsets, image)
    return renders if render_mode.startswith("RGB") else renders[..., 3:], alphas


def meta_of(radii: Tensor, projected: Sequence[Tensor], projection: ProjectionSettings, cameras: int) -> dict[str, Any]:
    """gsplat's ``meta`` of dense renders."""
    means2d, depths, conics, effective, _ = projected
    return {"camera_ids": None, "gaussian_ids": None, "radii": radii, "means2d": means2d, "depths": depths,
            "conics": conics, "opacities": effective, "width": projection.width, "height": projection.height,
            "n_cameras": cameras}
