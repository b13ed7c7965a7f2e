# SPDX-License-Identifier: GPL-3.0-or-later
"""The photometric loss of splat training, L1 + SSIM: a fused kernel on the CPU, plain torch elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from interngs.render.cpu.loss import L1Ssim

WINDOW_PX = 11
WINDOW_SIGMA_PX = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def l1_ssim(rendered: Tensor, target: Tensor, weight: Tensor | None = None, ssim_share: float = 0.2) -> Tensor:
    """(1 - ssim_share) * weighted mean L1 + ssim_share * (1 - weighted mean SSIM).

    SSIM is that of Wang et al. (IEEE TIP 2004): a Gaussian window of 11 x 11 px with sigma 1.5, C1 = 0.01^2,
    C2 = 0.03^2, per channel; beyond the image border both images count as zero.  Weights weigh pixels of the two maps
    (a pixel's SSIM still sees its whole window); without any positive weight the loss is 0.

    Args:
        rendered: [H, W, 3] float32 in 0..1; gradients flow here only.
        target: [H, W, 3] float32 in 0..1.
        weight: [H, W] float32, >= 0, or None for 1 everywhere.
        ssim_share: share of the SSIM term, 0..1.

    Returns:
        The loss, a float32 scalar on the device of ``rendered``.

    Raises:
        ValueError: on a wrong shape or dtype.
    """
    if rendered.dim() != 3 or rendered.shape[2] != 3 or rendered.numel() == 0:
        raise ValueError(f"rendered has shape {list(rendered.shape)}, expected [H, W, 3]")
    if target.shape != rendered.shape:
        raise ValueError(f"target has shape {list(target.shape)}, rendered {list(rendered.shape)}")
    if weight is not None and weight.shape != rendered.shape[:2]:
        raise ValueError(f"weight has shape {list(weight.shape)}, expected {list(rendered.shape[:2])}")
    for name, tensor in (("rendered", rendered), ("target", target), ("weight", weight)):
        if tensor is not None and (tensor.dtype != torch.float32 or tensor.device != rendered.device):
            raise ValueError(f"{name} is {tensor.dtype} on {tensor.device}, expected float32 on {rendered.device}")
    if rendered.device.type == "cpu":
        loss: Tensor = L1Ssim.apply(rendered, target, weight, ssim_share)
        return loss
    return l1_ssim_torch(rendered, target, weight, ssim_share)


def l1_ssim_torch(rendered: Tensor, target: Tensor, weight: Tensor | None = None, ssim_share: float = 0.2) -> Tensor:
    """The same loss in plain torch, on any device and in any float precision."""
    x, y = (image.permute(2, 0, 1) for image in (rendered, target.detach()))
    mean_x, mean_y, squares, product = _blur(torch.stack([x, y, x * x + y * y, x * y]))
    mean_squares = mean_x * mean_x + mean_y * mean_y
    ssim = ((2 * mean_x * mean_y + SSIM_C1) * (2 * (product - mean_x * mean_y) + SSIM_C2)
            / ((mean_squares + SSIM_C1) * (squares - mean_squares + SSIM_C2)))
    l1 = (x - y).abs()
    if weight is None:
        return (1 - ssim_share) * l1.mean() + ssim_share * (1 - ssim.mean())
    total = 3 * weight.sum()
    share = weight / total.clamp_min(torch.finfo(weight.dtype).tiny)
    loss = (1 - ssim_share) * (l1 * share).sum() + ssim_share * (1 - (ssim * share).sum())
    return torch.where(total > 0, loss, torch.zeros_like(loss))


def _blur(maps: Tensor) -> Tensor:
    """Gaussian blur of [M, 3, H, W] with zeros beyond the border."""
    steps = torch.arange(WINDOW_PX, dtype=maps.dtype, device=maps.device) - WINDOW_PX // 2
    window = torch.exp(-steps * steps / (2 * WINDOW_SIGMA_PX**2))
    window = window / window.sum()
    flat = maps.reshape(-1, 1, *maps.shape[2:])
    flat = torch.nn.functional.conv2d(flat, window.view(1, 1, -1, 1), padding=(WINDOW_PX // 2, 0))
    flat = torch.nn.functional.conv2d(flat, window.view(1, 1, 1, -1), padding=(0, WINDOW_PX // 2))
    return flat.view(maps.shape)
