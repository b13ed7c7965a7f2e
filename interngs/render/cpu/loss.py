# SPDX-License-Identifier: GPL-3.0-or-later
"""The fused L1 + SSIM kernel as an autograd function."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interngs.render.cpu.buffers import empty
from interngs.render.cpu.library import check_status, kernels


class L1Ssim(torch.autograd.Function):
    """See ``interngs.render.photometric.l1_ssim``; the kernel gives loss and gradient in one go."""

    @staticmethod
    def forward(ctx: Any, rendered: Tensor, target: Tensor, weight: Tensor | None, ssim_share: float) -> Tensor:
        height, width, _ = rendered.shape
        rendered, target = rendered.contiguous(), target.contiguous()
        weight = None if weight is None else weight.contiguous()
        gradient = empty((height, width, 3))
        loss = ctypes.c_double()
        check_status(kernels().interngs_l1_ssim(
            rendered.data_ptr(), target.data_ptr(), None if weight is None else weight.data_ptr(), width, height,
            ssim_share, gradient.data_ptr(), ctypes.addressof(loss)))
        ctx.save_for_backward(gradient)
        return torch.tensor(loss.value, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return torch.mul(gradient, upstream[0], out=empty(tuple(gradient.shape))), None, None, None
