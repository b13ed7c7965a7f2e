# SPDX-License-Identifier: GPL-3.0-or-later
"""The L1 + SSIM loss: closed forms, finite differences, and the fused kernel against plain torch."""

from __future__ import annotations

import pytest
import torch

from interngs.render.cpu.library import set_threads, threads
from interngs.render.photometric import l1_ssim, l1_ssim_torch


def images(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(height, width, 3, generator=generator)
    rendered = (target + 0.2 * torch.randn(height, width, 3, generator=generator)).clamp(0, 1)
    return rendered, target, torch.rand(height, width, generator=generator)


@pytest.mark.parametrize("size", [(61, 83), (1, 1), (3, 70), (40, 7), (33, 64)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ssim_share", [0.0, 0.2, 1.0])
def test_kernel_equals_torch(size, weighted, ssim_share):
    rendered, target, weight = images(*size)
    fast, slow = rendered.clone().requires_grad_(), rendered.double().requires_grad_()
    loss = l1_ssim(fast, target, weight if weighted else None, ssim_share)
    expected = l1_ssim_torch(slow, target.double(), weight.double() if weighted else None, ssim_share)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    (3 * loss).backward()
    (3 * expected).backward()
    assert (fast.grad - slow.grad).norm() <= 1e-5 * slow.grad.norm()


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_matches_finite_differences(weighted):
    rendered, target, weight = (tensor.double() for tensor in images(9, 13, seed=1))
    weight = weight if weighted else None
    leaf = rendered.float().requires_grad_()
    l1_ssim(leaf, target.float(), None if weight is None else weight.float()).backward()
    step, flat = 1e-6, rendered.view(-1)
    chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(2))[:30]
    # |x - y| has no derivative at 0.
    chosen = chosen[((rendered - target).abs() > 1e-5).view(-1)[chosen]]
    numeric = torch.zeros_like(flat)
    for index in chosen.tolist():
        value = flat[index].item()
        flat[index] = value + step
        above = l1_ssim_torch(rendered, target, weight)
        flat[index] = value - step
        numeric[index] = (above - l1_ssim_torch(rendered, target, weight)) / (2 * step)
        flat[index] = value
    assert len(chosen) > 15
    assert (leaf.grad.view(-1) - numeric)[chosen].norm() <= 1e-4 * numeric.norm()


def test_equal_images_have_no_loss():
    _, target, _ = images(30, 40)
    rendered = target.clone().requires_grad_()
    loss = l1_ssim(rendered, target)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert rendered.grad.abs().max() < 1e-6


def test_constant_images_have_the_closed_form():
    a, b, share = 0.25, 0.75, 0.2
    rendered, target = torch.full((40, 40, 3), a), torch.full((40, 40, 3), b)
    weight = torch.zeros(40, 40)
    weight[10:30, 10:30] = 2.0  # windows that do not reach the border
    ssim = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert l1_ssim(rendered, target, weight, share).item() == pytest.approx(
        (1 - share) * (b - a) + share * (1 - ssim), abs=1e-5)


def test_weights_choose_the_pixels_that_count():
    rendered, target, _ = images(40, 50)
    weight = torch.zeros(40, 50)
    weight[:, 25:] = 1
    spoiled = rendered.clone()
    spoiled[:, :19] = 0  # beyond the reach of the windows of weighted pixels
    assert l1_ssim(rendered, target, weight).item() == pytest.approx(l1_ssim(spoiled, target, weight).item(), abs=1e-7)
    leaf = rendered.clone().requires_grad_()
    l1_ssim(leaf, target, weight).backward()
    assert not leaf.grad[:, :19].any() and leaf.grad[:, 20:].any()


@pytest.mark.parametrize("loss_function", [l1_ssim, l1_ssim_torch])
def test_no_weight_at_all_is_no_loss(loss_function):
    rendered, target, _ = images(12, 15)
    leaf = rendered.clone().requires_grad_()
    loss = loss_function(leaf, target, torch.zeros(12, 15))
    loss.backward()
    assert loss.item() == 0 and not leaf.grad.any()


def test_any_number_of_threads_gives_the_same_bits():
    rendered, target, weight = images(150, 90)
    results, before = [], threads()
    try:
        for count in (1, 3):
            set_threads(count)
            leaf = rendered.clone().requires_grad_()
            loss = l1_ssim(leaf, target, weight)
            loss.backward()
            results.append((loss.detach(), leaf.grad))
    finally:
        set_threads(before)
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"rendered has shape \[3, 8, 8\]"):
        l1_ssim(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"target has shape \[8, 9, 3\]"):
        l1_ssim(torch.zeros(8, 8, 3), torch.zeros(8, 9, 3))
    with pytest.raises(ValueError, match=r"weight has shape \[8, 8, 1\]"):
        l1_ssim(torch.zeros(8, 8, 3), torch.zeros(8, 8, 3), torch.zeros(8, 8, 1))
