# SPDX-License-Identifier: GPL-3.0-or-later
"""The one front of the renderer: Gaussians and cameras in, images out, on CPU and CUDA alike."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from interngs.errors import InternGSError
from interngs.render import gsplat_backend
from interngs.render.cpu.autograd import ProjectionSettings
from interngs.render.cpu.distributed import render_distributed
from interngs.render.cpu.render import render as render_on_cpu

RenderMode = Literal["RGB", "RGB+D", "RGB+ED", "D", "ED"]
RasterizeMode = Literal["classic", "antialiased"]
SH_DEGREE_MAX = 3


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: RenderMode = "RGB",
    rasterize_mode: RasterizeMode = "classic",
    absgrad: bool = False,
    packed: bool = False,
    distributed: bool = False,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Renders N Gaussians in C views, differentiably, with the argument names and the image model of gsplat 1.5.3.

    Pixel centres lie at +0.5.  alpha = min(0.999, o exp(-sigma)); below 1/255 it is skipped; a pixel stops before the
    Gaussian that would bring its transmittance to 1e-4 or less.  On the CPU, Gaussians with a NaN or infinite
    parameter are culled, gradients are those of this function (none through the depth order, the culling and ``Ks``),
    the camera centre is -R^T t (so ``viewmats`` should be rigid), and results are bit-identical for any number of
    threads.

    Args:
        means: [N, 3] float32 centres, world.
        quats: [N, 4] world_from_gaussian rotation, wxyz, of any length.
        scales: [N, 3] standard deviations, world units.
        opacities: [N] in 0..1.
        colors: [N, K, 3] spherical-harmonic coefficients, K >= (sh_degree + 1)^2, or [N, 3] colours when ``sh_degree``
            is None.
        viewmats: [C, 4, 4] camera_from_world, OpenCV axes.
        Ks: [C, 3, 3] intrinsics, pixels.
        width: of the images, pixels.
        height: of the images, pixels.
        near_plane: Gaussians with a smaller camera z are culled.
        far_plane: Gaussians with a larger camera z are culled.
        eps2d: added to the variances of every projected Gaussian, px^2.
        sh_degree: degree to evaluate, 0..3.
        backgrounds: [C, 3] colour behind the Gaussians (black when None; never applied to depth).
        render_mode: "RGB", or with accumulated depth "D" or expected depth "ED" (divided by alpha) as last channel.
        rasterize_mode: "antialiased" compensates opacities for ``eps2d`` (Mip-Splatting, eq. 9).
        absgrad: backward sets ``meta["means2d"].absgrad``, the per-pixel absolute gradients of AbsGS.
        packed: ``meta`` holds visible Gaussians only, with their ``gaussian_ids`` and ``camera_ids``.
        distributed: every rank of ``torch.distributed`` holds a part of the Gaussians and calls this at the same time,
            with as many cameras as the others, all of one image size and all or none with gradients; it gets the
            images of its own cameras, and gradients flow back to the Gaussians wherever they live.  ``meta`` tells of
            the rank's own Gaussians in the cameras of all ranks, [ranks * C, N, ...].

    Returns:
        renders [C, H, W, 3 (RGB), 4 (with depth) or 1 (depth alone)], alphas [C, H, W, 1], and meta: ``means2d``
        (px; call ``retain_grad()`` on it for its gradient), ``radii`` (int32, px, 0 when culled), ``depths``,
        ``conics``, ``opacities``, each [C, N, ...] or packed [nnz, ...], ``gaussian_ids`` and ``camera_ids`` (None
        unless packed), ``width``, ``height``, ``n_cameras``.

    Raises:
        ValueError: on a wrong shape, dtype or mode; ``distributed`` together with ``absgrad`` or ``packed``.
        InternGSError: no compiler for the CPU kernels, no gsplat for CUDA, or another device.
    """
    _check(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree, backgrounds)
    _check_modes(width, height, render_mode, rasterize_mode)
    if distributed and (absgrad or packed):
        # gsplat 1.5.3 refuses the first; with the second it bins Gaussians by the cameras of before the exchange.
        raise ValueError("distributed rendering has neither absgrad nor packed")
    if means.device.type == "cuda":
        return gsplat_backend.render(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=near_plane,
            far_plane=far_plane, eps2d=eps2d, sh_degree=sh_degree, backgrounds=backgrounds, render_mode=render_mode,
            rasterize_mode=rasterize_mode, absgrad=absgrad, packed=packed, distributed=distributed)
    if means.device.type != "cpu":
        raise InternGSError("device-unsupported", f"The renderer runs on CPU and CUDA tensors, not on {means.device}.",
                            "Move the tensors to the CPU.")
    projection = ProjectionSettings(width, height, near_plane, far_plane, eps2d, rasterize_mode == "antialiased",
                                    sh_degree)
    if distributed:
        return render_distributed(means, quats, scales, opacities, colors, viewmats, Ks, projection,
                                  backgrounds=backgrounds, render_mode=render_mode)
    return render_on_cpu(means, quats, scales, opacities, colors, viewmats, Ks, projection, backgrounds=backgrounds,
                         render_mode=render_mode, absgrad=absgrad, packed=packed)


def _check(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
           Ks: Tensor, sh_degree: int | None, backgrounds: Tensor | None) -> None:
    count = len(means)
    cameras = len(viewmats)
    expected = {
        "means": (means, (count, 3)), "quats": (quats, (count, 4)), "scales": (scales, (count, 3)),
        "opacities": (opacities, (count,)), "viewmats": (viewmats, (cameras, 4, 4)), "Ks": (Ks, (cameras, 3, 3)),
    }
    if backgrounds is not None:
        expected["backgrounds"] = (backgrounds, (cameras, 3))
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, expected {list(shape)}")
    if sh_degree is None:
        if tuple(colors.shape) != (count, 3):
            raise ValueError(f"colors has shape {list(colors.shape)}, expected [{count}, 3] without sh_degree")
    else:
        if not 0 <= sh_degree <= SH_DEGREE_MAX:
            raise ValueError(f"sh_degree is {sh_degree}, expected 0..{SH_DEGREE_MAX}")
        needed = (sh_degree + 1) ** 2
        if colors.dim() != 3 or len(colors) != count or colors.shape[1] < needed or colors.shape[2] != 3:
            raise ValueError(f"colors has shape {list(colors.shape)}, expected [{count}, >={needed}, 3] for sh_degree "
                             f"{sh_degree}")
    named = {name: tensor for name, (tensor, _) in expected.items()} | {"colors": colors}
    for name, tensor in named.items():
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype}, expected torch.float32")
        if tensor.device != means.device:
            raise ValueError(f"{name} is on {tensor.device}, means on {means.device}")


def _check_modes(width: int, height: int, render_mode: str, rasterize_mode: str) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"the image is {width} x {height}, expected at least 1 x 1")
    if render_mode not in get_args(RenderMode):
        raise ValueError(f"render_mode is {render_mode!r}, expected one of {get_args(RenderMode)}")
    if rasterize_mode not in get_args(RasterizeMode):
        raise ValueError(f"rasterize_mode is {rasterize_mode!r}, expected one of {get_args(RasterizeMode)}")
