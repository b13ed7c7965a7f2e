# SPDX-License-Identifier: GPL-3.0-or-later
"""gsplat on CUDA against the plain reference: same image, same gradients."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from interngs.render import reference
from interngs.render.photometric import l1_ssim
from interngs.render.rasterize import rasterize

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available() or importlib.util.find_spec("gsplat") is None,
                       reason="needs an NVIDIA GPU with gsplat"),
]


def scene(count=300):
    g = torch.Generator().manual_seed(0)
    means = torch.randn(count, 3, generator=g) * torch.tensor([1.0, 0.8, 0.6]) + torch.tensor([0.0, 0.0, 4.0])
    K = torch.tensor([[80.0, 0, 41], [0, 85, 33], [0, 0, 1]])
    return [means, torch.randn(count, 4, generator=g), torch.exp(0.5 * torch.randn(count, 3, generator=g) - 2.8),
            0.02 + 0.9 * torch.rand(count, generator=g), 0.3 * torch.randn(count, 16, 3, generator=g),
            torch.eye(4)[None]], K[None], 83, 61


def tangent(viewmat, gradient):
    """Pose gradient along rotations and translations, the directions in which a rigid pose can move."""
    left = gradient[0, :3, :3] @ viewmat[0, :3, :3].T + torch.outer(gradient[0, :3, 3], viewmat[0, :3, 3])
    turn = torch.stack([left[2, 1] - left[1, 2], left[0, 2] - left[2, 0], left[1, 0] - left[0, 1]])
    return torch.cat([turn, gradient[0, :3, 3]])


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("packed", [False, True])
def test_cuda_matches_the_reference(rasterize_mode, packed):
    tensors, K, width, height = scene()
    background = torch.tensor([[0.2, 0.4, 0.6]])
    fast = [tensor.cuda().requires_grad_() for tensor in tensors]
    slow = [tensor.double().requires_grad_() for tensor in tensors]
    options = {"sh_degree": 3, "render_mode": "RGB+ED", "rasterize_mode": rasterize_mode}
    render, _, meta = rasterize(*fast, K.cuda(), width, height, backgrounds=background.cuda(), packed=packed,
                                    absgrad=True, **options)
    meta["means2d"].retain_grad()
    expected, expected_alpha, _ = reference.rasterize(*slow, K.double(), width, height,
                                                      backgrounds=background.double(), **options)
    difference = (render.cpu().double() - expected)[..., :3].abs()
    assert (difference > 1e-3).double().mean() < 1e-3  # but for pixels on a threshold
    v_render = torch.randn(render.shape, generator=torch.Generator().manual_seed(1)) * (expected_alpha > 0.01)
    (render * v_render.cuda()).sum().backward()
    (expected * v_render).sum().backward()
    for mine, theirs in zip(fast[:5], slow[:5], strict=True):
        assert (mine.grad.cpu().double() - theirs.grad).norm() <= 1e-2 * theirs.grad.norm()
    pose, expected_pose = tangent(tensors[5], fast[5].grad.cpu()), tangent(tensors[5].double(), slow[5].grad)
    assert (pose.double() - expected_pose).norm() <= 1e-2 * expected_pose.norm()
    assert meta["means2d"].grad.shape == meta["means2d"].absgrad.shape == meta["means2d"].shape


def test_cuda_and_cpu_give_the_same_image():
    tensors, K, width, height = scene()
    on_cpu, alpha, _ = rasterize(*tensors, K, width, height, sh_degree=3, render_mode="RGB")
    on_cuda, cuda_alpha, _ = rasterize(*[t.cuda() for t in tensors], K.cuda(), width, height, sh_degree=3)
    for a, b in ((on_cpu, on_cuda), (alpha, cuda_alpha)):
        assert ((a - b.cpu()).abs() > 1e-3).double().mean() < 1e-3


def test_loss_on_cuda_equals_the_kernel():
    g = torch.Generator().manual_seed(0)
    rendered, target, weight = torch.rand(40, 60, 3, generator=g), torch.rand(40, 60, 3, generator=g), torch.rand(
        40, 60, generator=g)
    cpu, cuda = rendered.clone().requires_grad_(), rendered.cuda().requires_grad_()
    loss, cuda_loss = l1_ssim(cpu, target, weight), l1_ssim(cuda, target.cuda(), weight.cuda())
    assert cuda_loss.item() == pytest.approx(loss.item(), rel=1e-4)
    loss.backward()
    cuda_loss.backward()
    assert (cuda.grad.cpu() - cpu.grad).norm() <= 1e-3 * cpu.grad.norm()
