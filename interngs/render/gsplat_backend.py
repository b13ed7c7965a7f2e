# SPDX-License-Identifier: GPL-3.0-or-later
"""The CUDA renderer: gsplat, imported only here and only when a CUDA tensor asks for it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from interngs.errors import InternGSError


def render(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
           Ks: Tensor, width: int, height: int, **options: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """``rasterize`` for CUDA tensors: gsplat's ``rasterization`` with the same arguments.

    Raises:
        InternGSError: ``gsplat-missing`` when gsplat is not installed.
    """
    try:
        from gsplat import rasterization  # noqa: PLC0415  (only CUDA machines have it)
    except ImportError as error:
        raise InternGSError(
            "gsplat-missing", f"Rendering on CUDA needs gsplat, which cannot be imported ({error}).",
            "Install it with 'pip install interngs[cuda]' (gsplat==1.5.3, packaging), or move the tensors to the CPU.",
        ) from error
    renders, alphas, meta = rasterization(means, quats, scales, opacities, colors, viewmats, Ks, width, height,
                                          **options)
    return renders, alphas, meta
