# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pixels of a repaired render may teach: those that photographs confirm, and those that none shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .pseudo_views import FILL_TRUST, PseudoView

BLUR_PX = 2.0
"""Colours are compared after this blur: redrawn detail is what a repair is for, a changed surface is not."""
COLOUR_TOLERANCE = 0.08
"""Mean colour difference from the warped photographs at which a pixel has lost 2/3 of its say."""
WORSE_BY = 0.02
"""A pixel that moves away from the photographs by more than this is refused."""
DEPTH_TOLERANCE = 0.05
"""Relative difference between rendered depth and the geometry's under which both show the same surface."""
UNSEEN_SAY = 0.5
"""Say of a pixel that no photograph shows, beside 1 for a confirmed one."""
LAYOUT_TOLERANCE = 0.15
"""Blurred colour change past which an unseen pixel was not repaired but replaced."""
SOLID = 0.5
"""Alpha from which a render shows something."""


def admitted(repaired: NDArray[np.float32], render: NDArray[np.float32], depth: NDArray[np.float32],
             alpha: NDArray[np.float32], view: PseudoView) -> NDArray[np.float32]:
    """[H, W] 0..1, how far each pixel of a repaired render is admitted as a target.

    Where photographs show the pixel, it must lie on the geometry's depth, have about the colour of the
    warped photographs, and be no farther from them than the render was.  Where none shows it, the repair
    may redraw what is rendered there but not replace it.

    Args:
        repaired, render: [H, W, 3] sRGB in 0..1, after and before the repair.
        depth, alpha: [H, W] of the render.
        view: the pseudo view with the photographs warped into it.
    """
    seen = (view.weight > FILL_TRUST) & (view.depth > 0)
    solid = alpha > SOLID
    on_surface = np.abs(depth - view.depth) < DEPTH_TOLERANCE * np.maximum(view.depth, 1e-12)
    after, before = (_distance(picture, view.image, seen) for picture in (repaired, render))
    confirmed = np.exp(-((after / COLOUR_TOLERANCE) ** 2)) * (after <= before + WORSE_BY) * on_surface
    everywhere = np.ones(seen.shape, bool)
    kept = _distance(repaired, render, everywhere) < LAYOUT_TOLERANCE
    return np.where(solid, np.where(seen, confirmed, UNSEEN_SAY * kept), 0.0).astype(np.float32)


def _distance(a: NDArray[np.float32], b: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean colour difference [H, W] of two pictures, each blurred over the valid pixels alone."""
    weight = valid.astype(np.float32)
    around = np.maximum(cv2.GaussianBlur(weight, (0, 0), BLUR_PX), 1e-6)[..., None]
    difference = cv2.GaussianBlur((a - b) * weight[..., None], (0, 0), BLUR_PX) / around
    return np.abs(difference).mean(axis=-1).astype(np.float32)
