# SPDX-License-Identifier: GPL-3.0-or-later
"""Pseudo views with a frame wider than the photographs': what lies just beyond them, continued from their edges."""

from __future__ import annotations

import numpy as np

from ..geometry.prior import Geometry
from ..scene.cameras import Camera
from ..scene.capture import Capture
from ..stopping import StopCheck, never
from .pseudo_views import PseudoView, warp_into

MARGIN = 0.5
"""How far the frame is widened on every side, as a share of its size."""
SCALE = 0.25
"""Resolution of a widened view: what is continued is smooth, and every eighth pixel becomes a seed."""


def widened(camera: Camera) -> Camera:
    """The camera with ``MARGIN`` more on every side, at ``SCALE`` of the resolution."""
    width, height = (max(round(size * (1 + 2 * MARGIN) * SCALE), 1) for size in (camera.width_px, camera.height_px))
    K = camera.K.copy()
    K[0, 2] += MARGIN * camera.width_px
    K[1, 2] += MARGIN * camera.height_px
    K[0] *= width / (camera.width_px * (1 + 2 * MARGIN))
    K[1] *= height / (camera.height_px * (1 + 2 * MARGIN))
    return Camera(K, camera.camera_from_world, width, height)


def prepare_views_beyond_frames(capture: Capture, geometry: Geometry, most: int, check: StopCheck = never,
                                ) -> list[PseudoView]:
    """Widened views of up to ``most`` photographs, evenly chosen from those with depth.

    Raises:
        Stopped: ``check``, which is called before every view, says so.
    """
    cameras = [view.camera for view in geometry.views if (view.depth > 0).any()]
    chosen = sorted({round(number) for number in np.linspace(0, len(cameras) - 1, min(most, len(cameras)))})
    return warp_into(capture, geometry, [widened(cameras[number]) for number in chosen], check)
