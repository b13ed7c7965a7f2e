# SPDX-License-Identifier: GPL-3.0-or-later
"""What the first of several ranks prepares for the others, as one file: seeds and pseudo views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.seeding import Seeds
from ..scene.cameras import Camera
from ..storage import atomic_write
from .pseudo_views import PseudoView

_SEEDS = ("positions", "colours", "confidence", "footprint")
_VIEW = ("image", "weight", "depth", "gaps")


def save_prepared(path: Path, seeds: Seeds, pseudo: list[PseudoView]) -> None:
    """Write seeds and pseudo views, whole or not at all."""
    arrays: dict[str, Any] = {name: getattr(seeds, name) for name in _SEEDS}
    for number, view in enumerate(pseudo):
        arrays |= {f"{name}_{number}": getattr(view, name) for name in _VIEW}
        arrays |= {f"K_{number}": view.camera.K, f"pose_{number}": view.camera.camera_from_world}
    atomic_write(path, lambda file: np.savez(file, **arrays))


def load_prepared(path: Path) -> tuple[Seeds, list[PseudoView]]:
    """Read what ``save_prepared`` wrote in this run."""
    with np.load(path, allow_pickle=False) as arrays:
        positions, colours, confidence, footprint = (arrays[name] for name in _SEEDS)
        seeds = Seeds(positions, colours, confidence, footprint, {"before": len(positions), "kept": len(positions)})
        pseudo: list[PseudoView] = []
        while f"K_{len(pseudo)}" in arrays:
            image, weight, depth, gaps = (arrays[f"{name}_{len(pseudo)}"] for name in _VIEW)
            camera = Camera(arrays[f"K_{len(pseudo)}"], arrays[f"pose_{len(pseudo)}"], image.shape[1], image.shape[0])
            pseudo.append(PseudoView(camera, image, weight, depth, gaps))
    return seeds, pseudo
