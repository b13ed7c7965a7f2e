# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters and their Adam state: growing, pruning, decaying and going through a checkpoint."""

import numpy as np
import pytest
import torch

from interngs.config import OptimiseConfig
from interngs.optimise.model import SplatModel
from interngs.scene.gaussians import Gaussians

CPU = torch.device("cpu")


def gaussians(n: int = 6, degree: int = 1) -> Gaussians:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(n, 4)).astype(np.float32)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    means, log_scales, logits = (rng.normal(size=shape).astype(np.float32) for shape in ((n, 3), (n, 3), (n,)))
    return Gaussians(means, quats, log_scales, logits, rng.normal(size=(n, (degree + 1) ** 2, 3)).astype(np.float32))


def model(n: int = 6, degree: int = 1) -> SplatModel:
    return SplatModel(gaussians(n, degree), np.full(n, 0.1, np.float32), OptimiseConfig(), CPU)


def pull(splats: SplatModel) -> None:
    """A gradient on every parameter, different for each Gaussian, and a step."""
    active = splats.activated()
    weight = torch.arange(1.0, len(splats) + 1)
    loss = (weight[:, None] * active.means).sum() + (weight * active.opacities).sum()
    loss = loss + (weight[:, None] * (active.scales + active.quats[:, :3])).sum() + active.sh.square().sum()
    loss.backward()
    splats.step(0.0)


def test_what_goes_in_comes_out() -> None:
    given = gaussians()
    got = model().to_gaussians()
    for name in ("means", "quats", "log_scales", "opacity_logits", "sh"):
        assert np.allclose(getattr(given, name), getattr(got, name), atol=1e-6), name


def test_positions_move_by_the_rate_times_the_reach() -> None:
    splats = model()
    before = splats.means.detach().clone()
    pull(splats)
    # Adam's first step has the size of the learning rate, whatever the gradient.
    moved = (splats.means.detach() - before).abs()
    assert torch.allclose(moved, torch.tensor(OptimiseConfig().mean_rate * 0.1), rtol=1e-3)


def test_pruning_keeps_parameters_and_moments_of_the_others() -> None:
    splats = model()
    pull(splats)
    before = {name: tensor.clone() for name, tensor in splats.state().items()}
    mask = torch.tensor([True, False, True, True, False, True])
    splats.keep(mask)
    after = splats.state()
    assert len(splats) == 4
    for name, tensor in after.items():
        expected = before[name] if name.endswith(".step") else before[name][mask]
        assert torch.equal(tensor, expected), name
    pull(splats)


def test_twins_share_the_opacity_and_start_without_momentum() -> None:
    splats = model()
    pull(splats)
    before = splats.opacities.detach().clone()
    splats.clone(torch.tensor([False, True, False, False, False, False]))
    assert len(splats) == 7
    after = splats.opacities.detach()
    assert torch.isclose(1 - (1 - after[1]) * (1 - after[6]), before[1], atol=1e-5)
    assert torch.equal(after[[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]])
    assert torch.equal(splats.means[1], splats.means[6])
    assert splats.state()["adam.offsets.exp_avg"][6].abs().sum() == 0
    assert splats.state()["adam.offsets.exp_avg"][1].abs().sum() > 0


def test_opacity_decay_multiplies_opacity() -> None:
    splats = model()
    before = splats.opacities.detach().clone()
    splats.decay_opacity(0.9)
    assert torch.allclose(splats.opacities.detach(), 0.9 * before, atol=1e-5)


@pytest.mark.parametrize("degree", [0, 2])
def test_a_loaded_state_goes_on_exactly(degree: int) -> None:
    one = model(degree=degree)
    pull(one)
    two = model(degree=degree)
    two.load_state({name: tensor.clone() for name, tensor in one.state().items()})
    for splats in (one, two):
        pull(splats)
        pull(splats)
    for name, tensor in one.state().items():
        assert torch.equal(tensor, two.state()[name]), name
