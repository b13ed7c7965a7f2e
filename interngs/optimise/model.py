# SPDX-License-Identifier: GPL-3.0-or-later
"""The Gaussians being optimised: parameters, their learning rates, and growing and pruning both together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..config import OptimiseConfig
from ..geometry.seeding import Seeds
from ..scene.gaussians import Gaussians

ADAM_EPS = 1e-15
"""As in 3DGS: gradients of single Gaussians are tiny."""
ADAM_BETAS = (0.9, 0.99)
"""3DGS has 0.999, which remembers the first, large gradients for a thousand steps: longer than a short run lasts."""

NAMES = ("offsets", "quats", "log_scales", "opacity_logits", "sh0", "sh_rest")


@dataclass(frozen=True)
class Activated:
    """What the renderer takes: [N, 3] means, [N, 4] quats, [N, 3] scales, [N] opacities, [N, K, 3] sh."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor


class SplatModel:
    """Parameters of N Gaussians with their Adam state.

    Positions are ``anchors + reach * offsets``: the optimiser sees ``offsets`` in units of ``reach``, the
    pixel footprint of each seed times its doubt factor, so one learning rate serves scenes of any scale
    and weak points move freely while sure ones stay.
    """

    def __init__(self, gaussians: Gaussians, reach: np.ndarray, config: OptimiseConfig, device: torch.device) -> None:
        """``gaussians`` to start from; ``reach`` [N] float32 world units of one unit of offset."""
        self.config = config
        self.device = device
        self.anchors = torch.tensor(gaussians.means, device=device)
        self.reach = torch.tensor(reach, device=device)
        start = {
            "offsets": torch.zeros_like(self.anchors),
            "quats": torch.tensor(gaussians.quats, device=device),
            "log_scales": torch.tensor(gaussians.log_scales, device=device),
            "opacity_logits": torch.tensor(gaussians.opacity_logits, device=device),
            "sh0": torch.tensor(gaussians.sh[:, :1], device=device),
            "sh_rest": torch.tensor(gaussians.sh[:, 1:], device=device),
        }
        self.parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
        self._rates = {
            "offsets": config.mean_rate, "quats": config.quat_rate, "log_scales": config.scale_rate,
            "opacity_logits": config.opacity_rate, "sh0": config.colour_rate, "sh_rest": config.colour_rate / 20,
        }
        self.optimiser = torch.optim.Adam(
            [{"params": [self.parameters[name]], "lr": self._rates[name], "name": name} for name in NAMES],
            betas=ADAM_BETAS, eps=ADAM_EPS, fused=True)

    def __len__(self) -> int:
        return len(self.anchors)

    def scale_rates(self, factor: float) -> None:
        """Multiply the learning rates that ``step`` schedules."""
        self._rates = {name: factor * rate for name, rate in self._rates.items()}

    @property
    def means(self) -> Tensor:
        """[N, 3] world positions."""
        return self.anchors + self.reach[:, None] * self.parameters["offsets"]

    @property
    def opacities(self) -> Tensor:
        """[N] opacity in 0..1."""
        return torch.sigmoid(self.parameters["opacity_logits"])

    def activated(self) -> Activated:
        """Differentiable render inputs."""
        p = self.parameters
        sh = torch.cat([p["sh0"], p["sh_rest"]], dim=1) if p["sh_rest"].shape[1] else p["sh0"]
        return Activated(self.means, p["quats"], torch.exp(p["log_scales"]), self.opacities, sh)

    def step(self, progress: float) -> None:
        """One Adam step; position and size rates fall exponentially to a hundredth and a tenth over the run (0..1)."""
        for group in self.optimiser.param_groups:
            if group["name"] == "offsets":
                group["lr"] = self._rates["offsets"] * 0.01**progress
            elif group["name"] == "log_scales":
                group["lr"] = self._rates["log_scales"] * 0.1**progress
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def decay_opacity(self, factor: float) -> None:
        """Multiply every opacity by ``factor`` (Binocular3DGS: decay in place of resets)."""
        opacity = self.opacities * factor
        self.parameters["opacity_logits"].copy_(torch.logit(opacity.clamp(1e-6, 1 - 1e-6)))

    @torch.no_grad()
    def keep(self, mask: Tensor) -> None:
        """Drop all Gaussians where ``mask`` [N] is false, and their Adam state."""
        self.anchors, self.reach = self.anchors[mask], self.reach[mask]
        self._replace({name: value[mask] for name, value in self.parameters.items()},
                      lambda moment: moment[mask])

    @torch.no_grad()
    def clone(self, mask: Tensor) -> None:
        """Add a twin of every Gaussian where ``mask`` [N] is true.

        Both twins get the opacity 1 - sqrt(1 - o), so that the pair covers what the one did; the
        twin's Adam moments start at zero.
        """
        opacity = self.opacities[mask]
        halved = torch.logit((1 - torch.sqrt(1 - opacity)).clamp(1e-6, 1 - 1e-6))
        self.parameters["opacity_logits"][mask] = halved
        self.anchors = torch.cat([self.anchors, self.anchors[mask]])
        self.reach = torch.cat([self.reach, self.reach[mask]])
        twins = {name: torch.cat([value, value[mask]]) for name, value in self.parameters.items()}
        self._replace(twins, lambda moment: torch.cat([moment, torch.zeros_like(moment[mask])]))

    def to_gaussians(self) -> Gaussians:
        """A numpy copy with unit quaternions."""
        with torch.no_grad():
            active = self.activated()
            quats = torch.nn.functional.normalize(active.quats, dim=1)
            arrays = (active.means, quats, self.parameters["log_scales"], self.parameters["opacity_logits"], active.sh)
            return Gaussians(*(array.detach().cpu().float().numpy().copy() for array in arrays))

    def state(self) -> dict[str, Tensor]:
        """Everything a resumed run needs, by name."""
        tensors = {"anchors": self.anchors, "reach": self.reach}
        for name, parameter in self.parameters.items():
            tensors[name] = parameter.detach()
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"adam.{name}.{key}"] = value
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over the tensors of ``state()``."""
        self.anchors = tensors["anchors"].to(self.device)
        self.reach = tensors["reach"].to(self.device)
        for group in self.optimiser.param_groups:
            name = group["name"]
            parameter = tensors[name].to(self.device).clone().requires_grad_()
            self.optimiser.state.pop(self.parameters[name], None)
            self.parameters[name] = parameter
            group["params"] = [parameter]
            prefix = f"adam.{name}."
            moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if moments:
                self.optimiser.state[parameter] = {
                    key: value.clone() if key == "step" else value.to(self.device).clone()
                    for key, value in moments.items()}

    def _replace(self, values: dict[str, Tensor], change_moment: Callable[[Tensor], Tensor]) -> None:
        for group in self.optimiser.param_groups:
            name = group["name"]
            old = self.parameters[name]
            state = self.optimiser.state.pop(old, {})
            parameter = values[name].detach().clone().requires_grad_()
            for key, moment in state.items():
                if key != "step":
                    state[key] = change_moment(moment)
            if state:
                self.optimiser.state[parameter] = state
            self.parameters[name] = parameter
            group["params"] = [parameter]


def model_from_seeds(gaussians: Gaussians, seeds: Seeds, config: OptimiseConfig, device: torch.device) -> SplatModel:
    """The model of freshly seeded Gaussians.

    The doubt factor of a seed is 1 + 9 (1 - sigmoid(C - 1)) relative to its confidence C: 5.5 for a guess,
    2.1 at 3, 1.0 at 10 (the form of InstantSplat's confidence-aware rates, with a smaller range).
    """
    doubt = 1.0 + 9.0 / (1.0 + np.exp(seeds.confidence - 1.0)) if config.confidence_rates else 1.0
    reach = np.asarray(seeds.footprint * doubt, np.float32)
    return SplatModel(gaussians, reach, config, device)
