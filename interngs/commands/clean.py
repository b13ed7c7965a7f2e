# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs clean``: tidy a splat file by named filters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console

from ..exchange.convert import ALL_FORMATS
from ..formats.detect import find_capture
from ..formats.registry import format_of, read_splat, write_splat
from ..scene.axes import Axes, axes_rotation
from ..scene.cameras import Camera
from ..scene.clean import CleanSettings, clean
from .options import OutputFile, SplatPath, parse


@dataclass(frozen=True)
class Clean:
    """Remove floaters, needles and faint Gaussians from a splat of any format; says what each filter took."""

    splat: SplatPath
    """The splat file."""
    output: OutputFile
    """The cleaned splat; its extension says the format."""
    filters: tyro.conf.OmitArgPrefixes[CleanSettings]
    cameras: Path | None = None
    """A capture (folder or pose file) whose cameras the splat was made from, for the filters that need them."""


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and clean."""
    options = parse(Clean(tyro.MISSING, tyro.MISSING, CleanSettings()), arguments, "clean")
    console = Console(stderr=True)
    target_format = format_of(options.output, ALL_FORMATS)
    splat = read_splat(options.splat, formats=ALL_FORMATS)
    if splat.axes is None:
        raise ValueError("read_splat leaves no axes open")
    cameras = cameras_in_axes(options.cameras, splat.axes) if options.cameras is not None else []
    result = clean(splat.gaussians, options.filters, cameras)
    for line in [*splat.warnings, *(entry.line for entry in result.report)]:
        console.print(line, highlight=False)
    facts = [f"cleaned: {entry.line}" for entry in result.report if entry.removed]
    write_splat(options.output, result.gaussians, splat.axes, [*splat.comments, *facts], formats=ALL_FORMATS)
    for loss in target_format.losses(result.gaussians):
        console.print(f"Not kept: {loss}.", highlight=False)
    console.print(f"{options.output}: {len(result.gaussians)} of {len(splat.gaussians)} Gaussians")


def cameras_in_axes(capture: Path, axes: Axes) -> list[Camera]:
    """The posed cameras of a capture, in a world written in ``axes`` (poses are in that of the PLY, ``opencv``)."""
    turn = np.eye(4)
    turn[:3, :3] = axes_rotation("opencv", axes)
    return [replace(view.camera, camera_from_world=view.camera.camera_from_world @ turn)
            for view in find_capture(capture).views if view.camera is not None]
