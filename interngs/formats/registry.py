# SPDX-License-Identifier: GPL-3.0-or-later
"""Which splat formats there are, what each keeps, and reading and writing by file name with axes converted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..scene.axes import AXES_IN_WORDS, Axes
from ..scene.gaussians import Gaussians
from ..scene.transforms import convert_axes, transform_gaussians
from .compressed_ply import read_compressed_ply, write_compressed_ply
from .dot_splat import read_dot_splat, write_dot_splat
from .glb import read_glb, write_glb
from .ksplat import read_ksplat
from .ply import read_ply, write_ply
from .splat_file import SplatFile, open_input
from .spz import read_spz, write_spz
from .usda import read_usda, write_usda

AnyPath = str | os.PathLike[str]
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class SplatFormat:
    """One splat format.

    Attributes:
        name: short and stable, for programs.
        label: for people.
        extensions: lower case with dot; the first is used for new files.
        axes: what x, y and z point to in its files, unless a file says otherwise.
        sh_degree: highest degree that it stores; 0: colour does not change with the view.
        loss: what writing loses besides a higher SH degree, in words; empty when nothing.
        read, write: functions (path) and (path, gaussians, comments); ``None`` where it cannot.
    """

    name: str
    label: str
    extensions: tuple[str, ...]
    axes: Axes
    sh_degree: int
    loss: str
    read: Callable[[Any], SplatFile] | None
    write: Callable[[Any, Gaussians, Sequence[str]], None] | None

    @property
    def is_lossy(self) -> bool:
        """Whether values are rounded on writing."""
        return bool(self.loss)

    def losses(self, gaussians: Gaussians) -> tuple[str, ...]:
        """What writing these Gaussians would lose, one phrase each."""
        told = [self.loss] if self.loss else []
        if gaussians.sh_degree > self.sh_degree:
            told.append("colour no longer changes with the view" if self.sh_degree == 0
                        else f"spherical harmonics cut from degree {gaussians.sh_degree} to {self.sh_degree}")
        return tuple(told)


FORMATS: tuple[SplatFormat, ...] = (
    SplatFormat("ply", "3DGS PLY", (".ply",), "opencv", 4, "", read_ply, write_ply),
    SplatFormat("compressed-ply", "Compressed PLY (SuperSplat)", (".compressed.ply",), "opencv", 3,
                "positions 11 bits and SH 8 bits within chunks", read_compressed_ply, write_compressed_ply),
    SplatFormat("splat", ".splat", (".splat",), "opencv", 0, "colours and rotations 8 bits", read_dot_splat,
                write_dot_splat),
    SplatFormat("spz", "SPZ (Niantic)", (".spz",), "opengl", 4, "positions 24 bits, all else 4 to 10 bits", read_spz,
                write_spz),
    SplatFormat("glb", "GLB (KHR_gaussian_splatting)", (".glb",), "opengl", 3, "", read_glb, write_glb),
    SplatFormat("usda", "USD text (ParticleField3DGaussianSplat)", (".usda",), "opengl", 4, "", read_usda, write_usda),
    SplatFormat("ksplat", ".ksplat (GaussianSplats3D)", (".ksplat",), "opencv", 3, "", read_ksplat, None),
)
"""The formats that numpy alone can handle."""


def format_of(path: AnyPath, formats: Sequence[SplatFormat] = FORMATS) -> SplatFormat:
    """The format that a file name asks for, by the longest fitting extension.

    Raises:
        InputError: no format has that extension.
    """
    name = Path(path).name.lower()
    fitting = [(len(extension), splat_format) for splat_format in formats for extension in splat_format.extensions
               if name.endswith(extension)]
    if not fitting:
        known = ", ".join(splat_format.extensions[0] for splat_format in formats)
        raise InputError("splat-format", f"{Path(path).name} has no known splat extension.", f"Use one of: {known}.")
    return max(fitting, key=lambda item: item[0])[1]


def sniff(path: AnyPath, formats: Sequence[SplatFormat] = FORMATS) -> SplatFormat:
    """The format of an existing file, by its first bytes where they tell, else by its name.

    Raises:
        InputError: the file cannot be opened, or neither bytes nor name are known.
    """
    with open_input(path) as (opened, _):
        head = opened.read(HEAD_BYTES)
    name = None
    if head.startswith((b"ply\n", b"ply\r")):
        header = head.partition(b"end_header")[0]
        name = "compressed-ply" if b"packed_position" in header else "ply"
    elif head.startswith((b"NGSP", b"\x1f\x8b")):
        name = "spz"
    elif head.startswith(b"glTF"):
        name = "glb"
    elif head.startswith(b"#usda"):
        name = "usda"
    elif head.startswith(b"PXR-USDC"):
        name = "usd"
    known = {splat_format.name: splat_format for splat_format in formats}
    return known[name] if name in known else format_of(path, formats)


def read_splat(path: AnyPath, axes: Axes | None = None, *, file_axes: Axes | None = None,
               formats: Sequence[SplatFormat] = FORMATS) -> SplatFile:
    """Read a splat of any known format.

    Args:
        path: the file; its first bytes decide about the format before its name does.
        axes: that the Gaussians shall have; ``None`` leaves the file's.
        file_axes: that the file has, where the caller knows better than the format's convention.
        formats: to choose from.

    Returns:
        The Gaussians with ``axes`` filled in.  Where the file states its unit, they are in metres.

    Raises:
        InputError: unknown, unreadable or broken file.
    """
    splat_format = sniff(path, formats)
    if splat_format.read is None:
        raise InputError("splat-format", f"{splat_format.label} cannot be read.", "Choose another file.")
    splat = splat_format.read(path)
    found_axes = file_axes or splat.axes or _axes_in(splat.comments) or splat_format.axes
    gaussians = convert_axes(splat.gaussians, axes or found_axes, found_axes)
    if splat.metres_per_unit not in (None, 1.0):
        gaussians = transform_gaussians(gaussians, np.eye(3) * splat.metres_per_unit)
    return replace(splat, gaussians=gaussians, axes=axes or found_axes,
                   metres_per_unit=None if splat.metres_per_unit is None else 1.0)


def _axes_in(comments: Sequence[str]) -> Axes | None:
    """The axes that a file's own comment names in the words that ``write_splat`` uses."""
    told = {line.removeprefix("axes:").strip() for line in comments if line.startswith("axes:")}
    return next((axes for axes, words in AXES_IN_WORDS.items() if words in told), None)


