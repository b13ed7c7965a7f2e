# SPDX-License-Identifier: GPL-3.0-or-later
"""Standard 3D Gaussian splatting PLY: float32 raw parameters, SH degree 0 to 4, facts as comments.

The layout is that of the first public trainer (Kerbl et al. 2023), which every viewer reads: x y z, unused normals,
f_dc_0..2, f_rest_* channel-major (all of red, then green, then blue), opacity as a logit, scale_* as natural logs,
rot_0..3 as wxyz.  The format itself says nothing about axes, units or colour space: write them as comments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.gaussians import COEFFICIENTS_OF_DEGREE, Gaussians
from .ply_header import PlyElement, PlyHeader, read_ply_header
from .splat_file import PathOrFile, SplatFile, finish, malformed, open_input, source_name, truncated, write_out

ROWS_AT_ONCE = 2048
"""Rows packed or unpacked at a time: 0.5 MB at SH degree 3, which stays in the processor's cache."""

_REQUIRED = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
             "rot_0", "rot_1", "rot_2", "rot_3")


def ply_properties(sh_degree: int) -> list[str]:
    """Names of the float properties in the order of the standard layout."""
    rest = 3 * (COEFFICIENTS_OF_DEGREE[sh_degree] - 1)
    return ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest)),
            "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def comment_line(text: str) -> str:
    """``text`` as it may stand in a PLY header: one line of printable ASCII."""
    one_line = " ".join(text.split())
    return "comment " + one_line.encode("ascii", "backslashreplace").decode("ascii")


