# SPDX-License-Identifier: GPL-3.0-or-later
"""Photometric consistency between photographs through rendered depth (ICO-GS, multi-view constraint)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GRADIENT_SHARE = 2.0
"""Weight of the image gradient beside the colour: structure counts more than brightness."""


def matching_features(image: Tensor) -> Tensor:
    """[1, 9, H, W] colour less its local mean, and weighted gradients along x and y, of an image [H, W, 3]."""
    colour = image.permute(2, 0, 1)[None]
    padded = F.pad(colour, (1, 1, 1, 1), mode="replicate")
    gradient_x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    gradient_y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    mean = F.avg_pool2d(F.pad(colour, (5, 5, 5, 5), mode="replicate"), 11, stride=1)
    return torch.cat([colour - mean, GRADIENT_SHARE * gradient_x, GRADIENT_SHARE * gradient_y], dim=1)


def consistency_loss(depth: Tensor, features: Tensor, K: Tensor, camera_from_world: Tensor,
                     sources: list[tuple[Tensor, Tensor, Tensor]], weight: Tensor) -> Tensor:
    """Mean difference between a photograph's features and those found in other photographs through its rendered depth.

    Each pixel counts its best ceil(S / 2) of S sources, so that a surface hidden in some of them does no harm.

    Args:
        depth: [H, W] rendered z-depth, differentiable.
        features: [1, C, H, W] of the photograph (``matching_features``).
        K, camera_from_world: its camera, [3, 3] and [4, 4].
        sources: (features, K, camera_from_world) of each other photograph.
        weight: [H, W] >= 0.
    """
    height, width = depth.shape
    points = _unproject(depth, K, camera_from_world)
    errors = []
    for source_features, source_K, source_pose in sources:
        pixels, z = _project(points, source_K, source_pose)
        source_height, source_width = source_features.shape[-2:]
        size = torch.tensor([source_width, source_height], dtype=pixels.dtype, device=pixels.device)
        grid = 2 * pixels / size - 1
        inside = ((grid.abs() < 1).all(dim=-1)) & (z > 0)
        sampled = F.grid_sample(source_features, grid.reshape(1, height, width, 2), align_corners=False,
                                padding_mode="border")
        error = (sampled - features).abs().mean(dim=1)[0]
        errors.append(torch.where(inside.reshape(height, width), error, torch.full_like(error, torch.inf)))
    best = torch.stack(errors).sort(dim=0).values[: (len(sources) + 1) // 2]
    seen = torch.isfinite(best)
    mean = torch.where(seen, best, torch.zeros_like(best)).sum(dim=0) / seen.sum(dim=0).clamp_min(1)
    return (mean * weight).sum() / weight.sum().clamp_min(1.0)


def _unproject(depth: Tensor, K: Tensor, camera_from_world: Tensor) -> Tensor:
    """[H*W, 3] world points of the pixel centres at ``depth``."""
    height, width = depth.shape
    rows, columns = (torch.arange(size, device=depth.device) + 0.5 for size in (height, width))
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], dim=-1).reshape(-1, 3) @ torch.linalg.inv(K).T
    in_camera = rays * depth.reshape(-1, 1)
    return (in_camera - camera_from_world[:3, 3]) @ camera_from_world[:3, :3]


def _project(points: Tensor, K: Tensor, camera_from_world: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels [N, 2] and z-depth [N] of world points."""
    in_camera = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    z = in_camera[:, 2]
    homogeneous = in_camera @ K.T
    return homogeneous[:, :2] / z.clamp_min(1e-6)[:, None], z
