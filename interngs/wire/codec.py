# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to frames and back, within the decoder's limits; frames are bytes, this module knows no sockets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np

from .adapt import to_current, to_older
from .errors import WireError
from .limits import (
    ARRAY_DIMENSIONS,
    CONTROL_FRAME_BYTES,
    HEADER_ITEMS,
    HEADER_TEXT_BYTES,
    RAW_FRAMES,
)
from .messages import NAMES, TYPES, Message
from .typed import from_plain, to_plain
from .version import PROTOCOL, PROTOCOL_MIN

Buffer = bytes | bytearray | memoryview
DTYPES = ("|u1", "<u2", "<u4", "<f4", "<f8")
"""Array types that travel."""
_REQUEST_ID_CHARACTERS = 64


@dataclass(frozen=True)
class Envelope:
    """A decoded message with its request id (empty for a push) and the protocol number it was written in."""

    message: Message
    request_id: str
    protocol: int


def encode(message: Message, request_id: str = "", protocol: int = PROTOCOL) -> list[Buffer]:
    """The frames of a message: its header, then its arrays' bytes (not copied)."""
    name = NAMES[type(message)]
    arrays = [(entry.name, np.ascontiguousarray(value)) for entry in fields(message)  # type: ignore[arg-type]
              if isinstance(value := getattr(message, entry.name), np.ndarray)]
    body = to_older(name, to_plain(message), protocol)
    table = [[field_name, _wire_dtype(array), list(array.shape)] for field_name, array in arrays]
    header = pack({"p": protocol, "t": name, "r": request_id, "b": body, "f": table})
    return [header, *(array.reshape(-1).view(np.uint8).data for _, array in arrays)]


def decode(frames: Sequence[Buffer]) -> Envelope:
    """The message in ``frames``.

    Raises:
        WireError: anything is malformed, too large, of unknown type, or in a protocol that is not spoken.
    """
    if not 1 <= len(frames) <= 1 + RAW_FRAMES:
        raise WireError(f"A message has {len(frames)} frames.")
    header = unpack(frames[0])
    if not isinstance(header, dict):
        raise WireError("A header is no map.")
    protocol, name, request_id = header.get("p"), header.get("t"), header.get("r")
    if not isinstance(protocol, int) or isinstance(protocol, bool) or not PROTOCOL_MIN <= protocol <= PROTOCOL:
        raise WireError(f"Protocol {str(protocol)[:20]} is not spoken here.")
    if not isinstance(name, str) or name not in TYPES:
        raise WireError("The message's type is unknown.")
    if not isinstance(request_id, str) or len(request_id) > _REQUEST_ID_CHARACTERS:
        raise WireError("The request id is no short text.")
    body = header.get("b")
    if not isinstance(body, dict):
        raise WireError("A message has no body.")
    body = to_current(name, body, protocol)
    body.update(_read_arrays(header.get("f", []), frames[1:]))
    return Envelope(from_plain(TYPES[name], body), request_id, protocol)


def request_id_of(frames: Sequence[Buffer]) -> str:
    """The request id of a message that could not be decoded, as far as it can be told; else empty."""
    try:
        header = unpack(frames[0])
    except (WireError, IndexError):
        return ""
    request_id = header.get("r") if isinstance(header, dict) else None
    return request_id if isinstance(request_id, str) and len(request_id) <= _REQUEST_ID_CHARACTERS else ""


def pack(value: Any) -> bytes:
    """A plain value as msgpack."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: Buffer, max_bytes: int = CONTROL_FRAME_BYTES) -> Any:
    """A plain value from msgpack within the decoder's limits; lists come as tuples, which cost an attacker more.

    Raises:
        WireError: malformed or beyond a limit.
    """
    if len(data) > max_bytes:
        raise WireError(f"A header has {len(data)} bytes; the limit is {max_bytes}.")
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=False, max_str_len=HEADER_TEXT_BYTES,
                               max_bin_len=HEADER_TEXT_BYTES, max_array_len=HEADER_ITEMS, max_map_len=HEADER_ITEMS,
                               max_ext_len=0, ext_hook=_refuse_extension)
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"A header is no valid msgpack ({type(error).__name__}).") from error


def _refuse_extension(code: int, data: bytes) -> Any:
    raise ValueError("extension types are not part of the protocol")


def _wire_dtype(array: np.ndarray) -> str:
    text = array.dtype.str
    if text not in DTYPES or (sys.byteorder == "big" and array.dtype.itemsize > 1):
        raise ValueError(f"arrays of {array.dtype} do not travel")
    return text


def check_array(dtype: Any, shape: Any, n_bytes: int) -> tuple[np.dtype, tuple[int, ...]]:
    """dtype and shape of an announced array, when they are allowed and fit its ``n_bytes`` exactly.

    Raises:
        WireError: they do not.
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WireError("An array's type is not one that travels.")
    if not isinstance(shape, (list, tuple)) or not 1 <= len(shape) <= ARRAY_DIMENSIONS:
        raise WireError("An array's shape is no short list.")
    count = 1
    for extent in shape:
        if not isinstance(extent, int) or isinstance(extent, bool) or extent < 0:
            raise WireError("An array's shape is not made of counts.")
        count *= extent
    kind = np.dtype(dtype)
    if count * kind.itemsize != n_bytes:
        raise WireError(f"An array of shape {tuple(shape)[:4]} cannot have {n_bytes} bytes.")
    return kind, tuple(shape)


def _read_arrays(table: Any, frames: Sequence[Buffer]) -> dict[str, np.ndarray]:
    if not isinstance(table, (list, tuple)) or len(table) != len(frames):
        raise WireError("The table of arrays does not fit the frames.")
    arrays = {}
    for entry, frame in zip(table, frames, strict=True):
        if not isinstance(entry, (list, tuple)) or len(entry) != 3 or not isinstance(entry[0], str):
            raise WireError("The table of arrays is malformed.")
        kind, shape = check_array(entry[1], entry[2], len(frame))
        arrays[entry[0]] = np.frombuffer(frame, kind).reshape(shape)
    return arrays
