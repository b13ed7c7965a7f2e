# SPDX-License-Identifier: GPL-3.0-or-later
"""Small corrections of the training cameras, optimised together with the Gaussians (as in InstantSplat)."""

from __future__ import annotations

import torch
from torch import Tensor

from .exposure import adam_state, load_adam_state

WARM_UP = 0.1
"""Share of the run in which the cameras stay where they are."""


class PoseRefinement:
    """A rotation vector (radians) and a translation (scene scales) per view; the first view stays fixed.

    The corrected pose is ``correction @ camera_from_world``, the correction acting in the camera frame.
    """

    def __init__(self, camera_from_world: Tensor, scene_scale: float, rate: float) -> None:
        """``camera_from_world`` [V, 4, 4]; ``scene_scale`` in world units."""
        self.start = camera_from_world
        self.scene_scale = scene_scale
        self.rate = rate
        self.turn = torch.zeros(len(camera_from_world), 6, device=camera_from_world.device, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.turn], lr=rate)

    def camera_from_world(self, view: int) -> Tensor:
        """[4, 4] corrected pose, differentiable."""
        if view == 0:
            return self.start[0]
        rotation = torch.linalg.matrix_exp(_cross_matrix(self.turn[view, :3]))
        translation = (self.turn[view, 3:] * self.scene_scale)[:, None]
        top = torch.cat([rotation, translation], dim=1)
        bottom = torch.tensor([[0.0, 0.0, 0.0, 1.0]], device=top.device)
        return torch.cat([top, bottom]) @ self.start[view]

    def step(self, progress: float) -> None:
        """One step; the rate falls exponentially to a hundredth over the run (0..1).

        Nothing moves in the first tenth: faint Gaussians do not yet say where a camera stands.
        """
        if progress < WARM_UP:
            self.optimiser.zero_grad(set_to_none=True)
            return
        self.optimiser.param_groups[0]["lr"] = self.rate * 0.01**progress
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Tensors of a checkpoint."""
        return {"poses.turn": self.turn.detach()} | adam_state(self.optimiser, "poses")

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over the tensors of ``state()``."""
        with torch.no_grad():
            self.turn.copy_(tensors["poses.turn"])
        load_adam_state(self.optimiser, "poses", tensors)


def _cross_matrix(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind()
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
