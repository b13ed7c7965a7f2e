# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs convert``: a splat file into another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ..exchange.convert import convert
from .options import SplatPath, parse


@dataclass(frozen=True)
class Convert:
    """Convert a splat: .ply, .compressed.ply, .splat, .spz, .glb, .usda, .usdc, .sog; .ksplat can be read."""

    splat: SplatPath
    """The file to read."""
    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TARGET")]
    """The file to write; its extension says the format."""
    max_sh_degree: int | None = None
    """Cut spherical harmonics to this degree."""


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and convert; says what the target format cannot keep."""
    options = parse(Convert(tyro.MISSING, tyro.MISSING), arguments, "convert")
    done = convert(options.splat, options.target, max_sh_degree=options.max_sh_degree)
    for line in done.lines:
        Console(stderr=True).print(line, highlight=False)
