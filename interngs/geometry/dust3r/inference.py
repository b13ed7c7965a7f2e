# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the network over pairs of views: every photo is encoded once, every pair decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..prior import ReportProgress
from .network import Dust3rNetwork, EncodedImage
from .pairs import Pair
from .pointmaps import PairPoints

CUDA_BATCH = 8


def predict_pairs(
    network: Dust3rNetwork,
    images: Sequence[NDArray[np.float32]],
    pairs: Sequence[Pair],
    report_progress: ReportProgress = lambda done, total: None,
) -> list[PairPoints]:
    """Pointmaps of ``pairs`` (indices into ``images``), in their order.

    Args:
        images: per view [3, H, W] float32 in -1..1, as ``preprocess.normalised`` makes them; views may
            differ in size.
    """
    device = next(network.parameters()).device
    total = len(images) + len(pairs)
    results: dict[Pair, PairPoints] = {}
    with torch.inference_mode():
        encoded = []
        for view, image in enumerate(images):
            encoded.append(network.encode(torch.from_numpy(image)[None].to(device)))
            report_progress(view + 1, total)
        for batch in _batches(pairs, encoded, CUDA_BATCH if device.type == "cuda" else 1):
            prediction = network.decode(_stack([encoded[i] for i, _ in batch]), _stack([encoded[j] for _, j in batch]))
            outputs = [_to_numpy(part) for part in (
                prediction.points_1, prediction.confidence_1, prediction.points_2, prediction.confidence_2)]
            for entry, pair in enumerate(batch):
                results[pair] = PairPoints(*pair, *(output[entry] for output in outputs))
            report_progress(len(images) + len(results), total)
    return [results[pair] for pair in pairs]


def _batches(pairs: Sequence[Pair], encoded: Sequence[EncodedImage], size: int) -> Iterator[list[Pair]]:
    """Pairs grouped by the sizes of their images, at most ``size`` in a group."""
    groups: dict[tuple[tuple[int, int], tuple[int, int]], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((encoded[pair[0]].grid, encoded[pair[1]].grid), []).append(pair)
    for group in groups.values():
        yield from (group[start:start + size] for start in range(0, len(group), size))


def _stack(images: list[EncodedImage]) -> EncodedImage:
    return EncodedImage(torch.cat([image.tokens for image in images]), images[0].grid)


def _to_numpy(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()
