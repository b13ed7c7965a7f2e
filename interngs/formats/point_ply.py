# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a PLY file of plain coloured points, as pose files name one beside their images."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..scene.capture import SparsePoints
from .ply_header import PlyElement, PlyHeader, read_ply_header
from .splat_file import malformed, open_input, truncated

GREY = 128
"""Colour of the points of a file without colours."""


def read_point_ply(path: Path) -> SparsePoints:
    """The element ``vertex`` of a PLY file (ascii or binary): x, y, z and, when there, red, green, blue.

    Points that are not finite are left out.

    Raises:
        InputError: missing, no PLY file, without points, cut short, or its count does not fit its size.
    """
    name = path.name
    with open_input(path) as (opened, size):
        header = read_ply_header(opened, name)
        vertex = header.element("vertex")
        if vertex is None or not {"x", "y", "z"} <= vertex.properties.keys() or vertex.has_list:
            raise malformed(name, "it has no element 'vertex' with x, y and z", "Choose a PLY file of points.")
        columns = _ascii(opened, header, vertex, size, name) if header.is_ascii else _binary(
            opened, header, vertex, size, name)
    positions = np.stack([columns[axis].astype(np.float64) for axis in "xyz"], axis=1)
    finite = np.isfinite(positions).all(axis=1)
    return SparsePoints(positions[finite], _colours(columns, vertex)[finite])


def _binary(opened: BinaryIO, header: PlyHeader, vertex: PlyElement, size: int, name: str
            ) -> dict[str, NDArray[np.generic]]:
    dtype = vertex.dtype(header.byte_order)
    offset, needed = header.offset_of(vertex, name), vertex.count * dtype.itemsize
    if offset + needed > size - header.size:
        raise truncated(name, f"{vertex.count} points do not fit into {size} bytes")
    opened.read(offset)
    rows = np.frombuffer(opened.read(needed), dtype)
    return {key: rows[key] for key in vertex.properties}


def _ascii(opened: BinaryIO, header: PlyHeader, vertex: PlyElement, size: int, name: str
           ) -> dict[str, NDArray[np.generic]]:
    if header.elements[0] is not vertex:
        raise malformed(name, "its points do not come first")
    width = len(vertex.properties)
    if vertex.count * 2 * width > size:
        raise truncated(name, f"{vertex.count} points do not fit into {size} bytes")
    values = np.empty((vertex.count, width))
    for row in range(vertex.count):
        words = opened.readline(1 << 16).split()
        if len(words) != width:
            raise truncated(name, f"point {row} has {len(words)} of {width} values")
        try:
            values[row] = [float(word) for word in words]
        except ValueError as error:
            raise malformed(name, f"point {row} holds something else than numbers") from error
    return {key: values[:, column] for column, key in enumerate(vertex.properties)}


def _colours(columns: dict[str, NDArray[np.generic]], vertex: PlyElement) -> NDArray[np.uint8]:
    names = ("red", "green", "blue")
    if not all(name in columns for name in names):
        return np.full((len(columns["x"]), 3), GREY, np.uint8)
    colours = np.nan_to_num(np.stack([columns[name].astype(np.float64) for name in names], axis=1))
    if vertex.properties["red"].startswith("f"):
        colours = colours * 255
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)