def write_ply(target: PathOrFile, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write a standard binary little-endian 3DGS PLY; a path is replaced only once all is written.

    Args:
        target: path, or a binary file open for writing.
        gaussians: written as they are (no change of axes or units), at their own SH degree.
        comments: facts for the header, one line each, for example ``"axes: x right, y down, z forward"``.

    Raises:
        InternGSError: the target cannot be written.
    """
    names = ply_properties(gaussians.sh_degree)
    header = ["ply", "format binary_little_endian 1.0", *map(comment_line, comments),
              f"element vertex {len(gaussians)}", *(f"property float {name}" for name in names), "end_header"]
    rest = gaussians.sh.shape[1] - 1
    def content(opened: BinaryIO) -> None:
        opened.write(("\n".join(header) + "\n").encode("ascii"))
        rows = np.zeros((min(ROWS_AT_ONCE, len(gaussians)), len(names)), "<f4")
        for start in range(0, len(gaussians), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            block = rows[:len(gaussians.means[part])]
            block[:, 0:3] = gaussians.means[part]
            block[:, 6:9] = gaussians.sh[part, 0]
            block[:, 9:-8].reshape(len(block), 3, rest)[...] = gaussians.sh[part, 1:].transpose(0, 2, 1)
            block[:, -8] = gaussians.opacity_logits[part]
            block[:, -7:-4] = gaussians.log_scales[part]
            block[:, -4:] = gaussians.quats[part]
            opened.write(block.data)

    write_out(target, content)


def read_ply(source: PathOrFile) -> SplatFile:
    """Read a 3DGS PLY: binary of either byte order or ascii, properties in any order, unknown ones skipped.

    Sizes in the header are compared with the file before anything is allocated.

    Args:
        source: path, or a seekable binary file.

    Returns:
        The Gaussians with the file's comments; quaternions are brought to unit length and Gaussians with values that
        are not finite left out, with a warning that counts them.

    Raises:
        InputError: no such file, no PLY, not a PLY of Gaussians, or cut short.
    """
    name = source_name(source)
    with open_input(source) as (opened, size):
        header = read_ply_header(opened, name)
        vertex = header.element("vertex")
        if vertex is None:
            raise malformed(name, "the PLY file has no vertices")
        degree = _sh_degree(vertex, name)
        if header.is_ascii:
            blocks = _ascii_rows(opened, header, vertex, size - header.size, name)
        else:
            blocks = _binary_rows(opened, header, vertex, size - header.size, name)
        return _gather(blocks, vertex, degree, header.comments)


def _sh_degree(vertex: PlyElement, name: str) -> int:
    missing = [wanted for wanted in _REQUIRED if wanted not in vertex.properties]
    if "packed_position" in vertex.properties:
        raise malformed(name, "it is a compressed PLY", "Open it as a compressed PLY.")
    if vertex.has_list:
        raise malformed(name, "its vertices hold lists", "Choose the .ply that a splat trainer wrote.")
    if missing:
        raise InputError("ply-not-gaussians", f"{name} is a PLY file but holds no Gaussians: it has no property "
                         f"{', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}.",
                         "Choose the .ply that a splat trainer wrote; meshes and point clouds are no splats.")
    rest = sum(wanted.startswith("f_rest_") for wanted in vertex.properties)
    counts = [3 * (k - 1) for k in COEFFICIENTS_OF_DEGREE]
    if rest not in counts or any(f"f_rest_{i}" not in vertex.properties for i in range(rest)):
        raise malformed(name, f"{rest} f_rest properties are no spherical-harmonic degree from 0 to 4")
    return counts.index(rest)


def _binary_rows(opened: BinaryIO, header: PlyHeader, vertex: PlyElement, available: int,
                 name: str) -> Iterator[NDArray[np.void]]:
    """Check the size, then give the vertices in blocks; the block's memory is used again for the next one."""
    dtype = vertex.dtype(header.byte_order)
    offset = header.offset_of(vertex, name)
    if vertex.count * dtype.itemsize > available - offset:
        raise truncated(name, f"{vertex.count} vertices of {dtype.itemsize} bytes are promised, "
                        f"{max(available - offset, 0)} bytes are there")

    def blocks() -> Iterator[NDArray[np.void]]:
        opened.seek(offset, 1)
        rows = np.empty(min(ROWS_AT_ONCE, vertex.count), dtype)
        for start in range(0, vertex.count, ROWS_AT_ONCE):
            block = rows[:vertex.count - start]
            if opened.readinto(block.view(np.uint8)) != block.nbytes:  # type: ignore[attr-defined]
                raise truncated(name, f"the file ended after {start} of {vertex.count} vertices")
            yield block
    return blocks()


def _ascii_rows(opened: BinaryIO, header: PlyHeader, vertex: PlyElement, available: int,
                name: str) -> Iterator[NDArray[np.void]]:
    """The vertices of a text file; they must be its first element, as in all files known."""
    if header.elements[0] is not vertex:
        raise malformed(name, "its text form begins with something else than vertices")
    if vertex.count * 2 * len(vertex.properties) > available + 1:
        raise truncated(name, f"{vertex.count} vertices are promised, {available} bytes of text are there")

    def blocks() -> Iterator[NDArray[np.void]]:
        dtype = np.dtype([(column, "f4") for column in vertex.properties])
        for start in range(0, vertex.count, ROWS_AT_ONCE):
            wanted = min(ROWS_AT_ONCE, vertex.count - start)
            lines = [opened.readline(1 << 16) for _ in range(wanted)]
            try:
                values = np.array([line.split() for line in lines], dtype=np.float32)
            except ValueError as error:
                raise malformed(name, f"a vertex after number {start} is no row of numbers") from error
            if values.shape != (wanted, len(vertex.properties)):
                raise truncated(name, f"vertices after number {start} have no {len(vertex.properties)} numbers")
            yield np.ascontiguousarray(values).view(dtype)[:, 0]
    return blocks()


def _gather(blocks: Iterator[NDArray[np.void]], vertex: PlyElement, sh_degree: int,
            comments: Sequence[str]) -> SplatFile:
    count, bases = vertex.count, COEFFICIENTS_OF_DEGREE[sh_degree]
    means, quats = np.empty((count, 3), np.float32), np.empty((count, 4), np.float32)
    log_scales, logits = np.empty((count, 3), np.float32), np.empty(count, np.float32)
    sh = np.empty((count, bases, 3), np.float32)
    targets: dict[str, NDArray[np.float32]] = {"opacity": logits}
    targets |= {axis: means[:, i] for i, axis in enumerate("xyz")}
    targets |= {f"scale_{i}": log_scales[:, i] for i in range(3)}
    targets |= {f"rot_{i}": quats[:, i] for i in range(4)}
    targets |= {f"f_dc_{i}": sh[:, 0, i] for i in range(3)}
    targets |= {f"f_rest_{i}": sh[:, 1 + i % (bases - 1), i // (bases - 1)] for i in range(3 * (bases - 1))}
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            for column, values in targets.items():
                values[start:start + len(block)] = block[column]
            start += len(block)
    return finish("ply", means=means, quats=quats, log_scales=log_scales, opacity_logits=logits, sh=sh,
                  comments=comments)
