# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs render``: pictures of a splat from a capture's cameras."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import tyro
from PIL import Image
from rich.console import Console

from ..errors import InputError
from ..formats.detect import find_capture
from ..formats.registry import read_splat
from ..images.load import load_capture
from ..render.device import choose_device
from ..render.view import ViewRenderer
from ..storage import atomic_write
from .options import OutputFolder, SplatPath, parse
from .reconstruct import checked_indices


@dataclass(frozen=True)
class Render:
    """Render a splat from the cameras of a capture: one PNG per view, and its depth as 32-bit TIFF."""

    splat: SplatPath
    """The splat file."""
    capture: Path
    """The capture whose cameras are used."""
    output: OutputFolder
    """Where the pictures go."""
    views: tuple[int, ...] = ()
    """Only these views, by number from 0 (default: all)."""
    max_side_px: int | None = None
    """Long side of the pictures (default: as the photographs)."""
    depth: bool = False
    """Also write z-depth in world units."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and render."""
    options = parse(Render(tyro.MISSING, tyro.MISSING, tyro.MISSING), arguments, "render")
    files = find_capture(options.capture)
    chosen = checked_indices(options.views, len(files.views)) or list(range(len(files.views)))
    capture = load_capture(files, chosen, options.max_side_px)
    device, reason = choose_device(options.device)
    renderer = ViewRenderer(read_splat(options.splat, "opencv").gaussians, device)
    Console(stderr=True).print(f"Rendering {len(capture.views)} views with {reason}.")
    for index, view in zip(chosen, capture.views, strict=True):
        if view.camera is None:
            raise InputError("pose-missing", f"View {view.name!r} has no camera pose.", "Give a capture with poses.")
        picture = renderer.render(view.camera)
        stem = f"{index:04d}_{PurePath(view.name).stem}"
        _save(options.output / f"{stem}.png", Image.fromarray(np.round(picture.rgb * 255).astype(np.uint8)), "PNG")
        if options.depth:
            _save(options.output / f"{stem}_depth.tiff", Image.fromarray(picture.depth), "TIFF")


def _save(path: Path, image: Image.Image, file_format: str) -> None:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    atomic_write(path, buffer.getvalue())