def write_splat(path: AnyPath, gaussians: Gaussians, axes: Axes, comments: Sequence[str] = (), *,
                file_axes: Axes | None = None, formats: Sequence[SplatFormat] = FORMATS) -> SplatFormat:
    """Write a splat in the format that the file name asks for, in that format's axes.

    Args:
        path: of the file.
        gaussians: in ``axes``; units are written as they are.
        axes: that the Gaussians have: ``"opencv"`` as trained, ``"blender"`` for Blender's world.
        comments: facts for formats that keep them; one about the axes is added.
        file_axes: for the file, where they shall differ from the format's convention.
        formats: to choose from.

    Returns:
        The format; its ``losses`` say what the file does not keep.

    Raises:
        InputError: unknown extension, or a format that cannot be written.
        InternGSError: the target cannot be written.
    """
    splat_format = format_of(path, formats)
    if splat_format.write is None:
        raise InputError("splat-format", f"{splat_format.label} cannot be written.",
                         f"Use one of: {', '.join(f.extensions[0] for f in formats if f.write)}.")
    target_axes = file_axes or splat_format.axes
    facts = [line for line in comments if not line.startswith("axes:")]
    splat_format.write(path, convert_axes(gaussians, target_axes, axes),
                       [*facts, f"axes: {AXES_IN_WORDS[target_axes]}"])
    return splat_format
