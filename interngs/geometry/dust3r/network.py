# SPDX-License-Identifier: GPL-3.0-or-later
"""The DUSt3R network: two images in, two pointmaps in the first image's camera frame out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from .blocks import LAYER_NORM_EPS, DecoderBlock, EncoderBlock, Rotation, rotary_table
from .configuration import NetworkConfig
from .heads import make_head, points_and_confidence


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """Encoder tokens [B, rows * columns, C] of images of one size, with their patch grid."""

    tokens: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class PairPrediction:
    """Pointmaps of an image pair, both in the first image's camera frame (one unknown scale).

    Attributes:
        points_1, points_2: [B, H, W, 3] float32; pixels of image 1 and of image 2.
        confidence_1, confidence_2: [B, H, W] float32, greater than 1.
    """

    points_1: Tensor
    confidence_1: Tensor
    points_2: Tensor
    confidence_2: Tensor


class PatchEmbedding(nn.Module):
    """Non-overlapping square patches to tokens, row by row."""

    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_px, stride=patch_px)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, H W / patch², width]."""
        return cast(Tensor, self.proj(images)).flatten(2).transpose(1, 2)


class Dust3rNetwork(nn.Module):
    """The network of Wang et al., DUSt3R (CVPR 2024), figure 2, under the released tensor names.

    Args:
        config: sizes.
        compute_dtype: ``torch.bfloat16`` or ``torch.float16`` to run the transformer in that type (on
            CUDA); weights and heads stay float32.  float32 runs everything in float32.
    """

    def __init__(self, config: NetworkConfig, compute_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype
        self.patch_embed = PatchEmbedding(config.patch_px, config.encoder_width)
        # Used in pre-training only; kept so that the tensor names equal the released ones.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_width), requires_grad=False)
        self.enc_blocks = nn.ModuleList(
            EncoderBlock(config.encoder_width, config.encoder_heads) for _ in range(config.encoder_depth))
        self.enc_norm = nn.LayerNorm(config.encoder_width, eps=LAYER_NORM_EPS)
        self.decoder_embed = nn.Linear(config.encoder_width, config.decoder_width)
        self.dec_blocks = self._decoder_stack()
        self.dec_blocks2 = self._decoder_stack()
        self.dec_norm = nn.LayerNorm(config.decoder_width, eps=LAYER_NORM_EPS)
        self.downstream_head1 = make_head(config)
        self.downstream_head2 = make_head(config)
        self._rotations: dict[tuple[int, int, int, torch.device], Rotation] = {}

    def _decoder_stack(self) -> nn.ModuleList:
        width, heads = self.config.decoder_width, self.config.decoder_heads
        return nn.ModuleList(DecoderBlock(width, heads) for _ in range(self.config.decoder_depth))

    def _rotation(self, grid: tuple[int, int], head_width: int, device: torch.device) -> Rotation:
        key = (*grid, head_width, device)
        if key not in self._rotations:
            self._rotations[key] = rotary_table(*grid, head_width, device)
        return self._rotations[key]

    def _transformer_precision(self, device: torch.device) -> torch.autocast | nullcontext[None]:
        if self.compute_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.compute_dtype)

    def encode(self, images: Tensor) -> EncodedImage:
        """Encode images [B, 3, H, W] normalised to -1..1; H and W are multiples of the patch size."""
        height, width = images.shape[-2:]
        patch = self.config.patch_px
        if height % patch or width % patch:
            raise ValueError(f"image size {width}x{height} px is no multiple of the patch size {patch}")
        grid = (height // patch, width // patch)
        rotation = self._rotation(grid, self.config.encoder_width // self.config.encoder_heads, images.device)
        with self._transformer_precision(images.device):
            x = self.patch_embed(images)
            for block in self.enc_blocks:
                x = block(x, rotation)
            return EncodedImage(self.enc_norm(x), grid)

    def decode_tokens(self, first: EncodedImage, second: EncodedImage) -> tuple[list[Tensor], list[Tensor]]:
        """Per view: the encoder's tokens, then those after each decoder block, the last ones normalised."""
        device = first.tokens.device
        head_width = self.config.decoder_width // self.config.decoder_heads
        rotation_1 = self._rotation(first.grid, head_width, device)
        rotation_2 = self._rotation(second.grid, head_width, device)
        tokens_1, tokens_2 = [first.tokens], [second.tokens]
        with self._transformer_precision(device):
            x1, x2 = self.decoder_embed(first.tokens), self.decoder_embed(second.tokens)
            for block_1, block_2 in zip(self.dec_blocks, self.dec_blocks2, strict=True):
                # Both read the other view's tokens from before this step.
                x1, x2 = block_1(x1, x2, rotation_1, rotation_2), block_2(x2, x1, rotation_2, rotation_1)
                tokens_1.append(x1)
                tokens_2.append(x2)
            tokens_1[-1], tokens_2[-1] = self.dec_norm(x1), self.dec_norm(x2)
        return tokens_1, tokens_2

    def decode(self, first: EncodedImage, second: EncodedImage) -> PairPrediction:
        """Pointmaps of encoded pairs; batch entry b of ``first`` goes with b of ``second``."""
        tokens_1, tokens_2 = self.decode_tokens(first, second)
        with torch.autocast(first.tokens.device.type, enabled=False):
            raw_1 = self.downstream_head1([tokens.float() for tokens in tokens_1], first.grid)
            raw_2 = self.downstream_head2([tokens.float() for tokens in tokens_2], second.grid)
            return PairPrediction(*points_and_confidence(raw_1), *points_and_confidence(raw_2))

    def forward(self, images_1: Tensor, images_2: Tensor) -> PairPrediction:
        """Images [B, 3, H, W] in -1..1, one size per argument -> pointmaps in image 1's frame."""
        return self.decode(self.encode(images_1), self.encode(images_2))
