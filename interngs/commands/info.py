# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs info``: what a capture or a splat file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..exchange.convert import ALL_FORMATS
from ..formats.detect import find_capture
from ..formats.registry import read_splat, sniff
from ..scene.capture import CaptureFiles
from ..scene.gaussians import Gaussians
from .options import parse

SPLAT_ENDINGS = tuple(ending for known in ALL_FORMATS for ending in known.extensions)


@dataclass(frozen=True)
class Info:
    """Say what a capture (folder or pose file) or a splat file holds."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]
    """The capture or splat."""


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and print."""
    path = parse(Info(tyro.MISSING), arguments, "info").path
    console = Console()
    if not path.exists():
        raise InputError("no-such-path", f"{path} does not exist.", "Check the path.")
    if path.is_file() and path.name.lower().endswith(SPLAT_ENDINGS):
        splat = read_splat(path, formats=ALL_FORMATS)
        console.print(f"{sniff(path, ALL_FORMATS).label}, {path.stat().st_size / 1e6:.2f} MB", highlight=False)
        console.print(splat_table(splat.gaussians))
        for line in [*splat.comments, *splat.warnings]:
            console.print(line, highlight=False)
    else:
        console.print(capture_table(find_capture(path)))


def splat_table(gaussians: Gaussians) -> Table:
    """Count, SH degree, bounds and typical size of a splat."""
    table = Table("", "", show_header=False)
    table.add_row("Gaussians", f"{len(gaussians):,}")
    table.add_row("SH degree", str(gaussians.sh_degree))
    if len(gaussians):
        low, high = np.percentile(gaussians.means, [1, 99], axis=0)
        table.add_row("bounds (1-99 %)", "  ".join(f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True)))
        table.add_row("median size", f"{np.median(gaussians.scales):.3g}")
        table.add_row("median opacity", f"{np.median(gaussians.opacities):.2f}")
    return table


def capture_table(files: CaptureFiles) -> Table:
    """One row per view: size, focal length, lens model, pose and mask."""
    table = Table("", "view", "pixels", "focal px", "lens", "pose", "mask", title=files.source)
    for index, view in enumerate(files.views):
        camera = view.camera
        size = "" if camera is None else f"{camera.width_px}x{camera.height_px}"
        focal = "" if camera is None else f"{camera.K[0, 0]:.1f}, {camera.K[1, 1]:.1f}"
        table.add_row(str(index), view.name, size, focal, view.distortion.model, "no" if camera is None else "yes",
                      "yes" if view.mask_path else "no")
    return table
