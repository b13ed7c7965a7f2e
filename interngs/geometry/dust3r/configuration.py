# SPDX-License-Identifier: GPL-3.0-or-later
"""What fixes the shape of a DUSt3R network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HeadType = Literal["linear", "dpt"]


@dataclass(frozen=True)
class DptWidths:
    """Channel counts of the dense-prediction head; the defaults are the released ones.

    Attributes:
        layers: channels of the four pyramid levels, finest first.
        feature: channels of the fused pyramid.
        last: channels before the output convolution.
    """

    layers: tuple[int, int, int, int] = (96, 192, 384, 768)
    feature: int = 256
    last: int = 128


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of one DUSt3R network; the defaults are the released ViT-L encoder and base decoder.

    Attributes:
        image_size_px: (height, width) the network was trained at; its longer side is the size to
            feed it with.
        head: how tokens become pixels: one linear layer, or the dense-prediction transformer head.
        dpt: widths of the latter; ignored by the linear head.
    """

    image_size_px: tuple[int, int] = (512, 512)
    head: HeadType = "dpt"
    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    patch_px: int = 16
    dpt: DptWidths = DptWidths()

    @property
    def long_side_px(self) -> int:
        """Longer side of the images the network was trained with."""
        return max(self.image_size_px)
