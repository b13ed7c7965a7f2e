# SPDX-License-Identifier: GPL-3.0-or-later
"""Zstandard in and out: by Python 3.14's own module or ``zstandard`` where there is one, else by code of our own.

Blender ships ``zstandard`` with its Python.  Elsewhere, frames are read by ``zstd_decoder`` (some 50 times slower)
and written as stored blocks (valid for every reader, but not smaller).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from .zstd_decoder import MAGIC, ZstdError, decode_frames

STORED_BLOCK = 1 << 17


def library() -> ModuleType | None:
    """The Zstandard module of this Python, if any."""
    if sys.version_info >= (3, 14) and importlib.util.find_spec("compression.zstd") is not None:
        return importlib.import_module("compression.zstd")
    return importlib.import_module("zstandard") if importlib.util.find_spec("zstandard") is not None else None


def decompress(data: bytes, size: int) -> bytes:
    """The ``size`` bytes that Zstandard frames hold; never more memory than that is used for them.

    Raises:
        ZstdError: the frames are broken, or hold another number of bytes.
    """
    module = library()
    if module is None:
        found = decode_frames(data, size)
    elif hasattr(module, "ZstdFile"):
        try:
            found = module.ZstdDecompressor().decompress(data, max_length=size + 1)
        except module.ZstdError as error:
            raise ZstdError(str(error)) from error
    else:
        try:
            found = module.ZstdDecompressor().stream_reader(data).read(size + 1)
        except module.ZstdError as error:
            raise ZstdError(str(error)) from error
    if len(found) != size:
        raise ZstdError(f"{len(found)} bytes instead of {size}")
    return bytes(found)


def compress(data: bytes) -> bytes:
    """A Zstandard frame of ``data``; without a library its blocks are stored or, where constant, run lengths."""
    module = library()
    if module is not None:
        compressed: bytes = (module.compress(data, 12) if hasattr(module, "ZstdFile")
                             else module.ZstdCompressor(level=12).compress(data))
        return compressed
    # Single segment with an 8-byte content size: no window to choose.
    parts = [MAGIC, b"\xe0", len(data).to_bytes(8, "little")]
    blocks = [data[start:start + STORED_BLOCK] for start in range(0, len(data), STORED_BLOCK)] or [b""]
    for index, block in enumerate(blocks):
        is_last = int(index == len(blocks) - 1)
        is_run = bool(block) and block == block[:1] * len(block)
        parts.append((is_last | is_run << 1 | len(block) << 3).to_bytes(3, "little"))
        parts.append(block[:1] if is_run else block)
    return b"".join(parts)
