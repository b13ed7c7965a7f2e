# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels as two autograd functions, projection and compositing, so that the 2-D means lie between them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interngs.render.cpu.buffers import empty
from interngs.render.cpu.library import check_status, kernels


@dataclass(frozen=True)
class ProjectionSettings:
    """What projection needs besides tensors.  ``sh_degree`` is None for plain colours."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    eps2d: float
    antialiased: bool
    sh_degree: int | None


@dataclass(frozen=True)
class ImageSettings:
    """What compositing needs besides tensors.  ``channels`` is 3 (RGB) or 4 (RGB and depth)."""

    width: int
    height: int
    channels: int
    expected_depth: bool
    absgrad: bool


def _address(tensor: Tensor | None, skip: int = 0) -> int | None:
    """Address of a contiguous tensor's element number ``skip``, or None."""
    if tensor is None:
        return None
    if not tensor.is_contiguous() or tensor.dtype not in (torch.float32, torch.int32):
        raise ValueError(f"the kernels take contiguous float32, got {tensor.dtype} with strides {tensor.stride()}")
    return tensor.data_ptr() + skip * tensor.element_size()


def _contiguous(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.detach().contiguous()


def _scene_arguments(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, sh: Tensor | None,
                     viewmats: Tensor, Ks: Tensor, settings: ProjectionSettings) -> tuple[Any, ...]:
    return (len(means), _address(means), _address(quats), _address(scales), _address(opacities), _address(sh),
            0 if sh is None else sh.shape[1], settings.sh_degree or 0, len(viewmats), _address(viewmats), _address(Ks),
            settings.width, settings.height, settings.near_plane, settings.far_plane, settings.eps2d,
            int(settings.antialiased))


class Project(torch.autograd.Function):
    """3-D Gaussians to 2-D ones in C views.

    Takes the arguments of ``rasterize`` (SH coefficients or None) and gives radii [C, N, 2] int32 (0 where culled),
    means2d [C, N, 2] px, depths [C, N], conics [C, N, 3] px^-2, opacities [C, N] (compensated when antialiased) and
    colours [C, N, 3] (None without SH).
    """

    @staticmethod
    def forward(ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, sh: Tensor | None,
                viewmats: Tensor, Ks: Tensor, settings: ProjectionSettings) -> tuple[Tensor, ...]:
        count, cameras = len(means), len(viewmats)
        radii = empty((cameras, count, 2), torch.int32)
        means2d, depths = empty((cameras, count, 2)), empty((cameras, count))
        conics, effective = empty((cameras, count, 3)), empty((cameras, count))
        colours = None if sh is None else empty((cameras, count, 3))
        scene = _scene_arguments(means, quats, scales, opacities, sh, viewmats, Ks, settings)
        check_status(kernels().interngs_project_forward(
            *scene, _address(radii), _address(means2d), _address(depths), _address(conics), _address(effective),
            _address(colours)))
        ctx.settings = settings
        ctx.save_for_backward(means, quats, scales, opacities, sh, viewmats, Ks, radii)
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return radii, means2d, depths, conics, effective, colours  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        means, quats, scales, opacities, sh, viewmats, Ks, radii = ctx.saved_tensors
        _, v_means2d, v_depths, v_conics, v_opacities, v_colours = map(_contiguous, gradients)
        count = len(means)
        out_means, out_quats, out_scales = empty((count, 3)), empty((count, 4)), empty((count, 3))
        out_opacities = empty((count,))
        out_sh = empty(tuple(sh.shape)) if sh is not None and ctx.needs_input_grad[4] else None
        out_viewmats = torch.empty_like(viewmats) if ctx.needs_input_grad[5] else None
        scene = _scene_arguments(means, quats, scales, opacities, sh, viewmats, Ks, ctx.settings)
        check_status(kernels().interngs_project_backward(
            *scene, _address(radii), _address(v_means2d), _address(v_depths), _address(v_conics),
            _address(v_opacities), _address(v_colours), _address(out_means), _address(out_quats),
            _address(out_scales), _address(out_opacities), _address(out_sh), _address(out_viewmats)))
        return out_means, out_quats, out_scales, out_opacities, out_sh, out_viewmats, None, None


class _CompositeState:
    """Sorted lists and transmittances of one image, kept in the library for the backward pass."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        weakref.finalize(self, kernels().interngs_composite_free, handle).atexit = False


class Composite(torch.autograd.Function):
    """2-D Gaussians [..., *] of all views, those of view c at flat positions offsets[c]:offsets[c + 1], to images.

    Gives render [C, H, W, 3 or 4] and alpha [C, H, W, 1].  With ``absgrad``, backward also sets ``means2d.absgrad``,
    the sum over pixels of the absolute gradients.
    """

    @staticmethod
    def forward(ctx: Any, means2d: Tensor, conics: Tensor, depths: Tensor, opacities: Tensor, colours: Tensor,
                backgrounds: Tensor | None, radii: Tensor, offsets: tuple[int, ...],
                settings: ImageSettings) -> tuple[Tensor, Tensor]:
        cameras = len(offsets) - 1
        render = empty((cameras, settings.height, settings.width, settings.channels))
        alpha = empty((cameras, settings.height, settings.width, 1))
        pixels = settings.height * settings.width
        states = []
        for camera, first in enumerate(offsets[:-1]):
            handle = kernels().interngs_composite_forward(
                offsets[camera + 1] - first, _address(radii, 2 * first), _address(means2d, 2 * first),
                _address(conics, 3 * first), _address(depths, first), _address(opacities, first),
                _address(colours, 3 * first), _address(backgrounds, 3 * camera), settings.width, settings.height,
                settings.channels, int(settings.expected_depth),
                _address(render, camera * pixels * settings.channels), _address(alpha, camera * pixels))
            check_status(0 if handle else -1)
            states.append(_CompositeState(handle))
        ctx.states, ctx.settings, ctx.offsets = states, settings, offsets
        ctx.save_for_backward(means2d, backgrounds, render, alpha)
        ctx.set_materialize_grads(False)
        return render, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        means2d, backgrounds, render, alpha = ctx.saved_tensors
        v_render, v_alpha = map(_contiguous, gradients)
        settings: ImageSettings = ctx.settings
        shape = tuple(means2d.shape[:-1])
        v_means2d, v_conics, v_depths = empty((*shape, 2)), empty((*shape, 3)), empty(shape)
        v_opacities, v_colours = empty(shape), empty((*shape, 3))
        v_absolute = empty((*shape, 2)) if settings.absgrad else None
        pixels = settings.height * settings.width
        for camera, first in enumerate(ctx.offsets[:-1]):
            values = camera * pixels * settings.channels
            check_status(kernels().interngs_composite_backward(
                ctx.states[camera].handle, ctx.offsets[camera + 1] - first, _address(backgrounds, 3 * camera),
                settings.channels, int(settings.expected_depth), _address(render, values),
                _address(alpha, camera * pixels), _address(v_render, values), _address(v_alpha, camera * pixels),
                _address(v_means2d, 2 * first), _address(v_conics, 3 * first), _address(v_depths, first),
                _address(v_opacities, first), _address(v_colours, 3 * first), _address(v_absolute, 2 * first)))
        v_backgrounds = None
        if backgrounds is not None and ctx.needs_input_grad[5] and v_render is not None:
            v_backgrounds = ((1 - alpha) * v_render[..., :3]).sum(dim=(1, 2))
        if v_absolute is not None:
            means2d.absgrad = v_absolute
        return v_means2d, v_conics, v_depths, v_opacities, v_colours, v_backgrounds, None, None, None
