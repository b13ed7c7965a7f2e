# SPDX-License-Identifier: GPL-3.0-or-later
"""Do the views' depth maps agree?  Every pixel is carried into the other views and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from .neighbours import witnesses_of_depths

MAX_REPROJECTION_ERROR_PX = 2.0


@dataclass(frozen=True, eq=False)
class CrossViewCheck:
    """What the other views say about each pixel of one view.

    Attributes:
        confirmations: [H, W] int16, views whose depth brings the pixel back within the allowed error.
        contradictions: [H, W] int16, views that see past the pixel's point: it stands in free space.
        error_px: [H, W] float32, the smallest error over the views that see it; NaN where none does.
    """

    confirmations: NDArray[np.int16]
    contradictions: NDArray[np.int16]
    error_px: NDArray[np.float32]

    @property
    def refuted(self) -> NDArray[np.bool_]:
        """[H, W] contradicted by a view and confirmed by none."""
        return (self.contradictions > 0) & (self.confirmations == 0)

    @property
    def confirmed_share(self) -> float:
        """Share of the pixels with an opinion (confirmed or contradicted) that are confirmed; 0 without any."""
        judged = (self.confirmations > 0) | (self.contradictions > 0)
        return float((self.confirmations > 0)[judged].mean()) if judged.any() else 0.0


def check_views(
    cameras: Sequence[Camera],
    depths: Sequence[NDArray[np.floating]],
    max_error_px: float = MAX_REPROJECTION_ERROR_PX,
) -> list[CrossViewCheck]:
    """Check every view against every other (in a large capture against those that see most of the same).

    A pixel's point is projected into another view; the point of the pixel met there is projected back.
    When it returns within ``max_error_px`` the other view confirms.  When it does not and the point lies
    before the other view's surface, that view contradicts.  Behind the surface it may be hidden, which
    says nothing.

    Args:
        cameras: sized to their depth maps.
        depths: per view [H, W] z-depth; 0 where unknown.
    """
    others = witnesses_of_depths(cameras, depths)
    checks = []
    for view, (camera, depth) in enumerate(zip(cameras, depths, strict=True)):
        known = np.flatnonzero(np.asarray(depth) > 0)
        points = camera.unproject(depth).reshape(-1, 3)[known]
        confirmations = np.zeros(depth.size, dtype=np.int16)
        contradictions = np.zeros(depth.size, dtype=np.int16)
        smallest = np.full(depth.size, np.nan, dtype=np.float32)
        home = np.stack([known % camera.width_px, known // camera.width_px], axis=-1) + 0.5
        for other_camera, other_depth in [(cameras[other], depths[other]) for other in others[view]]:
            seen, z, met = _look_up(points, other_camera, other_depth)
            # The pixel met is the nearest one; its point is moved along the other view's ray to where
            # ours was seen, so that whole-pixel rounding is no error.
            returned, _ = camera.project(_point_on_ray(points[seen], z, met, other_camera))
            error = np.linalg.norm(returned - home[seen], axis=-1)
            agrees = error <= max_error_px
            confirmations[known[seen[agrees]]] += 1
            contradictions[known[seen[~agrees & (z < met)]]] += 1
            smallest[known[seen]] = np.fmin(smallest[known[seen]], error.astype(np.float32))
        shape = depth.shape
        checks.append(CrossViewCheck(
            confirmations.reshape(shape), contradictions.reshape(shape), smallest.reshape(shape)))
    return checks


def _look_up(
    points: NDArray[np.float64], camera: Camera, depth: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Indices of the points that land on a pixel of known depth, their own z there, and that depth."""
    pixels, z = camera.project(points)
    with np.errstate(invalid="ignore"):
        inside = (z > 0) & (pixels >= 0).all(axis=-1) & (pixels < [camera.width_px, camera.height_px]).all(axis=-1)
    seen = np.flatnonzero(inside)
    column, row = pixels[seen].astype(np.intp).T
    met = np.asarray(depth, dtype=np.float64)[row, column]
    hit = met > 0
    return seen[hit], z[seen[hit]], met[hit]


def _point_on_ray(
    points: NDArray[np.float64], z: NDArray[np.float64], new_z: NDArray[np.float64], camera: Camera
) -> NDArray[np.float64]:
    """Slide points [N, 3] along their rays from ``camera`` until their depth there is ``new_z``."""
    return camera.centre + (points - camera.centre) * (new_z / z)[:, None]
