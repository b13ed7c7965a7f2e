# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses against closed forms and finite differences."""

import numpy as np
import torch

from interngs.optimise.losses import (
    alpha_loss,
    edge_aware_smoothness,
    relative_depth_loss,
    weighted_l1,
    weighted_pearson_loss,
)


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(9, 7, generator=generator, dtype=torch.float64) + 0.1 for _ in range(3))  # type: ignore[return-value]


def test_pearson_is_blind_to_scale_and_shift_and_sees_the_sign() -> None:
    a, _, weight = maps()
    assert float(weighted_pearson_loss(a, 3 * a + 7, weight)) < 1e-6
    assert abs(float(weighted_pearson_loss(a, -a, weight)) - 2) < 1e-6


def test_pearson_with_equal_weights_is_numpys() -> None:
    a, b, _ = maps()
    expected = 1 - np.corrcoef(a.flatten(), b.flatten())[0, 1]
    assert abs(float(weighted_pearson_loss(a, b, torch.ones_like(a))) - expected) < 1e-6


def test_pearson_ignores_pixels_without_weight() -> None:
    a, b, weight = maps()
    weight[:4] = 0
    changed = b.clone()
    changed[:4] = 100
    assert torch.equal(weighted_pearson_loss(a, b, weight), weighted_pearson_loss(a, changed, weight))


def test_no_weight_at_all_gives_zero_and_zero_gradient() -> None:
    for loss in (weighted_pearson_loss, relative_depth_loss):
        a, b, _ = maps()
        a.requires_grad_()
        value = loss(a, b, torch.zeros_like(a))
        value.backward()
        assert float(value.detach()) == 0
        assert float(a.grad.abs().sum()) == 0


def test_relative_depth_error_saturates() -> None:
    target = torch.full((4, 4), 0.5, dtype=torch.float64)
    weight = torch.ones_like(target)
    small = float(relative_depth_loss(target * 1.01, target, weight))
    huge = float(relative_depth_loss(target * 100, target, weight))
    assert abs(small - 0.01 / 1.1) < 1e-9
    assert huge < 0.1


def test_planes_are_smooth_and_bends_are_not() -> None:
    ramp = torch.linspace(1, 2, 12, dtype=torch.float64).expand(8, 12)
    flat = torch.full((8, 12, 3), 0.5, dtype=torch.float64)
    assert float(edge_aware_smoothness(ramp, flat)) < 1e-12
    step = torch.ones(8, 12, dtype=torch.float64)
    step[:, 6:] = 2
    edge = flat.clone()
    edge[:, 6:] = 1.0
    assert float(edge_aware_smoothness(step, edge)) < 0.05 * float(edge_aware_smoothness(step, flat))


def test_gradients_agree_with_finite_differences() -> None:
    a, b, weight = maps(3)
    image = torch.rand(9, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    a.requires_grad_()
    for loss in (lambda x: weighted_pearson_loss(x, b, weight), lambda x: relative_depth_loss(x, b, weight)):
        assert torch.autograd.gradcheck(loss, a)
    rendered = torch.rand(9, 7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: weighted_l1(x, image, weight), rendered)


def test_a_photograph_is_opaque_where_it_counts_unless_its_alpha_says_otherwise() -> None:
    alpha, target, _ = maps()
    mask = torch.zeros_like(alpha)
    mask[:3] = 1
    assert torch.isclose(alpha_loss(alpha, target, mask), (alpha - target).abs().mean())
    assert torch.isclose(alpha_loss(alpha, None, None), 1 - alpha.mean())
    assert torch.isclose(alpha_loss(alpha, None, mask), (1 - alpha[:3]).sum() / alpha.numel())
