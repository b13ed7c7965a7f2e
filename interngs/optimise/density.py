# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Gaussians are added and removed: clones only, no splits and no opacity resets (Pi-GS; Binocular3DGS)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import OptimiseConfig
from .model import SplatModel

EVERY_STEPS = 100
"""Views between two changes."""


class DensityControl:
    """Gathers screen-space gradients and clones or prunes every hundred steps."""

    def __init__(self, config: OptimiseConfig, gaussians: int, device: torch.device, views_per_step: int = 1) -> None:
        self.config = config
        self._every_steps = max(1, EVERY_STEPS // views_per_step)
        self.gradient_sum = torch.zeros(gaussians, device=device)
        self.seen = torch.zeros(gaussians, device=device)

    @torch.no_grad()
    def observe(self, means2d_gradient: Tensor, radii: Tensor, width: int, height: int,
                gaussian_ids: Tensor | None = None) -> None:
        """Add the gradients [C, N, 2] (per pixel) of C rendered views; ``radii`` [C, N, 2] int32.

        Of packed renders both are [nnz, 2], and ``gaussian_ids`` [nnz] says whose they are.  As in 3DGS gradients are
        counted per half image, so the threshold does not depend on resolution.
        """
        gradient = torch.hypot(means2d_gradient[..., 0] * (width / 2), means2d_gradient[..., 1] * (height / 2))
        seen = radii[..., 0] > 0
        if gaussian_ids is not None:
            self.gradient_sum.index_add_(0, gaussian_ids, gradient)
            self.seen.index_add_(0, gaussian_ids, seen.float())
            return
        self.gradient_sum += gradient.sum(dim=0)
        self.seen += seen.sum(dim=0)

    def due(self, step: int) -> bool:
        """Whether ``change`` is to be called after this step."""
        return step > 0 and step % self._every_steps == 0

    @torch.no_grad()
    def change(self, model: SplatModel, step: int) -> None:
        """Clone where the image asks for more, then drop what has faded; forget what was gathered."""
        config = self.config
        growing = config.grow and config.grow_from * config.steps <= step < config.grow_until * config.steps
        if growing and len(model) < config.max_gaussians:
            wanted = self.gradient_sum / self.seen.clamp_min(1) > config.grow_gradient
            room = config.max_gaussians - len(model)
            if int(wanted.sum()) > room:
                threshold = torch.topk(self.gradient_sum / self.seen.clamp_min(1), room).values[-1]
                wanted &= self.gradient_sum / self.seen.clamp_min(1) >= threshold
            model.clone(wanted)
        alive = model.opacities > config.prune_opacity
        if not bool(alive.all()):
            model.keep(alive)
        self.forget(len(model))

    @torch.no_grad()
    def keep(self, mask: Tensor) -> None:
        """Go on with the Gaussians where ``mask`` [N] is true."""
        self.gradient_sum, self.seen = self.gradient_sum[mask], self.seen[mask]

    def forget(self, gaussians: int) -> None:
        """Start gathering anew for ``gaussians`` Gaussians."""
        device = self.gradient_sum.device
        self.gradient_sum = torch.zeros(gaussians, device=device)
        self.seen = torch.zeros(gaussians, device=device)

    def state(self) -> dict[str, Tensor]:
        """Tensors of a checkpoint."""
        return {"density.gradient_sum": self.gradient_sum, "density.seen": self.seen}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over the tensors of ``state()``."""
        device = self.gradient_sum.device
        self.gradient_sum = tensors["density.gradient_sum"].to(device).clone()
        self.seen = tensors["density.seen"].to(device).clone()
