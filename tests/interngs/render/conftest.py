# SPDX-License-Identifier: GPL-3.0-or-later
"""Small scenes for the renderer's tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from interngs.render import reference

# No pixel of a test scene may sit this close (relative) to one of the image model's thresholds: there float32 and
# float64 may rightly decide differently.
THRESHOLD_MARGIN = 1e-5


@dataclass(frozen=True)
class Scene:
    """Arguments of ``rasterize``, in its order."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    @property
    def colours(self) -> Tensor:
        return self.sh[:, 0].sigmoid()

    def inputs(self, dtype: torch.dtype, sh_degree: int | None = 3) -> list[Tensor]:
        """Fresh leaves: means, quats, scales, opacities, colours or SH, viewmats."""
        colors = self.colours if sh_degree is None else self.sh
        tensors = (self.means, self.quats, self.scales, self.opacities, colors, self.viewmats)
        return [tensor.detach().clone().to(dtype).requires_grad_() for tensor in tensors]


def _random_scene(seed: int, count: int, cameras: int, width: int, height: int) -> Scene:
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=g) * torch.tensor([0.8, 0.5, 0.6]) + torch.tensor([0.0, 0.0, 4.0])
    quats = torch.randn(count, 4, generator=g) * 2
    scales = torch.exp(0.5 * torch.randn(count, 3, generator=g) - 2.2)
    opacities = 0.02 + 0.97 * torch.rand(count, generator=g).sqrt()
    sh = 0.3 * torch.randn(count, 16, 3, generator=g)
    viewmats = torch.eye(4).repeat(cameras, 1, 1)
    for index in range(cameras):
        yaw, roll = torch.tensor(0.1 + 0.3 * index), torch.tensor(0.2 * index)
        turn = torch.tensor([[yaw.cos(), 0, yaw.sin()], [0, 1, 0], [-yaw.sin(), 0, yaw.cos()]])
        tilt = torch.tensor([[roll.cos(), -roll.sin(), 0], [roll.sin(), roll.cos(), 0], [0, 0, 1]])
        viewmats[index, :3, :3] = tilt @ turn
        viewmats[index, :3, 3] = torch.tensor([0.1 * index - 0.3, 0.05, 0.2])
    K = torch.tensor([[1.0 * width, 0, 0.48 * width], [0, 1.05 * width, 0.53 * height], [0, 0, 1]])
    return Scene(means, quats, scales, opacities, sh, viewmats, K.repeat(cameras, 1, 1), width, height)


def _is_decided(scene: Scene) -> bool:
    """Whether every alpha and transmittance keeps its distance from the thresholds, classic and antialiased."""
    ys, xs = torch.meshgrid(torch.arange(scene.height) + 0.5, torch.arange(scene.width) + 0.5, indexing="ij")
    pixels = torch.stack([xs, ys], -1).view(-1, 2).double()
    with torch.no_grad():
        for viewmat, K in zip(scene.viewmats, scene.Ks, strict=True):
            for antialiased in (False, True):
                s = reference.project(*(t.double() for t in (scene.means, scene.quats, scene.scales, scene.opacities,
                                                             scene.colours, viewmat, K)),
                                      scene.width, scene.height, antialiased=antialiased)
                dx, dy = (s.means2d[None] - pixels[:, None]).unbind(-1)
                a, b, c = s.conics.unbind(-1)
                g = s.opacities * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
                alpha = torch.where(g >= reference.ALPHA_MIN, g.clamp_max(reference.ALPHA_MAX), 0)
                after = torch.cumprod(1 - alpha, dim=1)
                for value, threshold in ((g, reference.ALPHA_MIN), (after, reference.TRANSMITTANCE_MIN)):
                    if ((value / threshold - 1).abs() < THRESHOLD_MARGIN).any():
                        return False
    return True


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Scene]:
    """Builds (and remembers) random scenes, by default ones in which float32 and float64 make the same decisions."""
    made: dict[tuple[int, ...], Scene] = {}

    def make(count: int = 150, cameras: int = 2, width: int = 71, height: int = 45, seed: int = 0,
             decided: bool = True) -> Scene:
        key = (count, cameras, width, height, seed, decided)
        if key not in made:
            candidates = (_random_scene(1000 * seed + k, count, cameras, width, height) for k in range(100))
            made[key] = next(scene for scene in candidates if not decided or _is_decided(scene))
        return made[key]

    return make
