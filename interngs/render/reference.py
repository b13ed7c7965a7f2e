# SPDX-License-Identifier: GPL-3.0-or-later
"""The render written down plainly in torch, in any float precision: what the fast kernels are held to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ALPHA_MIN = 1.0 / 255.0
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4
SIGMAS_MAX = 3.33
JACOBIAN_MARGIN = 0.15
"""The projection's Jacobian is evaluated at most this share of the image size outside the image."""


@dataclass(frozen=True)
class Splats:
    """The visible Gaussians of one view, in depth order, V of them.

    Attributes:
        means2d: [V, 2] px.  conics: [V, 3] upper triangle of the inverse covariance, px^-2.  depths: [V].
        opacities: [V] effective.  colours: [V, 3].  radii: [V, 2] px.  ids: [V] index among all Gaussians.
    """

    means2d: Tensor
    conics: Tensor
    depths: Tensor
    opacities: Tensor
    colours: Tensor
    radii: Tensor
    ids: Tensor


def rotations_of(quats: Tensor) -> Tensor:
    """[N, 3, 3] rotation matrices of quaternions [N, 4] (wxyz, any length)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """[N, (degree + 1)^2] real spherical harmonics of unit directions [N, 3], in the order and signs of 3DGS files."""
    x, y, z = directions.unbind(-1)
    terms = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        terms += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        terms += [1.0925484305920792 * x * y, -1.0925484305920792 * y * z,
                  0.31539156525252005 * (3 * z * z - 1), -1.0925484305920792 * x * z,
                  0.5462742152960396 * (x * x - y * y)]
    if degree >= 3:
        terms += [-0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z,
                  -0.4570457994644658 * y * (5 * z * z - 1), 0.3731763325901154 * z * (5 * z * z - 3),
                  -0.4570457994644658 * x * (5 * z * z - 1), 1.445305721320277 * z * (x * x - y * y),
                  -0.5900435899266435 * x * (x * x - 3 * y * y)]
    return torch.stack(terms, dim=-1)


def project(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor,
            K: Tensor, width: int, height: int, *, near_plane: float = 0.01, far_plane: float = 1e10,
            eps2d: float = 0.3, sh_degree: int | None = None, antialiased: bool = False) -> Splats:
    """EWA projection of all Gaussians into one view (arguments as ``rasterize``, one camera)."""
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    points = means @ rotation.T + translation
    x, y, z = points.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    u, v = x / z, y / z
    margin_u, margin_v = JACOBIAN_MARGIN * width / fx, JACOBIAN_MARGIN * height / fy
    u_in = u.clamp(-cx / fx - margin_u, (width - cx) / fx + margin_u)
    v_in = v.clamp(-cy / fy - margin_v, (height - cy) / fy + margin_v)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * u_in / z, zero, fy / z, -fy * v_in / z], dim=-1).view(-1, 2, 3)
    axes = jacobian @ rotation @ (rotations_of(quats) * scales[:, None, :])
    sharp = axes @ axes.transpose(1, 2)
    blurred = sharp + eps2d * torch.eye(2, dtype=means.dtype)
    det = blurred[:, 0, 0] * blurred[:, 1, 1] - blurred[:, 0, 1] ** 2
    if antialiased:
        det_sharp = sharp[:, 0, 0] * sharp[:, 1, 1] - sharp[:, 0, 1] ** 2
        opacities = opacities * (det_sharp.clamp_min(0) / det).sqrt()
    conics = torch.stack([blurred[:, 1, 1] / det, -blurred[:, 0, 1] / det, blurred[:, 0, 0] / det], dim=-1)
    means2d = torch.stack([fx * u + cx, fy * v + cy], dim=-1)
    if sh_degree is not None:
        directions = torch.nn.functional.normalize(means + rotation.T @ translation, dim=-1)
        basis = sh_basis(directions, sh_degree)
        colors = (0.5 + (basis[:, :, None] * colors[:, : basis.shape[1]]).sum(1)).clamp_min(0)

    with torch.no_grad():
        sigmas = (2 * (opacities / ALPHA_MIN).log()).sqrt().clamp_max(SIGMAS_MAX)
        radii = torch.ceil(sigmas[:, None] * torch.stack([blurred[:, 0, 0], blurred[:, 1, 1]], -1).sqrt())
        size = torch.tensor([width, height], dtype=means.dtype)
        visible = (z >= near_plane) & (z <= far_plane) & (det > 0) & (opacities >= ALPHA_MIN)
        visible &= (means2d + radii > 0).all(-1) & (means2d - radii < size).all(-1)
        visible &= torch.isfinite(colors).all(-1) & torch.isfinite(det) & (radii > 0).any(-1)
        ids = torch.where(visible)[0]
        ids = ids[torch.argsort(z[ids], stable=True)]
    return Splats(means2d[ids], conics[ids], z[ids], opacities[ids], colors[ids], radii[ids], ids)


def composite_pixels(splats: Splats, channels: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Blends every Gaussian (channels [V, K]) at pixel centres [P, 2]: accumulated channels [P, K] and alpha [P]."""
    offset = splats.means2d[None] - pixels[:, None]
    dx, dy = offset.unbind(-1)
    a, b, c = splats.conics.unbind(-1)
    g = splats.opacities * torch.exp(-(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy))
    alpha = torch.where(g >= ALPHA_MIN, g.clamp_max(ALPHA_MAX), torch.zeros_like(g))
    logs = torch.log1p(-alpha).cumsum(dim=1)
    after = logs.exp()
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    weights = torch.where(after > TRANSMITTANCE_MIN, alpha * before, torch.zeros_like(alpha))
    return weights @ channels, weights.sum(1)


