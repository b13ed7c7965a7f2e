# SPDX-License-Identifier: GPL-3.0-or-later
"""Per-photograph exposure: a gain and an offset for each colour channel."""

from __future__ import annotations

import torch
from torch import Tensor

RATE = 2e-3


class Exposure:
    """Affine colour of each training photograph, relative to the mean photograph.

    Gains (as logarithms) and offsets are taken relative to their mean over the views, so the splat keeps
    the average exposure and cannot drift.
    """

    def __init__(self, views: int, device: torch.device) -> None:
        self.log_gain = torch.zeros(views, 3, device=device, requires_grad=True)
        self.offset = torch.zeros(views, 3, device=device, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.log_gain, self.offset], lr=RATE)

    def apply(self, image: Tensor, view: int) -> Tensor:
        """``image`` [H, W, 3] as photograph ``view`` would show it."""
        gain = torch.exp(self.log_gain[view] - self.log_gain.mean(dim=0))
        return image * gain + (self.offset[view] - self.offset.mean(dim=0))

    def step(self) -> None:
        """One optimiser step."""
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Tensors of a checkpoint."""
        tensors = {"exposure.log_gain": self.log_gain.detach(), "exposure.offset": self.offset.detach()}
        return tensors | adam_state(self.optimiser, "exposure")

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over the tensors of ``state()``."""
        with torch.no_grad():
            self.log_gain.copy_(tensors["exposure.log_gain"])
            self.offset.copy_(tensors["exposure.offset"])
        load_adam_state(self.optimiser, "exposure", tensors)


def adam_state(optimiser: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    """The Adam state of a small optimiser, flattened by parameter number."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    return {f"{name}.adam.{i}.{key}": value
            for i, parameter in enumerate(parameters) for key, value in optimiser.state[parameter].items()}


def load_adam_state(optimiser: torch.optim.Optimizer, name: str, tensors: dict[str, Tensor]) -> None:
    """The reverse of ``adam_state``."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        prefix = f"{name}.adam.{i}."
        moments = {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
        if moments:
            optimiser.state[parameter] = {
                key: value.clone() if key == "step" else value.to(parameter.device).clone()
                for key, value in moments.items()}
