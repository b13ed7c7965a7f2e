# SPDX-License-Identifier: GPL-3.0-or-later
"""Geometric and regularising losses, each a pure function of images (the photometric one is in ``render``)."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-6


def weighted_pearson_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - confidence-weighted Pearson correlation of two maps [H, W] (Pi-GS, arXiv 2602.03327).

    Blind to scale and shift.  ``weight`` [H, W] >= 0; all zero gives 0 without gradient.
    """
    total = weight.sum()
    if float(total) <= 0:
        return predicted.sum() * 0.0
    w = weight / total
    a = predicted - (w * predicted).sum()
    b = target - (w * target).sum()
    covariance = (w * a * b).sum()
    spread = torch.sqrt((w * a * a).sum() * (w * b * b).sum() + EPS**2)
    return 1.0 - covariance / spread


def relative_depth_loss(inverse_depth: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of |1/z - 1/z*| z*, the relative depth error, for maps [H, W] in the same units.

    Errors saturate smoothly past a tenth, so that a wrong target pixel pulls weakly.
    """
    error = (inverse_depth - target).abs() / target.clamp_min(EPS)
    return (weight * (error / (1.0 + 10.0 * error))).sum() / weight.sum().clamp_min(EPS)


def edge_aware_smoothness(inverse_depth: Tensor, image: Tensor) -> Tensor:
    """Mean |second difference| of inverse depth [H, W], relative to its mean, faded by exp(-10 |image gradient|).

    The second difference leaves slanted planes free.  ``image`` [H, W, 3] in 0..1.
    """
    d = inverse_depth / inverse_depth.detach().mean().clamp_min(EPS)
    bend_x = (d[:, 2:] - 2 * d[:, 1:-1] + d[:, :-2]).abs()
    bend_y = (d[2:] - 2 * d[1:-1] + d[:-2]).abs()
    edge_x = (image[:, 2:] - image[:, :-2]).abs().mean(dim=-1)
    edge_y = (image[2:] - image[:-2]).abs().mean(dim=-1)
    return (bend_x * torch.exp(-10 * edge_x)).mean() + (bend_y * torch.exp(-10 * edge_y)).mean()


def weighted_l1(rendered: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over all pixels of ``weight`` [H, W] times |rendered - target| ([H, W, 3], mean over channels)."""
    return (weight[..., None] * (rendered - target).abs()).mean()


def alpha_loss(alpha: Tensor, target: Tensor | None, mask: Tensor | None) -> Tensor:
    """Mean |alpha - target| of a rendered alpha [H, W] in 0..1.

    ``target`` [H, W] is the photograph's own alpha channel, which counts everywhere; without one the photograph is
    opaque wherever ``mask`` [H, W] (None: everywhere) lets it count.
    """
    if target is not None:
        return (alpha - target).abs().mean()
    missing = 1.0 - alpha
    return missing.mean() if mask is None else (missing * mask).mean()
