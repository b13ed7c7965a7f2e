# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU renderer: projection, optional packing and compositing put together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interngs.render.cpu.autograd import Composite, ImageSettings, Project, ProjectionSettings


def render(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
           Ks: Tensor, projection: ProjectionSettings, *, backgrounds: Tensor | None, render_mode: str, absgrad: bool,
           packed: bool) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """``rasterize`` for CPU tensors whose shapes have been checked."""
    cameras, count = len(viewmats), len(means)
    sh = None if projection.sh_degree is None else colors.contiguous()
    radii, means2d, depths, conics, effective, colours = Project.apply(
        means.contiguous(), quats.contiguous(), scales.contiguous(), opacities.contiguous(), sh,
        viewmats.contiguous(), Ks.contiguous(), projection)
    if sh is None:
        colours = colors.expand(cameras, count, 3)
    offsets = tuple(count * camera for camera in range(cameras + 1))
    camera_ids = gaussian_ids = None
    if packed:
        visible = (radii > 0).all(dim=-1)
        camera_ids, gaussian_ids = torch.where(visible)
        offsets = (0, *visible.sum(dim=1).cumsum(0).tolist())
        radii, means2d, depths, conics, effective, colours = (
            tensor[camera_ids, gaussian_ids] for tensor in (radii, means2d, depths, conics, effective, colours))
    channels = 3 if render_mode == "RGB" else 4
    image = ImageSettings(projection.width, projection.height, channels, "ED" in render_mode, absgrad)
    renders, alphas = Composite.apply(means2d, conics, depths, effective, colours.contiguous(),
                                      None if backgrounds is None else backgrounds.contiguous(), radii, offsets, image)
    if not render_mode.startswith("RGB"):
        renders = renders[..., 3:]
    return renders, alphas, {
        "camera_ids": camera_ids, "gaussian_ids": gaussian_ids, "radii": radii, "means2d": means2d, "depths": depths,
        "conics": conics, "opacities": effective, "width": projection.width, "height": projection.height,
        "n_cameras": cameras,
    }
