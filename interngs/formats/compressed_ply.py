# SPDX-License-Identifier: GPL-3.0-or-later
"""Compressed PLY of SuperSplat: 16 bytes per Gaussian and one byte per SH value, in chunks of 256 (lossy).

Each chunk keeps the range of its positions, log scales and colours as floats; a Gaussian is four 32-bit words:
position 11-10-11 bits, the three smaller quaternion parts 10 bits each, log scale 11-10-11 bits, colour and opacity
8 bits each.  SH values lie in -4..4.  Axes as in 3DGS PLY.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..scene.gaussians import Gaussians
from ..scene.morton import morton_codes
from .ply import comment_line
from .ply_header import PlyElement, PlyHeader, read_ply_header
from .quantise import constant_band_from_colours, join_largest, logits_from_opacities, split_largest
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

CHUNK = 256
SCALE_LIMIT = 20.0
"""Log scales are held within +-20, as SuperSplat does."""
SH_RANGE = 8.0

_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_RANGES = [f"{side}_{axis}" for side in ("min", "max") for axis in "xyz"] + \
          [f"{side}_scale_{axis}" for side in ("min", "max") for axis in "xyz"] + \
          [f"{side}_{channel}" for side in ("min", "max") for channel in "rgb"]


def write_compressed_ply(target: PathOrFile, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write a compressed PLY; the Gaussians are put into Morton order, so that chunks are small in space.

    Raises:
        InternGSError: the target cannot be written.
    """
    ordered = gaussians.select(np.argsort(morton_codes(gaussians.means), kind="stable"))
    count, rest = len(ordered), 3 * (gaussians.sh.shape[1] - 1)
    if rest > 45:
        ordered, rest = ordered.with_sh_degree(3), 45
    chunks = -(-count // CHUNK)
    header = ["ply", "format binary_little_endian 1.0", *map(comment_line, comments), f"element chunk {chunks}",
              *(f"property float {name}" for name in _RANGES), f"element vertex {count}",
              *(f"property uint {name}" for name in _WORDS)]
    if rest:
        header += [f"element sh {count}", *(f"property uchar f_rest_{i}" for i in range(rest))]

    def content(opened: BinaryIO) -> None:
        opened.write(("\n".join([*header, "end_header"]) + "\n").encode("ascii"))
        ranges, words = _pack(ordered)
        opened.write(ranges.tobytes())
        opened.write(words.tobytes())
        if rest:
            levels = np.floor((ordered.sh[:, 1:] / np.float32(SH_RANGE) + np.float32(0.5)) * 256)
            by_channel = np.clip(levels, 0, 255).astype(np.uint8).transpose(0, 2, 1)
            opened.write(by_channel.tobytes())

    write_out(target, content)


def _pack(gaussians: Gaussians) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Chunk ranges [C, 18] and words [N, 4]."""
    count = len(gaussians)
    starts = np.arange(0, count, CHUNK)
    chunk_of = np.arange(count) // CHUNK
    ranges = np.empty((len(starts), 18), "<f4")
    words = np.empty((count, 4), "<u4")
    log_scales = np.clip(gaussians.log_scales, -SCALE_LIMIT, SCALE_LIMIT)
    units = []
    for group, values in enumerate((gaussians.means, log_scales, gaussians.base_colours)):
        low, high = (reduce.reduceat(values, starts, axis=0) if count else values[:0]
                     for reduce in (np.minimum, np.maximum))
        ranges[:, 6 * group:6 * group + 3], ranges[:, 6 * group + 3:6 * group + 6] = low, high
        extent = np.where(high > low, high - low, 1).astype(np.float32)
        units.append((values - low[chunk_of]) / extent[chunk_of])
    words[:, 0] = _pack_bits(units[0], (11, 10, 11))
    largest, others = split_largest(gaussians.quats)
    words[:, 1] = (largest.astype(np.uint32) << 30) | _pack_bits(others * np.sqrt(0.5) + 0.5, (10, 10, 10))
    words[:, 2] = _pack_bits(units[1], (11, 10, 11))
    words[:, 3] = _pack_bits(np.concatenate([units[2], gaussians.opacities[:, None]], axis=1), (8, 8, 8, 8))
    return ranges, words


def _pack_bits(units: NDArray[np.floating], bits: tuple[int, ...]) -> NDArray[np.uint32]:
    """Values 0..1 [N, len(bits)] as one word each, the first value in the highest bits."""
    word = np.zeros(len(units), np.uint32)
    for column, width in enumerate(bits):
        level = np.clip(np.rint(units[:, column] * ((1 << width) - 1)), 0, (1 << width) - 1)
        word = (word << np.uint32(width)) | level.astype(np.uint32)
    return word


def _unpack_bits(words: NDArray[np.uint32], bits: tuple[int, ...]) -> NDArray[np.float32]:
    units = np.empty((len(words), len(bits)), np.float32)
    shift = sum(bits)
    for column, width in enumerate(bits):
        shift -= width
        units[:, column] = ((words >> np.uint32(shift)) & np.uint32((1 << width) - 1)) / np.float32((1 << width) - 1)
    return units


def read_compressed_ply(source: PathOrFile) -> SplatFile:
    """Read a compressed PLY, with or without ranges of colour and SH.

    Raises:
        InputError: no such file, no compressed PLY, or cut short.
    """
    name = source_name(source)
    with open_input(source) as (opened, size):
        header = read_ply_header(opened, name)
        chunk, vertex, harmonics = _elements(header, name)
        rest = 0 if harmonics is None else len(harmonics.properties)
        for element in filter(None, (chunk, vertex, harmonics)):
            end = header.offset_of(element, name) + element.count * element.dtype("<").itemsize
            if end > size - header.size:
                raise truncated(name, f"{element.count} records of {element.name!r} are promised")
        start = opened.tell()
        tables = {}
        for element in filter(None, (chunk, vertex, harmonics)):
            opened.seek(start + header.offset_of(element, name))
            dtype = element.dtype("<")
            tables[element.name] = np.frombuffer(read_exactly(opened, element.count * dtype.itemsize, name), dtype)
    sh = np.zeros((vertex.count, 1 + rest // 3, 3), np.float32)
    if rest:
        levels = tables["sh"].view(np.uint8).reshape(-1, 3, rest // 3).transpose(0, 2, 1)
        # The middle of each step, but the ends mean the ends.
        table = (np.arange(256, dtype=np.float32) + np.float32(0.5)) / 256
        table[0], table[255] = 0, 1
        sh[:, 1:] = ((table - np.float32(0.5)) * np.float32(SH_RANGE))[levels]
    return _unpack(tables["chunk"], tables["vertex"], sh, header.comments)


def _elements(header: PlyHeader, name: str) -> tuple[PlyElement, PlyElement, PlyElement | None]:
    chunk, vertex, harmonics = header.element("chunk"), header.element("vertex"), header.element("sh")
    if chunk is None or vertex is None or any(word not in vertex.properties for word in _WORDS):
        raise malformed(name, "it is no compressed PLY of Gaussians", "Choose a file that SuperSplat wrote.")
    if header.byte_order != "<" or any(vertex.properties[word] != "u4" for word in _WORDS) or \
            any(code != "f4" for code in chunk.properties.values()) or \
            any(field not in chunk.properties for field in _RANGES[:12]) or \
            0 < sum(field in chunk.properties for field in _RANGES[12:]) < 6:
        raise malformed(name, "its chunks or packed words have unexpected types")
    if chunk.count < -(-vertex.count // CHUNK):
        raise malformed(name, f"{chunk.count} chunks are too few for {vertex.count} Gaussians")
    if harmonics is not None:
        rest = len(harmonics.properties)
        wanted = [f"f_rest_{i}" for i in range(rest)]
        if rest not in (9, 24, 45, 72) or list(harmonics.properties) != wanted or \
                set(harmonics.properties.values()) != {"u1"} or harmonics.count != vertex.count:
            raise malformed(name, "its spherical harmonics are of no known layout")
    return chunk, vertex, harmonics


def _unpack(chunks: NDArray[np.void], words: NDArray[np.void], sh: NDArray[np.float32],
            comments: Sequence[str]) -> SplatFile:
    chunk_of = np.arange(len(words)) // CHUNK

    def within(unit: NDArray[np.float32], names: list[str]) -> NDArray[np.float32]:
        low = np.stack([chunks[field] for field in names[:3]], axis=1)[chunk_of]
        high = np.stack([chunks[field] for field in names[3:]], axis=1)[chunk_of]
        return low + unit * (high - low)

    with np.errstate(all="ignore"):
        rgba = _unpack_bits(words["packed_color"], (8, 8, 8, 8))
        colours = rgba[:, :3]
        if "min_r" in (chunks.dtype.names or ()):
            colours = within(colours, _RANGES[12:])
        sh[:, 0] = constant_band_from_colours(colours)
        others = (_unpack_bits(words["packed_rotation"] & np.uint32(0x3FFFFFFF), (10, 10, 10)) - np.float32(0.5))
        quats = join_largest(words["packed_rotation"] >> np.uint32(30), others * np.float32(np.sqrt(2)))
        means = within(_unpack_bits(words["packed_position"], (11, 10, 11)), _RANGES[:6])
        log_scales = within(_unpack_bits(words["packed_scale"], (11, 10, 11)), _RANGES[6:12])
    return finish("compressed-ply", means=means, quats=quats, log_scales=log_scales,
                  opacity_logits=logits_from_opacities(rgba[:, 3]), sh=sh, comments=comments)
