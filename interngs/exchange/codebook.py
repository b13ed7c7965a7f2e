# SPDX-License-Identifier: GPL-3.0-or-later
"""Codebooks: 256 values that stand for many numbers, and a palette that stands for many vectors (Lloyd's k-means)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE = 1 << 16
"""Vectors that the palette is learnt from."""
VALUE_ROUNDS, PALETTE_ROUNDS = 12, 6
ROWS_AT_ONCE = 4096


def codebook_256(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[256] sorted values near all of ``values``; the least and the greatest are among them."""
    flat = np.sort(values, axis=None)
    if not len(flat):
        return np.zeros(256, np.float32)
    if len(flat) > 1 << 18:
        flat = flat[np.linspace(0, len(flat) - 1, 1 << 18).astype(np.int64)]
    low, high = float(flat[0]), float(flat[-1])
    # Half by count and half by value: dense parts are fine-grained and rare ones not lost.
    even = np.linspace(low, high, 256)
    book = 0.5 * (np.quantile(flat, np.linspace(0, 1, 256)) + even)
    sums = np.concatenate([[0.0], np.cumsum(flat, dtype=np.float64)])
    for _ in range(VALUE_ROUNDS):
        borders = np.searchsorted(flat, (book[1:] + book[:-1]) / 2)
        edges = np.concatenate([[0], borders, [len(flat)]])
        counts = np.diff(edges)
        book = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), book)
    book[0], book[-1] = low, high
    return np.sort(book).astype(np.float32)


def nearest_entry(book: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Index of the codebook value nearest to each value, in the shape of ``values``."""
    return np.searchsorted((book[1:] + book[:-1]) / 2, values).astype(np.uint8)


def cluster(vectors: NDArray[np.float32], most: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A palette [P, D] of at most ``most`` vectors, and the entry [N] that stands for each vector.

    Deterministic; learnt from a sample of ``SAMPLE`` vectors.
    """
    random = np.random.default_rng(0)
    size = min(most, len(vectors))
    sample = vectors if len(vectors) <= SAMPLE else vectors[random.choice(len(vectors), SAMPLE, replace=False)]
    palette = sample[random.choice(len(sample), size, replace=False)].copy()
    for _ in range(PALETTE_ROUNDS if size < len(vectors) else 0):
        labels = _nearest(palette, sample)
        counts = np.bincount(labels, minlength=size)
        sums = np.zeros_like(palette, np.float64)
        np.add.at(sums, labels, sample)
        used = counts > 0
        palette[used] = (sums[used] / counts[used, None]).astype(np.float32)
    return palette, _nearest(palette, vectors)


def _nearest(palette: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    half_squares = 0.5 * np.einsum("pd,pd->p", palette, palette)
    labels = np.empty(len(vectors), np.int32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = vectors[start:start + ROWS_AT_ONCE]
        labels[start:start + ROWS_AT_ONCE] = (part @ palette.T - half_squares).argmax(axis=1)
    return labels