def rasterize_view(splats: Splats, width: int, height: int, *, background: Tensor | None = None,
                   render_mode: str = "RGB", tile_px: int = 32) -> tuple[Tensor, Tensor]:
    """Image [H, W, 3 or 4] and alpha [H, W, 1]; dense within tiles, whose only use is to bound the memory."""
    dtype = splats.means2d.dtype
    channels = splats.colours if render_mode == "RGB" else torch.cat([splats.colours, splats.depths[:, None]], dim=1)
    low, high = (splats.means2d - splats.radii).detach(), (splats.means2d + splats.radii).detach()
    image_rows, alpha_rows = [], []
    for y0 in range(0, height, tile_px):
        images, alphas = [], []
        for x0 in range(0, width, tile_px):
            x1, y1 = min(x0 + tile_px, width), min(y0 + tile_px, height)
            near = (high[:, 0] > x0) & (low[:, 0] < x1) & (high[:, 1] > y0) & (low[:, 1] < y1)
            index = torch.where(near)[0]
            part = Splats(*(getattr(splats, name)[index] for name in Splats.__dataclass_fields__))
            ys, xs = torch.meshgrid(torch.arange(y0, y1, dtype=dtype) + 0.5, torch.arange(x0, x1, dtype=dtype) + 0.5,
                                    indexing="ij")
            image, alpha = composite_pixels(part, channels[index], torch.stack([xs, ys], -1).view(-1, 2))
            images.append(image.view(y1 - y0, x1 - x0, -1))
            alphas.append(alpha.view(y1 - y0, x1 - x0, 1))
        image_rows.append(torch.cat(images, dim=1))
        alpha_rows.append(torch.cat(alphas, dim=1))
    image, alpha = torch.cat(image_rows), torch.cat(alpha_rows)
    colour, depth = image[..., :3], image[..., 3:]
    if background is not None:
        colour = colour + (1 - alpha) * background
    if render_mode == "RGB+ED":
        depth = depth / alpha.clamp_min(1e-10)
    return torch.cat([colour, depth], dim=-1), alpha


def rasterize(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
              Ks: Tensor, width: int, height: int, *, near_plane: float = 0.01, far_plane: float = 1e10,
              eps2d: float = 0.3, sh_degree: int | None = None, backgrounds: Tensor | None = None,
              render_mode: str = "RGB", rasterize_mode: str = "classic",
              tile_px: int = 32) -> tuple[Tensor, Tensor, list[Splats]]:
    """As ``interngs.render.rasterize.rasterize``, in the precision of its arguments; modes RGB, RGB+D and RGB+ED.

    Returns the renders [C, H, W, 3 or 4], the alphas [C, H, W, 1] and the visible Gaussians of every view.
    """
    renders, alphas, views = [], [], []
    for index, (viewmat, K) in enumerate(zip(viewmats, Ks, strict=True)):
        splats = project(means, quats, scales, opacities, colors, viewmat, K, width, height, near_plane=near_plane,
                         far_plane=far_plane, eps2d=eps2d, sh_degree=sh_degree,
                         antialiased=rasterize_mode == "antialiased")
        background = None if backgrounds is None else backgrounds[index]
        render, alpha = rasterize_view(splats, width, height, background=background, render_mode=render_mode,
                                       tile_px=tile_px)
        renders.append(render)
        alphas.append(alpha)
        views.append(splats)
    return torch.stack(renders), torch.stack(alphas), views
