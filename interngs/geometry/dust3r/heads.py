# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads that turn decoder tokens into pointmaps with confidence."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .configuration import DptWidths, NetworkConfig

CHANNELS = 4
"""x, y, z and raw confidence."""


def points_and_confidence(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Activate head output [B, 4, H, W] into points [B, H, W, 3] and confidence [B, H, W] (> 1).

    The direction is kept and the distance d becomes ``exp(d) - 1``; confidence is ``1 + exp(c)``
    (Wang et al., DUSt3R, CVPR 2024, section 3.2).
    """
    xyz, log_confidence = raw.permute(0, 2, 3, 1).split([3, 1], dim=-1)
    distance = xyz.norm(dim=-1, keepdim=True)
    points = xyz / distance.clamp(min=1e-8) * torch.expm1(distance)
    return points, 1.0 + log_confidence.squeeze(-1).exp()


class LinearHead(nn.Module):
    """One linear layer per token; its output is unfolded into the token's pixels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.patch_px = config.patch_px
        self.proj = nn.Linear(config.decoder_width, CHANNELS * config.patch_px**2)

    def forward(self, tokens: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """The decoder's list of tokens [B, N, C] -> raw output [B, 4, H, W]."""
        per_patch = self.proj(tokens[-1]).transpose(1, 2).unflatten(-1, grid)
        return functional.pixel_shuffle(per_patch, self.patch_px)


class ResidualUnit(nn.Module):
    """Two pre-activated 3x3 convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, H, W]."""
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x))))


class FusionBlock(nn.Module):
    """Joins a finer pyramid level into the coarser result and doubles its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1 = ResidualUnit(width)
        self.resConfUnit2 = ResidualUnit(width)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """x [B, C, H, W] (and skip of the same shape) -> [B, C, 2 H, 2 W]."""
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        # A 1x1 convolution and a bilinear resize commute (the weights of the resize sum to one), and
        # the convolution is four times cheaper before it.
        return _double(self.out_conv(self.resConfUnit2(x)))


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Scratch(nn.Module):
    """The pyramid's projections and fusion blocks, under the names of the released files."""

    def __init__(self, widths: DptWidths) -> None:
        super().__init__()
        for level, layer_width in enumerate(widths.layers, start=1):
            projection = nn.Conv2d(layer_width, widths.feature, 3, padding=1, bias=False)
            self.add_module(f"layer{level}_rn", projection)
        # The released files name these four convolutions twice; both names lead to the same module.
        self.layer_rn = nn.ModuleList(self.get_submodule(f"layer{level}_rn") for level in range(1, 5))
        for level in range(1, 5):
            self.add_module(f"refinenet{level}", FusionBlock(widths.feature))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Four levels, finest first -> [B, feature, H, W] at twice the finest level's size."""
        projected = [project(level) for project, level in zip(self.layer_rn, levels, strict=True)]
        fused = self.get_submodule("refinenet4")(projected[3])
        # A coarse level of an odd grid was rounded up, so its doubling is one row or column too long.
        fused = fused[..., : projected[2].shape[-2], : projected[2].shape[-1]]
        for level in (3, 2, 1):
            fused = self.get_submodule(f"refinenet{level}")(fused, projected[level - 1])
        return cast(Tensor, fused)


class Dpt(nn.Module):
    """Dense-prediction transformer head (Ranftl et al., ICCV 2021)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths, depth = config.dpt, config.decoder_depth
        self.hooks = (0, depth // 2, 3 * depth // 4, depth)
        inputs = (config.encoder_width, *[config.decoder_width] * 3)
        first, second, third, fourth = (
            nn.Conv2d(width_in, width, 1) for width_in, width in zip(inputs, widths.layers, strict=True)
        )
        self.act_postprocess = nn.ModuleList([
            nn.Sequential(first, nn.ConvTranspose2d(widths.layers[0], widths.layers[0], 4, stride=4)),
            nn.Sequential(second, nn.ConvTranspose2d(widths.layers[1], widths.layers[1], 2, stride=2)),
            nn.Sequential(third),
            nn.Sequential(fourth, nn.Conv2d(widths.layers[3], widths.layers[3], 3, stride=2, padding=1)),
        ])
        self.scratch = Scratch(widths)
        self.head = nn.Sequential(
            nn.Conv2d(widths.feature, widths.feature // 2, 3, padding=1),
            nn.UpsamplingBilinear2d(scale_factor=2),
            nn.Conv2d(widths.feature // 2, widths.last, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(widths.last, CHANNELS, 1),
        )

    def forward(self, tokens: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """The decoder's list of tokens [B, N, C] -> raw output [B, 4, H, W]."""
        levels = [
            process(tokens[hook].transpose(1, 2).unflatten(-1, grid))
            for process, hook in zip(self.act_postprocess, self.hooks, strict=True)
        ]
        return cast(Tensor, self.head(self.scratch(levels)))


class DptHead(nn.Module):
    """The dense-prediction head under the released files' name ``dpt``."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dpt = Dpt(config)

    def forward(self, tokens: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """The decoder's list of tokens [B, N, C] -> raw output [B, 4, H, W]."""
        return cast(Tensor, self.dpt(tokens, grid))


def make_head(config: NetworkConfig) -> nn.Module:
    """The head that ``config`` names."""
    return DptHead(config) if config.head == "dpt" else LinearHead(config)
