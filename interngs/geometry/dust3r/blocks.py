# SPDX-License-Identifier: GPL-3.0-or-later
"""Transformer blocks with rotary position embedding in two dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

ROTARY_BASE = 100.0
LAYER_NORM_EPS = 1e-6
MLP_RATIO = 4

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, each [tokens, 2 (row, column), head_width / 4]."""


def rotary_table(rows: int, columns: int, head_width: int, device: torch.device) -> Rotation:
    """Rotation angles of a grid of tokens (row by row), for heads of ``head_width`` channels.

    The first half of a head turns with the token's row, the second with its column; within a half of
    width D the frequencies are ``base ** (-2 i / D)`` (Su et al., RoFormer, eq. 15, once per axis).
    """
    half = head_width // 2
    frequencies = ROTARY_BASE ** (-torch.arange(0, half, 2, device=device, dtype=torch.float32) / half)
    row = torch.arange(rows, device=device, dtype=torch.float32).repeat_interleave(columns)
    column = torch.arange(columns, device=device, dtype=torch.float32).repeat(rows)
    angles = torch.stack([row, column], dim=-1)[..., None] * frequencies
    return angles.cos(), angles.sin()


def rotate(tokens: Tensor, rotation: Rotation) -> Tensor:
    """Turn queries or keys [B, heads, N, head_width] by their positions; same dtype as the input."""
    cosines, sines = rotation
    halves = tokens.unflatten(-1, (2, 2, cosines.shape[-1]))
    first, second = halves.unbind(dim=-2)
    turned = torch.stack([first * cosines - second * sines, second * cosines + first * sines], dim=-2)
    return turned.flatten(-3).to(tokens.dtype)


def _split_heads(tokens: Tensor, heads: int) -> Tensor:
    """[B, N, C] -> [B, heads, N, C / heads]."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head self-attention; scale ``head_width ** -0.5``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x [B, N, C] -> [B, N, C]."""
        query, key, value = (_split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = functional.scaled_dot_product_attention(rotate(query, rotation), rotate(key, rotation), value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head attention of one view's tokens to the other view's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor, rotation: Rotation, other_rotation: Rotation) -> Tensor:
        """x [B, N, C], other [B, M, C] -> [B, N, C]."""
        query = rotate(_split_heads(self.projq(x), self.heads), rotation)
        key = rotate(_split_heads(self.projk(other), self.heads), other_rotation)
        value = _split_heads(self.projv(other), self.heads)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, C] -> [B, N, C]."""
        return self.fc2(functional.gelu(self.fc1(x)))


class EncoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x [B, N, C] -> [B, N, C]."""
        x = x + self.attn(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Self-attention, attention to the other view, then the two linear layers; all pre-norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.cross_attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.norm3 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width)
        self.norm_y = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor, other: Tensor, rotation: Rotation, other_rotation: Rotation) -> Tensor:
        """x [B, N, C], other [B, M, C] -> [B, N, C]."""
        x = x + self.attn(self.norm1(x), rotation)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(other), rotation, other_rotation)
        return x + self.mlp(self.norm3(x))
