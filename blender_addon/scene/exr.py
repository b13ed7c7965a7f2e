# SPDX-License-Identifier: GPL-3.0-or-later
"""Read one channel of an OpenEXR file that Blender wrote (scan lines, no or ZIP compression, one or many parts)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...interngs.errors import InputError

MAGIC = 20000630
MULTI_PART = 0x1000
TILED = 0x200
ROWS_PER_BLOCK = {0: 1, 2: 1, 3: 16}
"""Scan lines per block of the compressions read here: none, ZIPS, ZIP."""
SAMPLE_TYPES = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
MAX_PIXELS = 1 << 28


@dataclass(frozen=True)
class _Part:
    channels: tuple[tuple[str, np.dtype], ...]
    compression: int
    width: int
    height: int
    first_row: int
    blocks: int


def _damaged(path: Path, what: str) -> InputError:
    return InputError("exr-unreadable", f"{path.name} is no EXR file that can be read here: {what}.",
                      "Render the capture again; if it comes back, copy the details into a report.")


class _Reader:
    """A cursor over the file's bytes that never reads past the end."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise _damaged(self.path, "it ends too early")
        piece = self.data[self.at:self.at + count]
        self.at += count
        return piece

    def unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + 256)
        if end < 0:
            raise _damaged(self.path, "a name has no end")
        name = self.data[self.at:end].decode("latin-1")
        self.at = end + 1
        return name


def _read_channels(reader: _Reader) -> tuple[tuple[str, np.dtype], ...]:
    channels = []
    while name := reader.text():
        kind, _linear, x_step, y_step = reader.unpack("<iiii")
        if kind not in SAMPLE_TYPES or x_step != 1 or y_step != 1:
            raise _damaged(reader.path, f"channel {name!r} has an unknown form")
        channels.append((name, SAMPLE_TYPES[kind]))
    return tuple(channels)


def _read_part(reader: _Reader) -> _Part | None:
    """One header; ``None`` at the empty header that ends a multi-part list."""
    attributes: dict[str, bytes] = {}
    while name := reader.text():
        reader.text()
        (size,) = reader.unpack("<i")
        attributes[name] = reader.take(size)
    if not attributes:
        return None
    if not {"channels", "compression", "dataWindow"} <= attributes.keys():
        raise _damaged(reader.path, "the header is incomplete")
    left, top, right, bottom = struct.unpack("<iiii", attributes["dataWindow"])
    width, height, compression = right - left + 1, bottom - top + 1, attributes["compression"][0]
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise _damaged(reader.path, f"its size is {width}x{height}")
    if compression not in ROWS_PER_BLOCK:
        raise _damaged(reader.path, f"compression {compression} is not supported")
    rows = ROWS_PER_BLOCK[compression]
    channels = _read_channels(_Reader(reader.path, attributes["channels"]))
    return _Part(channels, compression, width, height, top, -(-height // rows))


def _unzip(data: bytes, size: int, path: Path) -> bytes:
    """Undo EXR's ZIP: inflate, add up differences, join the two interleaved halves."""
    try:
        flat = zlib.decompressobj().decompress(data, size)
    except zlib.error as error:
        raise _damaged(path, f"a block does not inflate ({error})") from error
    if len(flat) != size:
        raise _damaged(path, "a block has the wrong size")
    values = np.frombuffer(flat, np.uint8).astype(np.int64)
    values[1:] -= 128
    values = np.cumsum(values).astype(np.uint8)
    joined = np.empty_like(values)
    half = (size + 1) // 2
    joined[0::2], joined[1::2] = values[:half], values[half:]
    return joined.tobytes()


def read_channel(path: Path, suffix: str) -> NDArray[np.float32]:
    """The first channel whose name ends in ``suffix``, as [H, W] float32, top row first.

    Raises:
        InputError: for a truncated or foreign file, or when no channel has that name.
    """
    reader = _Reader(path, path.read_bytes())
    magic, version = reader.unpack("<ii")
    if magic != MAGIC or version & TILED:
        raise _damaged(path, "it is not a scan-line EXR")
    multi_part = bool(version & MULTI_PART)
    parts: list[_Part] = []
    while (part := _read_part(reader)) is not None:
        parts.append(part)
        if not multi_part:
            break
    for part in parts:
        reader.take(8 * part.blocks)
    for index, part in enumerate(parts):
        for name, _ in part.channels:
            if name.endswith(suffix):
                return _read_blocks(reader, parts, index, name)
    raise _damaged(path, f"it has no channel {suffix!r}")


def _read_blocks(reader: _Reader, parts: list[_Part], wanted: int, channel: str) -> NDArray[np.float32]:
    part = parts[wanted]
    before = sum(kind.itemsize for name, kind in part.channels[:[n for n, _ in part.channels].index(channel)])
    kind = dict(part.channels)[channel]
    row_bytes = part.width * sum(each.itemsize for _, each in part.channels)
    image = np.zeros((part.height, part.width), np.float32)
    for _ in range(sum(each.blocks for each in parts)):
        number = reader.unpack("<i")[0] if len(parts) > 1 else wanted
        row, size = reader.unpack("<ii")
        data = reader.take(size)
        if number != wanted:
            continue
        start = row - part.first_row
        if not 0 <= start < part.height:
            raise _damaged(reader.path, "a block lies outside the image")
        rows = min(ROWS_PER_BLOCK[part.compression], part.height - start)
        if part.compression and size < rows * row_bytes:
            data = _unzip(data, rows * row_bytes, reader.path)
        if len(data) != rows * row_bytes:
            raise _damaged(reader.path, "a block has the wrong size")
        for line in range(rows):
            offset = line * row_bytes + before * part.width
            image[start + line] = np.frombuffer(data, kind, part.width, offset)
    return image
