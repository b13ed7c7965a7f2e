# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges from the cameras alone, roughly, which views can see the same surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .cameras import Camera

MIN_SHARED = 0.05
"""Two views overlap when one sees at least this share of the other's picture at some depth."""
MAX_PARALLAX_DEGREES = 90.0
"""Rays that meet at a wider angle see different sides of a thing."""

_GRID = 9
_DEPTHS_PER_BASELINE = np.geomspace(0.5, 100.0, 24)


def shared_share(camera: Camera, other: Camera) -> float:
    """The share of ``camera``'s picture, in 0..1, that ``other`` can see too at the best depth.

    Points are set on a grid of rays of ``camera`` at depths of 0.5 to 100 times the distance between the two, and
    counted where they lie in ``other``'s frame, in front of it, with a parallax under ``MAX_PARALLAX_DEGREES``.  It
    says what could be shared, since nothing is known of the scene.
    """
    baseline = float(np.linalg.norm(camera.centre - other.centre))
    depths = _DEPTHS_PER_BASELINE * (baseline if baseline > 0 else 1.0)
    rays = _grid_rays(camera)
    flat = (camera.centre + rays * depths[:, None, None]).reshape(-1, 3)
    pixels, z = other.project(flat)
    along, from_other = np.tile(rays, (len(depths), 1)), flat - other.centre
    lengths = np.linalg.norm(along, axis=1) * np.linalg.norm(from_other, axis=1)
    near_enough = (along * from_other).sum(axis=1) > np.cos(np.radians(MAX_PARALLAX_DEGREES)) * lengths
    inside = (pixels >= 0).all(axis=1) & (pixels < (other.width_px, other.height_px)).all(axis=1)
    seen = (z > 0) & inside & near_enough
    return float(seen.reshape(len(depths), -1).mean(axis=1).max())


def views_alone(cameras: Sequence[Camera]) -> list[int]:
    """Indices of the views that overlap with no other one."""
    alone = set(range(len(cameras)))
    for i, camera in enumerate(cameras):
        for j in range(i + 1, len(cameras)):
            if (i in alone or j in alone) and max(shared_share(camera, cameras[j]),
                                                  shared_share(cameras[j], camera)) >= MIN_SHARED:
                alone -= {i, j}
    return sorted(alone)


def check_overlap(cameras: Sequence[Camera], names: Sequence[str] | None = None) -> None:
    """Refuse a set of cameras in which a view shares nothing with any other; a single camera passes.

    Args:
        cameras: of the training views.
        names: of the views, for the message; by default their numbers.

    Raises:
        InputError: names those views.
    """
    alone = views_alone(cameras)
    if not alone or len(cameras) < 2:
        return
    shown = [repr(names[index]) if names is not None else f"number {index}" for index in alone]
    cause = (f"None of the {len(cameras)} views shares a part of the scene with another one."
             if len(alone) == len(cameras) else
             f"{len(alone)} of {len(cameras)} views share no part of the scene with another one: {', '.join(shown[:8])}"
             f"{' ...' if len(shown) > 8 else ''}.")
    raise InputError("views-share-nothing", cause, "Leave these views out, add photos in between, or check that the "
                     "poses belong to these photos and point the right way.")


def _grid_rays(camera: Camera) -> NDArray[np.float64]:
    """[M, 3] world directions with camera depth 1 through a grid of pixels."""
    steps = (np.arange(_GRID) + 0.5) / _GRID
    u, v = np.meshgrid(steps * camera.width_px, steps * camera.height_px)
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
    directions: NDArray[np.float64] = pixels @ np.linalg.inv(camera.K).T @ camera.camera_from_world[:3, :3]
    return directions
