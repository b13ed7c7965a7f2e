# SPDX-License-Identifier: GPL-3.0-or-later
"""What is prepared before the first step: seeds and pseudo views; and as one file, for several ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.seeding import Seeds
from ..scene.cameras import Camera
from ..storage import atomic_write
from .pseudo_views import PseudoView

_SEEDS = ("positions", "colours", "confidence", "footprint")
_VIEW = ("image", "weight", "depth", "gaps")


@dataclass(frozen=True, eq=False)
class Prepared:
    """The start of an optimisation.

    Attributes:
        seeds: first points.
        pseudo: views nobody took, from near to far; pretrained models look at these.
        beyond: the photographs' own cameras with wider frames (see ``beyond_frames``).
    """

    seeds: Seeds
    pseudo: list[PseudoView]
    beyond: list[PseudoView]

    @property
    def unseen(self) -> list[PseudoView]:
        """All views nobody took; the numbers of ``pseudo`` stay."""
        return [*self.pseudo, *self.beyond]


def save_prepared(path: Path, prepared: Prepared) -> None:
    """Write seeds and views, whole or not at all."""
    arrays: dict[str, Any] = {name: getattr(prepared.seeds, name) for name in _SEEDS}
    arrays["pseudo"] = np.array(len(prepared.pseudo))
    for number, view in enumerate(prepared.unseen):
        arrays |= {f"{name}_{number}": getattr(view, name) for name in _VIEW}
        arrays |= {f"K_{number}": view.camera.K, f"pose_{number}": view.camera.camera_from_world}
    atomic_write(path, lambda file: np.savez(file, **arrays))


def load_prepared(path: Path) -> Prepared:
    """Read what ``save_prepared`` wrote in this run."""
    with np.load(path, allow_pickle=False) as arrays:
        positions, colours, confidence, footprint = (arrays[name] for name in _SEEDS)
        seeds = Seeds(positions, colours, confidence, footprint, {"before": len(positions), "kept": len(positions)})
        unseen: list[PseudoView] = []
        while f"K_{len(unseen)}" in arrays:
            image, weight, depth, gaps = (arrays[f"{name}_{len(unseen)}"] for name in _VIEW)
            camera = Camera(arrays[f"K_{len(unseen)}"], arrays[f"pose_{len(unseen)}"], image.shape[1], image.shape[0])
            unseen.append(PseudoView(camera, image, weight, depth, gaps))
        count = int(arrays["pseudo"])
    return Prepared(seeds, unseen[:count], unseen[count:])
