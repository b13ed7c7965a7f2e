# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the header of a PLY file (any element and property) without trusting it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from .splat_file import malformed, truncated

HEADER_LIMIT_BYTES = 1 << 20
"""Longest header read; a 3DGS header is about 1.5 kB."""

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}


@dataclass
class PlyElement:
    """One element: ``count`` records of scalar properties (name -> numpy type code), unless ``has_list``."""

    name: str
    count: int
    properties: dict[str, str] = field(default_factory=dict)
    has_list: bool = False

    def dtype(self, byte_order: str) -> np.dtype[np.void]:
        """The packed structured dtype of one record."""
        return np.dtype([(name, byte_order + code) for name, code in self.properties.items()])


@dataclass
class PlyHeader:
    """A parsed header; ``byte_order`` is ``"<"``, ``">"`` or ``"="`` for ascii; ``size`` counts its bytes."""

    byte_order: str
    elements: list[PlyElement]
    comments: list[str]
    size: int

    @property
    def is_ascii(self) -> bool:
        """Whether the data are written as text."""
        return self.byte_order == "="

    def element(self, name: str) -> PlyElement | None:
        """The element of that name, if the file has it."""
        return next((element for element in self.elements if element.name == name), None)

    def offset_of(self, wanted: PlyElement, name: str) -> int:
        """Bytes between the end of the header and the binary data of ``wanted``; ``name`` is for messages."""
        offset = 0
        for element in self.elements:
            if element is wanted:
                return offset
            if element.has_list:
                raise malformed(name, f"lists of element {element.name!r} stand before {wanted.name!r}")
            offset += element.count * element.dtype(self.byte_order).itemsize
        raise ValueError(f"{wanted.name!r} is no element of this header")


def read_ply_header(opened: BinaryIO, name: str) -> PlyHeader:
    """Read a header and leave ``opened`` at the first byte of data.

    Args:
        opened: binary file at its start; need not be seekable.
        name: of the file, for messages.

    Raises:
        InputError: no PLY file, or a header that is broken, endless or cut short.
    """
    if opened.readline(16).rstrip(b"\r\n") != b"ply":
        raise malformed(name, "it does not begin as a PLY file", "Choose a .ply file of Gaussians.")
    header = PlyHeader("", [], [], 0)
    read = 4
    while True:
        line = opened.readline(HEADER_LIMIT_BYTES)
        read += len(line)
        if read > HEADER_LIMIT_BYTES:
            raise malformed(name, "its PLY header has no end")
        if not line.endswith(b"\n"):
            raise truncated(name, "the PLY header has no 'end_header'")
        text = line.decode("utf-8", "replace").strip()
        if text == "end_header":
            break
        _read_line(header, text, name)
    if not header.byte_order:
        raise malformed(name, "its PLY header has no 'format' line")
    header.size = read
    return header


def _read_line(header: PlyHeader, text: str, name: str) -> None:
    keyword, _, rest = text.partition(" ")
    words = rest.split()
    if keyword in ("comment", "obj_info"):
        header.comments.append(rest.strip())
    elif keyword == "format" and words and words[0] in _BYTE_ORDERS:
        header.byte_order = _BYTE_ORDERS[words[0]]
    elif keyword == "element" and len(words) == 2 and words[1].isascii() and words[1].isdigit() and len(words[1]) < 19:
        header.elements.append(PlyElement(words[0], int(words[1])))
    elif keyword == "property" and header.elements and len(words) == 4 and words[0] == "list":
        header.elements[-1].has_list = True
    elif keyword == "property" and header.elements and len(words) == 2 and words[0] in _TYPES:
        properties = header.elements[-1].properties
        if words[1] in properties:
            raise malformed(name, f"property {words[1]!r} stands twice in its header")
        properties[words[1]] = _TYPES[words[0]]
    elif text:
        raise malformed(name, f"the PLY header line {text[:60]!r} is not understood")
