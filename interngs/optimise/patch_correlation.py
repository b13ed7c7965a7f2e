# SPDX-License-Identifier: GPL-3.0-or-later
"""Correlation of two maps patch by patch: local structure, blind to scale and shift of every patch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FLAT = 0.02
"""A patch that varies less than this share of the whole map's spread says little: there is only noise to compare."""


def patch_pearson_loss(predicted: Tensor, target: Tensor, weight: Tensor, patch_px: int,
                       offset: tuple[int, int] = (0, 0)) -> Tensor:
    """Mean over square patches of 1 - weighted Pearson correlation (LM-Gaussian's local depth term).

    Patches tile the map, shifted by ``offset`` so that over many steps no border stays where it is.  A
    patch counts by its weight; one whose target is flat fades out, and flat predictions are kept from
    answering with huge gradients.

    Args:
        predicted, target: [H, W] float maps; gradients flow to ``predicted``.
        weight: [H, W] >= 0; all zero gives 0 without gradient.
        patch_px: side of a patch.
        offset: rows and columns that the tiling starts before the map, each 0..patch_px - 1.
    """
    if float(weight.sum()) <= 0:
        return predicted.sum() * 0.0
    p, t, w = (_patches(values, patch_px, offset) for values in (predicted, target, weight))
    total = w.sum(dim=1, keepdim=True)
    share = w / total.clamp_min(1e-12)
    a = p - (share * p).sum(dim=1, keepdim=True)
    b = t - (share * t).sum(dim=1, keepdim=True)
    var_a, var_b, covariance = (share * a * a).sum(dim=1), (share * b * b).sum(dim=1), (share * a * b).sum(dim=1)
    floor_a, floor_b = FLAT**2 * _variance(predicted.detach(), weight), FLAT**2 * _variance(target, weight)
    correlation = covariance / torch.sqrt((var_a + floor_a) * (var_b + floor_b)).clamp_min(1e-12)
    counts = total[:, 0] * var_b / (var_b + floor_b).clamp_min(1e-12)
    return (counts * (1.0 - correlation)).sum() / counts.sum().clamp_min(1e-12)


def _patches(values: Tensor, patch_px: int, offset: tuple[int, int]) -> Tensor:
    """[patches, patch_px²], padded with zeros."""
    height, width = values.shape
    top, left = offset
    bottom, right = -(height + top) % patch_px, -(width + left) % patch_px
    padded = functional.pad(values, (left, right, top, bottom))
    rows, columns = padded.shape[0] // patch_px, padded.shape[1] // patch_px
    return padded.reshape(rows, patch_px, columns, patch_px).transpose(1, 2).reshape(rows * columns, patch_px**2)


def _variance(values: Tensor, weight: Tensor) -> Tensor:
    share = weight / weight.sum()
    return (share * (values - (share * values).sum()) ** 2).sum()
