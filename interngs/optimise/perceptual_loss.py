# SPDX-License-Identifier: GPL-3.0-or-later
"""A perceptual distance as a loss, on one square crop a step, so that it stays cheap."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from ..evaluate.lpips import SMALLEST_SIDE_PX, Lpips

CROP_PX = 160
"""Side of the crop; the network's receptive field is larger than half of it, and its cost grows with the square."""


def check_size(width_px: int, height_px: int) -> None:
    """Raise ``InputError`` for pictures that the network cannot look at."""
    if min(width_px, height_px) < SMALLEST_SIDE_PX:
        raise InputError("pictures-too-small", f"{Lpips.name} needs pictures of at least {SMALLEST_SIDE_PX} px a side, "
                         f"and these are {width_px}x{height_px} px.",
                         "Use larger photographs (--max-side-px), or leave --lpips out.")


def perceptual_loss(distance: Lpips, rendered: Tensor, target: Tensor, say: Tensor, seed: int) -> Tensor:
    """Distance of a render to a target where the target has a say, on a crop whose place ``seed`` decides.

    Where ``say`` is 0 the target stands in for the render, so that pixel has neither value nor gradient.

    Args:
        distance: with its weights on the device of ``rendered``.
        rendered: [H, W, 3] in 0..1; gradients flow here only.
        target: [H, W, 3] in 0..1.
        say: [H, W] in 0..1.

    Returns:
        A scalar >= 0; its mean over all crops is about the distance of the whole pictures.
    """
    height, width = say.shape
    generator = torch.Generator().manual_seed(seed & 0x7FFFFFFF)
    spans = []
    for side in (height, width):
        length = min(CROP_PX, side)
        start = int(torch.randint(side - length + 1, (1,), generator=generator))
        spans.append(slice(start, start + length))
    rendered, target, say = (values[spans[0], spans[1]] for values in (rendered, target.detach(), say))
    if float(say.max()) <= 0:
        return rendered.sum() * 0.0
    mixed = target + say[..., None] * (rendered - target)
    a, b = (2.0 * image.permute(2, 0, 1)[None] - 1.0 for image in (mixed, target))
    return distance.distance(a, b)[0]
