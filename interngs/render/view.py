# SPDX-License-Identifier: GPL-3.0-or-later
"""One picture of finished Gaussians, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..scene.cameras import Camera
from ..scene.gaussians import Gaussians
from .rasterize import rasterize


@dataclass(frozen=True, eq=False)
class Picture:
    """A rendered view.

    Attributes:
        rgb: [H, W, 3] float32 sRGB, composited over the background, clipped to 0..1.
        depth: [H, W] float32 expected z-depth in world units; 0 where nothing is hit.
        alpha: [H, W] float32 coverage 0..1.
    """

    rgb: NDArray[np.float32]
    depth: NDArray[np.float32]
    alpha: NDArray[np.float32]


class ViewRenderer:
    """Renders the same Gaussians from many cameras, uploading them once."""

    def __init__(self, gaussians: Gaussians, device: torch.device) -> None:
        self.device = device
        self.sh_degree = min(gaussians.sh_degree, 3)
        self._means, self._quats, self._scales, self._opacities, self._sh = (
            torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device) for array in
            (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh))

    @torch.no_grad()
    def render(self, camera: Camera, background: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Picture:
        """The picture that ``camera`` takes; ``background`` is sRGB."""
        K = torch.tensor(camera.K, dtype=torch.float32, device=self.device)[None]
        pose = torch.tensor(camera.camera_from_world, dtype=torch.float32, device=self.device)[None]
        colours, alphas, _ = rasterize(
            self._means, self._quats, self._scales, self._opacities, self._sh, pose, K, camera.width_px,
            camera.height_px, sh_degree=self.sh_degree, render_mode="RGB+ED")
        alpha = alphas[0, ..., 0]
        behind = torch.tensor(background, device=self.device)
        rgb = colours[0, ..., :3] + (1 - alpha[..., None]) * behind
        return Picture(rgb.clamp(0, 1).cpu().numpy(), colours[0, ..., 3].cpu().numpy(), alpha.cpu().numpy())
