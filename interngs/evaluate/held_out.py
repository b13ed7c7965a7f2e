# SPDX-License-Identifier: GPL-3.0-or-later
"""How a splat looks from photographs it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..render.view import Picture, ViewRenderer
from ..scene.capture import Capture, View
from ..scene.gaussians import Gaussians
from .lpips import Lpips
from .metrics import psnr, psnr_colour_fit, ssim


@dataclass(frozen=True, eq=False)
class HeldOutView:
    """One held-out photograph, the splat's picture of it and how they compare."""

    view: View
    picture: Picture
    metrics: dict[str, float]


def measure(gaussians: Gaussians, held_out: Capture, device: torch.device, lpips: Lpips | None = None,
            ) -> list[HeldOutView]:
    """Render every view of ``held_out`` and compare by PSNR (dB; raw and after a colour fit), SSIM and LPIPS.

    Masks restrict the comparison to where they are set.
    """
    renderer = ViewRenderer(gaussians, device)
    results = []
    for view in held_out.views:
        picture = renderer.render(view.posed_camera)
        metrics = {"psnr": psnr(picture.rgb, view.image, view.mask),
                   "psnr_colour_fit": psnr_colour_fit(picture.rgb, view.image, view.mask),
                   "ssim": ssim(picture.rgb, view.image, view.mask)}
        if lpips is not None:
            metrics["lpips_squeezenet"] = lpips(picture.rgb, view.image, view.mask)
        results.append(HeldOutView(view, picture, metrics))
    return results


def mean_metrics(results: list[HeldOutView]) -> dict[str, Any]:
    """Means over the views, and each view's own numbers under ``held_out``."""
    names = results[0].metrics.keys()
    means: dict[str, Any] = {name: round(float(np.mean([r.metrics[name] for r in results])), 4) for name in names}
    means["held_out"] = {r.view.name: {name: round(value, 4) for name, value in r.metrics.items()} for r in results}
    return means
