# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of a splat in numpy alone, for where there is no renderer: asset thumbnails and report pages.

Footprints are those of EWA splatting (Zwicker et al. 2001), blended in sRGB from front to back as in
``interngs.render``; of wide footprints only the middle ``2 * WIDEST_PX`` pixels are drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .cameras import Camera, look_at
from .gaussians import Gaussians
from .quaternions import matrices_from_quaternions
from .sh import evaluate_sh

MOST_GAUSSIANS = 60_000
BLUR_PX2 = 0.3
"""Added to the variance of every footprint, as renderers do, so that none falls between pixels."""
WIDEST_PX = 60
LARGEST_ALPHA = 0.999
FRAGMENTS_AT_ONCE = 2_000_000
"""Bounds the memory: about 100 bytes each."""
FAINTEST = 1 / 255
NEAR_SHARE = 0.05
"""What is nearer to the camera than this share of the median depth is left out."""


def good_viewpoint(means: NDArray[np.floating], size_px: int) -> Camera:
    """A camera that sees a splat (Z up) whole, from the front, right and above, as Blender's own previews do.

    Args:
        means: [N, 3] centres.
        size_px: width and height of the picture.
    """
    low, high = (np.quantile(means, [0.03, 0.97], axis=0) if len(means) else np.array([[-1.0] * 3, [1.0] * 3]))
    middle, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-6)
    direction = np.array([0.55, -1.0, 0.5]) / np.linalg.norm([0.55, -1.0, 0.5])
    focal_px = 1.8 * size_px
    distance = 1.1 * radius * 2 * focal_px / size_px
    K = np.array([[focal_px, 0, size_px / 2], [0, focal_px, size_px / 2], [0, 0, 1]])
    return Camera(K, look_at(middle + distance * direction, middle, np.array([0, 0, 1.0])), size_px, size_px)


def render_thumbnail(gaussians: Gaussians, camera: Camera) -> NDArray[np.float32]:
    """[H, W, 4] sRGB colour and alpha in 0..1 (not premultiplied) of a splat seen by ``camera``.

    Of splats with more than ``MOST_GAUSSIANS`` an even subset is drawn, larger by as much as there are fewer.
    """
    if len(gaussians) > MOST_GAUSSIANS:
        share = len(gaussians) / MOST_GAUSSIANS
        chosen = gaussians.select(np.linspace(0, len(gaussians) - 1, MOST_GAUSSIANS).astype(np.int64))
        gaussians = Gaussians(chosen.means, chosen.quats, chosen.log_scales + np.float32(np.log(share) / 2),
                              chosen.opacity_logits, chosen.sh)
    return render_by_numpy(gaussians, camera)


def render_by_numpy(gaussians: Gaussians, camera: Camera) -> NDArray[np.float32]:
    """As ``render_thumbnail``, with all Gaussians: seconds for each hundred thousand."""
    height, width = camera.height_px, camera.width_px
    picture = np.zeros((height * width, 4), np.float32)
    pixels, depth = camera.project(gaussians.means.astype(np.float64))
    in_front = depth > 0
    if not in_front.any():
        return picture.reshape(height, width, 4)
    in_front &= depth > NEAR_SHARE * np.median(depth[in_front])
    seen = np.flatnonzero(in_front & (pixels > -WIDEST_PX).all(axis=1) & (
        pixels < (width + WIDEST_PX, height + WIDEST_PX)).all(axis=1) & (gaussians.opacities >= FAINTEST))
    seen = seen[np.argsort(depth[seen], kind="stable")]
    gaussians, pixels, depth = gaussians.select(seen), pixels[seen], depth[seen]
    inverse, reach = _footprints(gaussians, camera, depth)
    rays = gaussians.means - camera.centre
    colours = np.clip(evaluate_sh(gaussians.sh, rays / np.linalg.norm(rays, axis=1, keepdims=True)), 0, None)
    log_light, total = np.zeros(height * width), np.zeros((3, height * width))
    ends = np.cumsum((2 * reach + 1) ** 2) // FRAGMENTS_AT_ONCE
    for part in np.split(np.arange(len(seen)), np.flatnonzero(np.diff(ends)) + 1):
        place, owner, alpha = _fragments(pixels[part], inverse[part], reach[part], gaussians.opacities[part], width,
                                         height)
        passes = np.log1p(-alpha)
        before = np.cumsum(passes) - passes                       # over all pixels; each starts where the last ended
        first = np.flatnonzero(np.diff(place, prepend=-1))
        started = np.repeat(before[first], np.diff(first, append=len(place)))
        weight = alpha * np.exp(before - started + log_light[place])
        for channel in range(3):
            total[channel] += np.bincount(place, weight * colours[part[owner], channel], width * height)
        log_light += np.bincount(place, passes, width * height)
    alpha = 1 - np.exp(log_light)
    picture[:, :3] = np.clip(total / np.maximum(alpha, 1e-6), 0, 1).T
    picture[:, 3] = alpha
    return picture.reshape(height, width, 4)


