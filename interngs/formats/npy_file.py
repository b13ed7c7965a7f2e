# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one numpy array from .npy bytes whose header is not trusted: no pickle, no allocation beyond the bytes."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_HEADER = re.compile(rb"\s*\{\s*'descr':\s*'(?P<type>[<>|=]?(?:f[248]|[iu][1248]))',\s*'fortran_order':\s*"
                     rb"(?P<fortran>True|False),\s*'shape':\s*\((?P<shape>(?:\s*\d{1,12}\s*(?:,\s*\d{1,12}\s*){0,7},?\s*)?)\),?\s*\}\s*")
_HEADER_LIMIT_BYTES = 1024
_REMEDY = "Write the file again with numpy.save as a plain array of numbers."


def read_npy(path: Path) -> NDArray[np.float64]:
    """The array of a ``.npy`` file as float64.

    Raises:
        InputError: missing, unreadable, truncated, or not a plain array of real numbers.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("npy-unreadable", f"{path} cannot be read: {error.strerror or error}.",
                         "Check that the file exists and may be read.") from error
    return parse_npy(data, str(path))


def parse_npy(data: bytes, name: str) -> NDArray[np.float64]:
    """The array in the bytes of a ``.npy`` file as float64; ``name`` is for messages.

    Raises:
        InputError: truncated, or not a plain array of real numbers.
    """
    shape, fortran_order, dtype, offset = _parse_header(data, name)
    count = math.prod(shape)
    body = data[offset:]
    if len(body) != count * dtype.itemsize:
        raise InputError("npy-truncated", f"{name} says it holds an array of shape {shape} but has {len(body)} bytes.",
                         "Copy the file again; it is cut short or damaged.")
    flat = np.frombuffer(body, dtype)
    array = flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)
    return array.astype(np.float64)


def _parse_header(data: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, column order, type and where the values begin (NEP 1, versions 1 to 3)."""
    length_bytes = 2 if data[6:7] == b"\x01" else 4
    start = 8 + length_bytes
    end = start + int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start:end]) if end - start <= _HEADER_LIMIT_BYTES else None
    if data[:6] != b"\x93NUMPY" or data[6:7] not in (b"\x01", b"\x02", b"\x03") or header is None or end > len(data):
        raise InputError("npy-malformed", f"{name} is no numpy array of plain numbers, or it is cut short.", _REMEDY)
    shape = tuple(int(extent) for extent in header["shape"].decode().split(",") if extent.strip())
    return shape, header["fortran"] == b"True", np.dtype(header["type"].decode()), end
