# SPDX-License-Identifier: GPL-3.0-or-later
"""Previews: quantised Gaussians in blocks, of which any prefix is a fair subset.

Twenty bytes a Gaussian; ``docs/protocol.md`` section 8 has the table of values and largest errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scene.gaussians import SH_C0, Gaussians
from .codec import Buffer, pack, unpack
from .errors import WireError
from .limits import PREVIEW_BLOCK

MAGIC = b"IGSPRE01"
BYTES_PER_GAUSSIAN = 20
HEADER_BYTES = 512
"""The header with its padding; blocks start here."""
LOG_SCALE_RANGE = (-20.0, 8.0)
_MEAN_STEPS = (1 << 24) - 1
_QUAT_STEPS = 1023
_SQRT_HALF = float(np.sqrt(0.5))


@dataclass(frozen=True)
class PreviewHeader:
    """Facts of a preview: ``skipped`` Gaussians were not finite."""

    gaussians: int
    step: int
    skipped: int
    mean_low: tuple[float, ...]
    mean_high: tuple[float, ...]
    log_scale_low: float
    log_scale_high: float

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole preview."""
        return HEADER_BYTES + BYTES_PER_GAUSSIAN * self.gaussians

    def prefix(self, budget: int | None) -> tuple[int, int]:
        """(Gaussians, bytes) of the shortest run of whole blocks that holds ``budget`` Gaussians; None for all."""
        if budget is None or budget >= self.gaussians:
            return self.gaussians, self.size_bytes
        count = min(self.gaussians, -(-max(budget, 1) // PREVIEW_BLOCK) * PREVIEW_BLOCK)
        return count, HEADER_BYTES + BYTES_PER_GAUSSIAN * count


def preview_order(gaussians: Gaussians, seed: int = 0) -> NDArray[np.int64]:
    """Order [N] in which any prefix is a random subset weighted by opacity and cross-section.

    Weighted sampling without replacement by sorting on exponential clocks (Efraimidis and Spirakis 2006,
    "Weighted random sampling with a reservoir", algorithm A-Res).  The same ``seed`` gives Gaussian i the same clock,
    so that subsets of successive previews overlap.
    """
    mean_log_scale = np.clip(gaussians.log_scales, *LOG_SCALE_RANGE).mean(axis=1)
    # In logarithms: log(E / w) = log E - log w, with w = opacity * scale^2.
    log_opacity = -np.logaddexp(0.0, -gaussians.opacity_logits)
    clocks = np.log(np.random.default_rng(seed).standard_exponential(len(gaussians), np.float32))
    return np.argsort(clocks - log_opacity - 2.0 * mean_log_scale, kind="stable")


def preview_parts(gaussians: Gaussians, step: int) -> Iterator[Buffer]:
    """The bytes of a preview in pieces, to be written one after the other."""
    finite = (np.isfinite(gaussians.means).all(axis=1) & np.isfinite(gaussians.quats).all(axis=1)
              & np.isfinite(gaussians.log_scales).all(axis=1) & np.isfinite(gaussians.opacity_logits)
              & np.isfinite(gaussians.sh[:, 0]).all(axis=1))
    kept = gaussians if finite.all() else gaussians.select(finite)
    header = _header_of(kept, step, len(gaussians) - len(kept))
    packed = pack({"gaussians": header.gaussians, "step": step, "skipped": header.skipped,
                   "mean_low": list(header.mean_low), "mean_high": list(header.mean_high),
                   "log_scale_low": header.log_scale_low, "log_scale_high": header.log_scale_high})
    start = MAGIC + len(packed).to_bytes(4, "little") + packed
    yield start + bytes(HEADER_BYTES - len(start))
    order = preview_order(kept)
    for begin in range(0, len(kept), PREVIEW_BLOCK):
        yield _pack_block(kept.select(order[begin:begin + PREVIEW_BLOCK]), header)


def _header_of(gaussians: Gaussians, step: int, skipped: int) -> PreviewHeader:
    if not len(gaussians):
        return PreviewHeader(0, step, skipped, (0.0,) * 3, (0.0,) * 3, 0.0, 0.0)
    scales = np.clip(gaussians.log_scales, *LOG_SCALE_RANGE)
    return PreviewHeader(len(gaussians), step, skipped,
                         tuple(gaussians.means.min(axis=0).tolist()), tuple(gaussians.means.max(axis=0).tolist()),
                         float(scales.min()), float(scales.max()))


def read_preview_header(data: Buffer) -> PreviewHeader:
    """The header of a preview from its first ``HEADER_BYTES`` bytes.

    Raises:
        WireError: the bytes are no preview.
    """
    view = memoryview(data)
    if len(view) < HEADER_BYTES or bytes(view[:8]) != MAGIC:
        raise WireError("The bytes are no preview.")
    length = int.from_bytes(view[8:12], "little")
    if length > HEADER_BYTES - 12:
        raise WireError("The preview's header is malformed.")
    values = unpack(bytes(view[12:12 + length]))
    try:
        header = PreviewHeader(_count(values["gaussians"]), _count(values["step"]), _count(values["skipped"]),
                               _triple(values["mean_low"]), _triple(values["mean_high"]),
                               float(values["log_scale_low"]), float(values["log_scale_high"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError("The preview's header is malformed.") from error
    if not np.isfinite([*header.mean_low, *header.mean_high, header.log_scale_low, header.log_scale_high]).all():
        raise WireError("The preview's header is not finite.")
    return header


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError("no count")
    return value


def _triple(value: Any) -> tuple[float, ...]:
    if len(value) != 3:
        raise ValueError("no triple")
    return tuple(float(item) for item in value)


def read_preview(data: Buffer) -> Gaussians:
    """The Gaussians of a preview or of a prefix of it that ends with a block; SH degree 0.

    Raises:
        WireError: the bytes are no preview, or end inside a block.
    """
    header = read_preview_header(data)
    body = memoryview(data)[HEADER_BYTES:]
    count, rest = divmod(len(body), BYTES_PER_GAUSSIAN)
    if rest or count > header.gaussians or (count < header.gaussians and count % PREVIEW_BLOCK):
        raise WireError("The preview is cut short.")
    means = np.empty((count, 3), np.float32)
    quats = np.empty((count, 4), np.float32)
    log_scales = np.empty((count, 3), np.float32)
    logits = np.empty(count, np.float32)
    sh = np.empty((count, 1, 3), np.float32)
    for begin in range(0, count, PREVIEW_BLOCK):
        n = min(PREVIEW_BLOCK, count - begin)
        block = np.frombuffer(body[begin * BYTES_PER_GAUSSIAN:(begin + n) * BYTES_PER_GAUSSIAN], np.uint8)
        at = slice(begin, begin + n)
        _unpack_block(block, n, header, means[at], quats[at], log_scales[at], logits[at], sh[at, 0])
    return Gaussians(means, quats, log_scales, logits, sh)


def _pack_block(block: Gaussians, header: PreviewHeader) -> bytes:
    """Planes one after the other: quaternions u4, means' low 16 and high 8 bits, scales, colours, opacities u1."""
    low, high = np.array(header.mean_low), np.array(header.mean_high)
    extent = np.where(high > low, high - low, 1.0)
    fixed = np.rint((block.means - low) / extent * _MEAN_STEPS).clip(0, _MEAN_STEPS).astype("<u4")
    scale_extent = header.log_scale_high - header.log_scale_low or 1.0
    log_scales = np.clip(block.log_scales, *LOG_SCALE_RANGE)
    planes = (
        _pack_quats(block.quats),
        (fixed & 0xffff).astype("<u2"),
        (fixed >> 16).astype(np.uint8),
        _to_byte((log_scales - header.log_scale_low) / scale_extent),
        _to_byte(block.base_colours),
        _to_byte(block.opacities),
    )
    return b"".join(plane.tobytes() for plane in planes)


def _unpack_block(block: NDArray[np.uint8], n: int, header: PreviewHeader, means: NDArray[np.float32],
                  quats: NDArray[np.float32], log_scales: NDArray[np.float32], logits: NDArray[np.float32],
                  sh0: NDArray[np.float32]) -> None:
    packed_quats, mean_low, mean_high, scales, colours, opacities = np.split(
        block, [4 * n, 10 * n, 13 * n, 16 * n, 19 * n])
    low, high = np.array(header.mean_low), np.array(header.mean_high)
    fixed = mean_high.astype(np.uint32) << 16
    fixed |= mean_low.view("<u2")
    means[:] = low + fixed.reshape(n, 3) * ((high - low) / _MEAN_STEPS)
    _unpack_quats(packed_quats.view("<u4"), quats)
    step = (header.log_scale_high - header.log_scale_low) / 255.0
    log_scale_of_byte = np.float32(header.log_scale_low) + _BYTES * np.float32(step)
    np.take(log_scale_of_byte, scales.reshape(n, 3), out=log_scales, mode="clip")
    np.take(_SH0_OF_BYTE, colours.reshape(n, 3), out=sh0, mode="clip")
    np.take(_LOGIT_OF_BYTE, opacities, out=logits, mode="clip")


def _logits_of_bytes() -> NDArray[np.float32]:
    """Opacity logits by byte; the ends, which would be infinite, stand for the nearest quarter step."""
    shares = np.clip(_BYTES / np.float32(255.0), np.float32(0.25 / 255.0), np.float32(1.0 - 0.25 / 255.0))
    return np.log(shares / (np.float32(1.0) - shares))


_BYTES = np.arange(256, dtype=np.float32)
_SH0_OF_BYTE = (_BYTES * np.float32(1.0 / 255.0) - np.float32(0.5)) / np.float32(SH_C0)
_LOGIT_OF_BYTE = _logits_of_bytes()


def _to_byte(share: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)


def _pack_quats(quats: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Index of the largest component in 2 bits, the three others in 10 bits each over +-sqrt(1/2)."""
    norms = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(norms > 1e-12, quats / np.maximum(norms, 1e-12), np.array([1.0, 0.0, 0.0, 0.0], np.float32))
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    unit = unit * np.where(unit[rows, largest] < 0.0, -1.0, 1.0)[:, None]
    others = unit[rows[:, None], _OTHERS[largest]]
    steps = np.rint((others / _SQRT_HALF * 0.5 + 0.5) * _QUAT_STEPS).clip(0, _QUAT_STEPS).astype("<u4")
    packed = largest.astype("<u4") << 30
    for place in range(3):
        packed |= steps[:, place] << (10 * place)
    return packed


_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def _unpack_quats(packed: NDArray[np.uint32], quats: NDArray[np.float32]) -> None:
    """The inverse of ``_pack_quats``, a column at a time: rows of three or four are slow to sum and to scatter."""
    largest = packed >> 30
    first, second, third = (
        ((packed >> (10 * place)) & _QUAT_STEPS).astype(np.float32) * np.float32(2.0 * _SQRT_HALF / _QUAT_STEPS)
        - np.float32(_SQRT_HALF) for place in range(3))
    squared = first * first + second * second + third * third
    left = np.sqrt(np.maximum(np.float32(1.0) - squared, np.float32(0.0)))
    # Rounding may leave more than a unit quaternion's share to the three.
    scale = np.float32(1.0) / np.sqrt(np.maximum(squared, np.float32(1.0)))
    quats[:, 0] = np.where(largest == 0, left, first * scale)
    quats[:, 1] = np.where(largest == 1, left, np.where(largest < 1, first, second) * scale)
    quats[:, 2] = np.where(largest == 2, left, np.where(largest < 2, second, third) * scale)
    quats[:, 3] = np.where(largest == 3, left, third * scale)
