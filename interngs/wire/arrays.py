# SPDX-License-Identifier: GPL-3.0-or-later
"""The array container: named arrays and a small map in one run of bytes, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .codec import DTYPES, Buffer, check_array, pack, unpack
from .errors import WireError
from .limits import CONTROL_FRAME_BYTES

MAGIC = b"IGSARR01"
_ALIGNMENT = 64
_FIXED_BYTES = len(MAGIC) + 4


def container_parts(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None) -> Iterator[Buffer]:
    """The bytes of a container in pieces, to be written one after the other; arrays are not copied."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in contiguous.items():
        if array.dtype.str not in DTYPES:
            raise ValueError(f"the array {name!r} of {array.dtype} does not travel")
    # Offsets are relative to the end of the header, so that they do not depend on its length.
    table, offset = [], 0
    for name, array in contiguous.items():
        table.append([name, array.dtype.str, list(array.shape), offset])
        offset += _padded(array.nbytes)
    header = pack({"meta": dict(meta or {}), "arrays": table})
    header += b" " * (-(_FIXED_BYTES + len(header)) % _ALIGNMENT)
    yield MAGIC + len(header).to_bytes(4, "little") + header
    for array in contiguous.values():
        yield array.reshape(-1).view(np.uint8).data
        yield bytes(_padded(array.nbytes) - array.nbytes)


def pack_arrays(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None) -> bytes:
    """A container as bytes; ``meta`` holds plain values."""
    return b"".join(container_parts(arrays, meta))


def unpack_arrays(data: Buffer) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays (views of ``data``) and map of a container.

    Raises:
        WireError: the bytes are no container, or its table does not fit them.
    """
    view = memoryview(data)
    table, meta, start = read_table(view)
    arrays: dict[str, np.ndarray] = {}
    end = 0
    for name, dtype, shape, offset in table:
        extent = check_extent(dtype, shape)
        if offset != end or start + offset + extent > len(view):
            raise WireError(f"The array {name[:40]!r} lies outside its container.")
        kind, checked = check_array(dtype, shape, extent)
        arrays[name] = np.frombuffer(view[start + offset:start + offset + extent], kind).reshape(checked)
        end = offset + _padded(extent)
    if start + end != len(view):
        raise WireError(f"A container of {start + end} bytes has {len(view)}.")
    return arrays, meta


def read_table(head: Buffer) -> tuple[list[tuple[str, str, tuple[int, ...], int]], dict[str, Any], int]:
    """The table [(name, dtype, shape, offset)], the map and the arrays' start, from the first bytes of a container.

    Raises:
        WireError: the bytes do not begin with a whole container header.
    """
    view = memoryview(head)
    if len(view) < _FIXED_BYTES or bytes(view[:len(MAGIC)]) != MAGIC:
        raise WireError("The bytes are no array container.")
    length = int.from_bytes(view[len(MAGIC):_FIXED_BYTES], "little")
    start = _FIXED_BYTES + length
    if length > CONTROL_FRAME_BYTES or start > len(view):
        raise WireError("The container's header is cut short or too long.")
    header = unpack(bytes(view[_FIXED_BYTES:start]).rstrip(b" "))
    if not isinstance(header, dict) or not isinstance(header.get("arrays"), tuple):
        raise WireError("The container's header is malformed.")
    table = []
    for entry in header["arrays"]:
        if (not isinstance(entry, tuple) or len(entry) != 4 or not isinstance(entry[0], str)
                or not isinstance(entry[3], int) or isinstance(entry[3], bool)):
            raise WireError("The container's table is malformed.")
        table.append((entry[0], entry[1], entry[2], entry[3]))
    if len({name for name, *_ in table}) != len(table):
        raise WireError("The container has two arrays of one name.")
    meta = header.get("meta", {})
    if not isinstance(meta, dict):
        raise WireError("The container's map is malformed.")
    return table, meta, start


def check_extent(dtype: Any, shape: Any) -> int:
    """Bytes of an array of a table's ``dtype`` and ``shape``.

    Raises:
        WireError: they are not allowed.
    """
    if not isinstance(dtype, str) or dtype not in DTYPES or not isinstance(shape, (list, tuple)):
        raise WireError("An array's type or shape is not one that travels.")
    count = np.dtype(dtype).itemsize
    for extent in shape:
        if not isinstance(extent, int) or isinstance(extent, bool) or not 0 <= extent < 1 << 40:
            raise WireError("An array's shape is not made of counts.")
        count *= extent
    return count


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
