# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts a splat file into another format, for the command ``interngs convert``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..formats.registry import FORMATS, SplatFormat, format_of, read_splat, sniff, write_splat
from ..formats.spz import SpzVersion, write_spz
from ..scene.axes import Axes
from ..scene.cameras import Camera
from ..scene.clean import CleanSettings, clean
from .sog import read_sog, write_sog
from .usd_crate import read_usd, write_usd

ALL_FORMATS: tuple[SplatFormat, ...] = (
    *FORMATS,
    SplatFormat("sog", "SOG (PlayCanvas)", (".sog",), "opencv", 3,
                "positions 16 bits, all else 8 bits, SH from a shared palette", read_sog, write_sog),
    SplatFormat("usd", "binary USD (ParticleField3DGaussianSplat)", (".usdc", ".usd", ".usdz"), "opengl", 4, "",
                read_usd, write_usd),
)
"""Light formats and those that need Pillow or usd-core."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion did; ``lines`` says it to people."""

    source: SplatFormat
    target: SplatFormat
    read: int
    written: int
    source_bytes: int
    target_bytes: int
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """One line each: formats and counts, sizes, then repairs, removals and losses."""
        return (f"{self.source.label} to {self.target.label}: {self.written} of {self.read} Gaussians",
                f"{self.source_bytes / 1e6:.2f} MB to {self.target_bytes / 1e6:.2f} MB", *self.notes)


def convert(source: Path, target: Path, *, source_axes: Axes | None = None, target_axes: Axes | None = None,
            max_sh_degree: int | None = None, spz_version: SpzVersion = 3, clean_settings: CleanSettings | None = None,
            cameras: Sequence[Camera] = ()) -> Conversion:
    """Read ``source``, change axes (and clean, and cut SH, if asked), write ``target`` by its extension.

    Args:
        source, target: files; the same file twice is refused.
        source_axes, target_axes: where a file's axes differ from its format's convention (``SplatFormat.axes``).
        max_sh_degree: cut spherical harmonics to this degree.
        spz_version: for .spz targets.
        clean_settings: filters to run before writing; box and sphere are in the axes of the source file.
        cameras: for the filters that want them.

    Raises:
        InputError: bad files or settings.
        InternGSError: the target cannot be written.
    """
    source, target = Path(source), Path(target)
    formats = [f if f.name != "spz" else SplatFormat(f.name, f.label, f.extensions, f.axes, f.sh_degree, f.loss, f.read,
                                                    partial(write_spz, version=spz_version)) for f in ALL_FORMATS]
    target_format = format_of(target, formats)
    if target_format.write is None:
        raise InputError("splat-format", f"{target_format.label} cannot be written.",
                         f"Use one of: {', '.join(f.extensions[0] for f in formats if f.write)}.")
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError("convert-same-file", f"{source} would be replaced by its own conversion.",
                         "Give the result another name.")
    if max_sh_degree is not None and not 0 <= max_sh_degree <= 4:
        raise InputError("convert-sh-degree", f"A spherical-harmonic degree of {max_sh_degree} does not exist.",
                         "Give a degree from 0 to 4.")
    splat = read_splat(source, file_axes=source_axes, formats=formats)
    gaussians, notes, facts = splat.gaussians, list(splat.warnings), list(splat.comments)
    if clean_settings is not None:
        result = clean(gaussians, clean_settings, cameras)
        gaussians = result.gaussians
        removals = [entry.line for entry in result.report if entry.removed]
        notes += removals
        facts += [f"cleaned: {line}" for line in removals]
    if max_sh_degree is not None and gaussians.sh_degree > max_sh_degree:
        notes.append(f"Spherical harmonics cut from degree {gaussians.sh_degree} to {max_sh_degree}.")
        gaussians = gaussians.with_sh_degree(max_sh_degree)
    notes += [f"Not kept: {loss}." for loss in target_format.losses(gaussians)]
    if splat.axes is None:
        raise ValueError("read_splat leaves no axes open")
    write_splat(target, gaussians, splat.axes, facts, file_axes=target_axes, formats=formats)
    return Conversion(sniff(source, formats), target_format, len(splat.gaussians), len(gaussians),
                      source.stat().st_size, target.stat().st_size, tuple(notes))
