# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one numpy array from .npy bytes whose header is not trusted: no pickle, no allocation beyond the bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

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
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(stream)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise InputError("npy-malformed", f"{name} is no readable numpy array.", _REMEDY) from error
    if dtype.hasobject or dtype.kind not in "fiu":
        raise InputError("npy-malformed", f"{name} holds {dtype} values, not plain numbers.", _REMEDY)
    count = 1
    for extent in shape:
        count *= int(extent)
    body = data[stream.tell():]
    if count < 0 or len(body) != count * dtype.itemsize:
        raise InputError("npy-truncated", f"{name} says it holds an array of shape {shape} but has {len(body)} bytes.",
                         "Copy the file again; it is cut short or damaged.")
    flat = np.frombuffer(body, dtype)
    array = flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)
    return array.astype(np.float64)
