# SPDX-License-Identifier: GPL-3.0-or-later
"""The two Pearson terms: closed forms, invariance, and gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interngs.optimise.losses import weighted_pearson_loss
from interngs.optimise.patch_correlation import patch_pearson_loss

PATCH = 6


def maps(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(13, 17, generator=generator, dtype=torch.float64) for _ in range(3))  # type: ignore[return-value]


def by_hand(predicted: Tensor, target: Tensor, weight: Tensor, offset: tuple[int, int]) -> float:
    """1 - correlation of every patch, one after the other (no patch of random numbers is flat)."""
    total = weights = 0.0
    for top in range(-offset[0], 13, PATCH):
        for left in range(-offset[1], 17, PATCH):
            rows, columns = slice(max(top, 0), max(top + PATCH, 0)), slice(max(left, 0), max(left + PATCH, 0))
            p, t, w = (values[rows, columns].ravel() for values in (predicted, target, weight))
            if p.numel() == 0:
                continue
            share = w / w.sum()
            a, b = p - (share * p).sum(), t - (share * t).sum()
            whole = weight / weight.sum()
            floor = (0.02**2) * torch.stack([(whole * (v - (whole * v).sum()) ** 2).sum() for v in (predicted, target)])
            var_a, var_b = (share * a * a).sum(), (share * b * b).sum()
            rho = (share * a * b).sum() / ((var_a + floor[0]) * (var_b + floor[1])).sqrt()
            count = w.sum() * var_b / (var_b + floor[1])
            total += float(count * (1 - rho))
            weights += float(count)
    return total / weights


@pytest.mark.parametrize("offset", [(0, 0), (2, 5), (5, 1)])
def test_patches_one_by_one(offset: tuple[int, int]) -> None:
    predicted, target, weight = maps()
    assert float(patch_pearson_loss(predicted, target, weight, PATCH, offset)) == pytest.approx(
        by_hand(predicted, target, weight, offset), rel=1e-9)


@pytest.mark.parametrize("term", [
    weighted_pearson_loss, lambda p, t, w: patch_pearson_loss(p, t, w, PATCH, (1, 2))])
def test_gradient_is_the_finite_difference(term) -> None:
    predicted, target, weight = maps(1)
    weight[:4, :5] = 0
    predicted.requires_grad_()
    frozen = predicted.detach().clone()
    # The floor of flat patches counts as a constant, so it is kept while differences are taken.
    loss = term(predicted, target, weight)
    loss.backward()
    step = 1e-6
    for row, column in ((0, 0), (5, 7), (12, 16), (7, 2)):
        values = []
        for sign in (1, -1):
            moved = frozen.clone()
            moved[row, column] += sign * step
            values.append(float(term(moved, target, weight)))
        expected = (values[0] - values[1]) / (2 * step)
        assert float(predicted.grad[row, column]) == pytest.approx(expected, rel=2e-2, abs=1e-5)
    assert float(predicted.grad[1, 1]) == 0


@pytest.mark.parametrize("term", [
    weighted_pearson_loss, lambda p, t, w: patch_pearson_loss(p, t, w, PATCH)])
def test_scale_and_shift_do_not_matter(term) -> None:
    predicted, _, weight = maps(2)
    assert float(term(3 * predicted - 7, predicted, weight)) == pytest.approx(0, abs=2e-2)
    assert float(term(3 * predicted - 7, predicted, weight)) < 0.02 < 1.9 < float(term(-predicted, predicted, weight))
    other = maps(3)[1]
    assert float(term(predicted, other, weight)) == pytest.approx(float(term(5 * predicted + 2, 0.1 * other, weight)))


def test_every_patch_may_have_its_own_scale() -> None:
    """What the patches are for: a prediction bent over the picture still has the right local structure."""
    predicted = maps(4)[0]
    bent = predicted.clone()
    for number, rows in enumerate((slice(0, 6), slice(6, 12), slice(12, 13))):
        bent[rows] = (number + 1) * predicted[rows] + 5 * number
    weight = torch.ones_like(predicted)
    assert float(patch_pearson_loss(predicted, bent, weight, PATCH)) < 0.02
    assert float(weighted_pearson_loss(predicted, bent, weight)) > 0.3


def test_flat_targets_and_empty_weights_say_nothing() -> None:
    predicted, target, weight = maps(5)
    flat = target.clone()
    flat[:6, :6] = 0.5
    changed = predicted.clone()
    changed[:6, :6] = maps(6)[0][:6, :6]
    losses = [float(patch_pearson_loss(values, flat, weight, PATCH)) for values in (predicted, changed)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    predicted.requires_grad_()
    loss = patch_pearson_loss(predicted, target, torch.zeros_like(weight), PATCH)
    loss.backward()
    assert float(loss.detach()) == 0 and not predicted.grad.any()
    constant = torch.full_like(target, 2.0, requires_grad=True)
    patch_pearson_loss(constant, target, weight, PATCH).backward()
    assert torch.isfinite(constant.grad).all()
