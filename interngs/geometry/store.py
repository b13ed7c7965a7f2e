# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's geometry on disk, so that a resumed run starts from the very same depth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InternGSError
from ..images.pixel_file import PixelFile
from ..scene.cameras import Camera
from ..storage import atomic_write
from .prior import Geometry, ViewGeometry


def save_geometry(path: Path, geometry: Geometry) -> None:
    """Write ``geometry`` to an .npz file, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    for index, view in enumerate(geometry.views):
        arrays[f"depth_{index}"] = view.depth
        arrays[f"confidence_{index}"] = view.confidence
        arrays[f"K_{index}"] = view.camera.K
        arrays[f"pose_{index}"] = view.camera.camera_from_world
    facts = {"views": len(geometry.views), "method": geometry.method, "report": geometry.report,
             "warnings": list(geometry.warnings)}
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    atomic_write(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def keep_geometry(geometry: Geometry, pixels: PixelFile) -> Geometry:
    """The same geometry with its maps kept by ``pixels``."""
    return replace(geometry, views=tuple(_kept(view, pixels) for view in geometry.views))


def _kept(view: ViewGeometry, pixels: PixelFile) -> ViewGeometry:
    return replace(view, depth=pixels.keep(view.depth), confidence=pixels.keep(view.confidence))


def load_geometry(path: Path, pixels: PixelFile | None = None) -> Geometry:
    """Read what ``save_geometry`` wrote; ``pixels`` keeps large maps out of memory.

    Raises:
        InternGSError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            views = []
            for index in range(facts["views"]):
                depth = arrays[f"depth_{index}"]
                camera = Camera(arrays[f"K_{index}"], arrays[f"pose_{index}"], depth.shape[1], depth.shape[0])
                view = ViewGeometry(camera, depth, arrays[f"confidence_{index}"])
                views.append(view if pixels is None else _kept(view, pixels))
    except (OSError, ValueError, KeyError) as error:
        raise InternGSError("geometry-unreadable", f"The stored geometry {path} cannot be read ({error}).",
                            "Start the reconstruction anew without --resume.") from error
    return Geometry(tuple(views), facts["method"], facts["report"], tuple(facts["warnings"]))
