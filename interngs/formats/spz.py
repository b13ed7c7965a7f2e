# SPDX-License-Identifier: GPL-3.0-or-later
"""SPZ (Niantic): about 20 bytes per Gaussian and one byte per SH value (lossy); reads versions 1 to 4, writes 2 to 4.

Axes are x right, y up, z backward.  Positions are 24-bit fixed point (half floats in version 1), log scales bytes of
1/16 from -10, colours bytes around the middle, quaternions three bytes (up to version 2) or the three smaller parts
in 10 bits each, SH values bytes of 1/128.  Versions 1 to 3 are one gzip stream behind a 16-byte header; version 4
has a plain 32-byte header, a table of contents, and one Zstandard frame per attribute.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.gaussians import COEFFICIENTS_OF_DEGREE, Gaussians
from . import zstd
from .quantise import bytes_from_unit, join_largest, logits_from_opacities, split_largest
from .splat_file import (
    PathOrFile,
    SplatFile,
    finish,
    malformed,
    open_input,
    read_exactly,
    source_name,
    truncated,
    write_out,
)
from .zstd_decoder import ZstdError

SpzVersion = Literal[2, 3, 4]
MAGIC = b"NGSP"
HEADER = struct.Struct("<4sIIBBBB")
HEADER_4 = struct.Struct("<4sIIBBBBI12x")
TOC_ENTRY = struct.Struct("<QQ")

MOST_FRACTIONAL_BITS = 12
COLOUR_SCALE = 0.15
SH_BITS = (5, 4, 4, 4)
"""Bits kept of SH values in bands 1 to 4; the others are cleared, which makes the file smaller."""
HIGHEST_RATIO = 1100
"""Files whose header promises more than this many times their own size are refused: deflate cannot reach it, and no
real splat is so regular."""


def write_spz(target: PathOrFile, gaussians: Gaussians, comments: Sequence[str] = (), *,
              version: SpzVersion = 3) -> None:
    """Write an SPZ file.  The format has no place for ``comments``.

    Version 3 is read by every current program.  Version 4 needs a Zstandard module to be small (see ``zstd``).

    Raises:
        InternGSError: the target cannot be written, or the splat is too large for 24-bit positions.
    """
    fractional_bits = _fractional_bits(gaussians.means)
    streams = [_fixed_points(gaussians.means, fractional_bits), bytes_from_unit(gaussians.opacities).tobytes(),
               bytes_from_unit(gaussians.sh[:, 0] * np.float32(COLOUR_SCALE) + np.float32(0.5)).tobytes(),
               np.clip(np.rint((gaussians.log_scales + 10) * 16), 0, 255).astype(np.uint8).tobytes(),
               _three_bytes(gaussians.quats) if version == 2 else _smallest_three(gaussians.quats),
               _sh_bytes(gaussians.sh)]

    def content(opened: BinaryIO) -> None:
        counts = (MAGIC, version, len(gaussians), gaussians.sh_degree, fractional_bits, 0)
        if version < 4:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)     # 31: with a gzip header, which holds no time
            opened.write(packer.compress(HEADER.pack(*counts, 0)))
            for stream in streams:
                opened.write(packer.compress(stream))
            opened.write(packer.flush())
            return
        used = [stream for stream in streams if stream]
        frames = [zstd.compress(stream) for stream in used]
        opened.write(HEADER_4.pack(*counts, len(used), HEADER_4.size))
        for frame, stream in zip(frames, used, strict=True):
            opened.write(TOC_ENTRY.pack(len(frame), len(stream)))
        for frame in frames:
            opened.write(frame)

    write_out(target, content)


def _fractional_bits(means: NDArray[np.float32]) -> int:
    farthest = float(np.abs(means).max(initial=0))
    for bits in range(MOST_FRACTIONAL_BITS, -1, -1):
        if farthest * (1 << bits) < (1 << 23) - 1:
            return bits
    raise InputError("spz-too-large", f"A Gaussian lies {farthest:.3g} units from the origin; SPZ reaches 8 million.",
                     "Remove far Gaussians (clean, crop) or scale the splat down.")


def _fixed_points(means: NDArray[np.float32], fractional_bits: int) -> bytes:
    fixed = np.rint(means.astype(np.float64) * (1 << fractional_bits)).astype("<i4")
    return np.ascontiguousarray(fixed.view(np.uint8).reshape(-1, 3, 4)[:, :, :3]).tobytes()


def _three_bytes(quats: NDArray[np.float32]) -> bytes:
    positive = quats[:, 1:] * np.where(quats[:, :1] < 0, np.float32(-1), np.float32(1))
    return np.clip(np.rint(positive * np.float32(127.5) + np.float32(127.5)), 0, 255).astype(np.uint8).tobytes()


def _smallest_three(quats: NDArray[np.float32]) -> bytes:
    """Index of the largest part in the top bits, then the others, each a sign and 9 bits of size up to 1 / sqrt(2).

    SPZ counts the parts x, y, z, w.
    """
    largest, others = split_largest(np.roll(quats, -1, axis=1))
    word = largest.astype(np.uint32)
    for column in range(3):
        size = np.clip(np.rint(np.abs(others[:, column]) * np.float32(511 * np.sqrt(2))), 0, 511).astype(np.uint32)
        word = (word << np.uint32(10)) | ((others[:, column] < 0).astype(np.uint32) << np.uint32(9)) | size
    return word.astype("<u4").tobytes()


def _sh_bytes(sh: NDArray[np.float32]) -> bytes:
    levels = np.clip(np.rint(sh[:, 1:] * np.float32(128)) + np.float32(128), 0, 255).astype(np.int32)
    start = 0
    for band, bits in enumerate(SH_BITS, start=1):
        step = 1 << (8 - bits)
        part = slice(start, start + 2 * band + 1)
        levels[:, part] = np.clip((levels[:, part] + step // 2) // step * step, 0, 255)
        start = part.stop
    return levels.astype(np.uint8).tobytes()


def read_spz(source: PathOrFile) -> SplatFile:
    """Read an SPZ file of version 1 to 4, compressed or (as some tools keep it) without its gzip shell.

    Raises:
        InputError: no such file, no SPZ, cut short, or a header that promises what the file cannot hold.
    """
    name = source_name(source)
    with open_input(source) as (opened, size):
        data = read_exactly(opened, size, name)
    if data[:4] == MAGIC and len(data) >= 8 and data[4] == 4:
        return _read_version_4(data, name)
    unpacker = None
    if data[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(31)
        start = _inflate(unpacker, data, HEADER.size, name)
    else:
        start = data[:HEADER.size]
    if len(start) < HEADER.size or start[:4] != MAGIC:
        raise malformed(name, "it does not begin as an SPZ file", "Choose an .spz file of Gaussians.")
    _, version, count, degree, fractional_bits, _, _ = HEADER.unpack(start)
    if version not in (1, 2, 3):
        raise malformed(name, f"SPZ version {version} is not known")
    sizes = _stream_sizes(version, count, degree, name)
    _check_promise(sum(sizes), size, name)
    body = data[HEADER.size:] if unpacker is None else _inflate(unpacker, unpacker.unconsumed_tail, sum(sizes), name)
    if len(body) < sum(sizes):
        raise truncated(name, f"{count} Gaussians need {sum(sizes)} bytes, {len(body)} are there")
    streams = [body[a:b] for a, b in pairwise(accumulate(sizes, initial=0))]
    return _unpack(streams, version, count, degree, fractional_bits)


def _inflate(unpacker: zlib._Decompress, data: bytes, size: int, name: str) -> bytes:
    """Up to ``size`` further bytes of a gzip stream."""
    if size == 0:
        return b""
    try:
        return unpacker.decompress(data, size)
    except zlib.error as error:
        raise truncated(name, f"its compressed data are damaged ({error})") from error


def _read_version_4(data: bytes, name: str) -> SplatFile:
    if len(data) < HEADER_4.size:
        raise truncated(name, "its header is not whole")
    _, version, count, degree, fractional_bits, _, stream_count, toc_at = HEADER_4.unpack_from(data)
    sizes = [size for size in _stream_sizes(version, count, degree, name) if size]
    at = toc_at + stream_count * TOC_ENTRY.size
    if at > len(data) or toc_at < HEADER_4.size:
        raise truncated(name, "its table of contents lies outside the file")
    entries = [TOC_ENTRY.unpack_from(data, toc_at + i * TOC_ENTRY.size) for i in range(stream_count)]
    entries = [entry for entry in entries if entry[1]]
    if [entry[1] for entry in entries] != sizes:
        raise malformed(name, "its table of contents does not fit the number of Gaussians")
    _check_promise(sum(sizes), len(data), name)
    streams = []
    for packed, size in entries:
        if at + packed > len(data):
            raise truncated(name, "a stream lies outside the file")
        try:
            streams.append(zstd.decompress(data[at:at + packed], size))
        except ZstdError as error:
            raise truncated(name, f"its compressed data are damaged ({error})") from error
        at += packed
    return _unpack([*streams, *[b""] * (6 - len(streams))], version, count, degree, fractional_bits)


def _check_promise(promised: int, size: int, name: str) -> None:
    if promised > HIGHEST_RATIO * size + (1 << 16):
        raise truncated(name, f"its header promises {promised} bytes from a file of {size}")


def _stream_sizes(version: int, count: int, degree: int, name: str) -> list[int]:
    if degree >= len(COEFFICIENTS_OF_DEGREE):
        raise malformed(name, f"spherical-harmonic degree {degree} is not known")
    rest = 3 * (COEFFICIENTS_OF_DEGREE[degree] - 1)
    return [count * size for size in (6 if version == 1 else 9, 1, 3, 3, 4 if version >= 3 else 3, rest)]


def _unpack(streams: list[bytes], version: int, count: int, degree: int, fractional_bits: int) -> SplatFile:
    positions, alphas, colours, scales, rotations, rest = (np.frombuffer(stream, np.uint8) for stream in streams)
    if version == 1:
        means = positions.view("<f2").reshape(count, 3).astype(np.float32)
    else:
        wide = np.zeros((count, 3, 4), np.uint8)
        wide[:, :, 1:] = positions.reshape(count, 3, 3)
        # The low byte is empty: shifting it out brings the sign along.
        means = ((wide.view("<i4")[:, :, 0] >> 8) / np.float64(2.0 ** fractional_bits)).astype(np.float32)
    sh = np.empty((count, COEFFICIENTS_OF_DEGREE[degree], 3), np.float32)
    sh[:, 0] = (colours.reshape(count, 3) / np.float32(255) - np.float32(0.5)) / np.float32(COLOUR_SCALE)
    sh[:, 1:] = (rest.reshape(count, sh.shape[1] - 1, 3).astype(np.float32) - 128) / 128
    if version >= 3:
        word = rotations.view("<u4")
        others = np.empty((count, 3), np.float32)
        for column, shift in enumerate((20, 10, 0)):
            field = word >> np.uint32(shift)
            size = (field & np.uint32(511)).astype(np.float32) / np.float32(511 * np.sqrt(2))
            others[:, column] = np.where(field & np.uint32(512), -size, size)
        quats = np.roll(join_largest(word >> np.uint32(30), others), 1, axis=1)
    else:
        vector = rotations.reshape(count, 3).astype(np.float32) / np.float32(127.5) - 1
        real = np.sqrt(np.maximum(1 - np.einsum("ni,ni->n", vector, vector), 0))
        quats = np.concatenate([real[:, None], vector], axis=1)
    return finish("spz", means=means, quats=quats,
                  log_scales=(scales.reshape(count, 3) / 16 - 10).astype(np.float32),
                  opacity_logits=logits_from_opacities(alphas / np.float32(255)), sh=sh)
