# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs clean``: tidy a splat file by named filters."""

from __future__ import annotations

from dataclasses import dataclass

import tyro
from rich.console import Console

from ..formats.ply import read_ply, write_ply
from ..scene.clean import CleanSettings, clean
from .options import OutputFile, SplatPath, parse


@dataclass(frozen=True)
class Clean:
    """Remove floaters, needles and faint Gaussians from a splat (.ply); says what each filter took."""

    splat: SplatPath
    """The splat file."""
    output: OutputFile
    """The cleaned splat."""
    filters: tyro.conf.OmitArgPrefixes[CleanSettings]


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and clean."""
    options = parse(Clean(tyro.MISSING, tyro.MISSING, CleanSettings()), arguments, "clean")
    console = Console(stderr=True)
    splat = read_ply(options.splat)
    result = clean(splat.gaussians, options.filters)
    for entry in result.report:
        console.print(entry.line, highlight=False)
    facts = [f"cleaned: {entry.line}" for entry in result.report if entry.removed]
    write_ply(options.output, result.gaussians, comments=[*splat.comments, *facts])
    console.print(f"{options.output}: {len(result.gaussians)} of {len(splat.gaussians)} Gaussians")