def _footprints(gaussians: Gaussians, camera: Camera,
                depth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Inverse covariances [N, 3] (xx, xy, yy; per px^2) of the footprints, and their reach [N] in whole pixels."""
    rotation = camera.camera_from_world[:3, :3]
    axes = rotation @ (matrices_from_quaternions(gaussians.quats)
                       * np.exp(gaussians.log_scales.astype(np.float64))[:, None, :])
    in_camera = gaussians.means @ rotation.T + camera.camera_from_world[:3, 3]
    jacobian = np.zeros((len(gaussians), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 1, 1] = camera.K[0, 0] / depth, camera.K[1, 1] / depth
    limit = np.array([camera.width_px / camera.K[0, 0], camera.height_px / camera.K[1, 1]]) * 0.65
    slope = np.clip(in_camera[:, :2] / depth[:, None], -limit, limit)
    jacobian[:, 0, 2] = -camera.K[0, 0] * slope[:, 0] / depth
    jacobian[:, 1, 2] = -camera.K[1, 1] * slope[:, 1] / depth
    flat = jacobian @ axes
    covariance = flat @ flat.transpose(0, 2, 1)
    xx, xy, yy = covariance[:, 0, 0] + BLUR_PX2, covariance[:, 0, 1], covariance[:, 1, 1] + BLUR_PX2
    determinant = np.maximum(xx * yy - xy * xy, 1e-12)
    reach = np.minimum(np.ceil(3 * np.sqrt(np.maximum(xx, yy))), WIDEST_PX).astype(np.int64)
    return np.stack([yy, -xy, xx], axis=1) / determinant[:, None], reach


def _fragments(pixels: NDArray[np.float64], inverse: NDArray[np.float64], reach: NDArray[np.int64],
               opacities: NDArray[np.float32], width: int,
               height: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every pixel that every Gaussian touches: pixel, Gaussian and alpha [F], by pixel, then by order of Gaussians."""
    places, owners, alphas = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for size in np.unique(reach):
        chosen = np.flatnonzero(reach == size)
        steps = np.arange(-size, size + 1)
        corner = np.floor(pixels[chosen]).astype(np.int64)
        x, y = corner[:, 0, None] + steps, corner[:, 1, None] + steps
        dx, dy = x + 0.5 - pixels[chosen, 0, None], y + 0.5 - pixels[chosen, 1, None]
        xx, xy, yy = inverse[chosen].T[:, :, None, None]
        power = xx * (dx * dx)[:, None, :] + 2 * xy * dy[:, :, None] * dx[:, None, :] + yy * (dy * dy)[:, :, None]
        alpha = np.minimum(opacities[chosen, None, None] * np.exp(-0.5 * power), LARGEST_ALPHA)
        inside = (alpha >= FAINTEST) & ((x >= 0) & (x < width))[:, None, :] & ((y >= 0) & (y < height))[:, :, None]
        which, row, column = np.nonzero(inside)
        places.append(y[which, row] * width + x[which, column])
        owners.append(chosen[which])
        alphas.append(alpha[which, row, column])
    place, owner, strength = np.concatenate(places), np.concatenate(owners), np.concatenate(alphas)
    order = np.argsort(place * len(pixels) + owner)
    return place[order], owner[order], strength[order]
