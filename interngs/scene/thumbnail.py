# SPDX-License-Identifier: GPL-3.0-or-later
"""A small picture of a splat in numpy alone, for where there is no renderer: asset thumbnails.

Footprints are those of EWA splatting (Zwicker et al. 2001).  Gaussians are composited in slices of depth; inside a slice
their order does not count, so the picture is close to, but not, what ``interngs.render`` gives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .cameras import Camera, look_at
from .gaussians import Gaussians
from .quaternions import matrices_from_quaternions
from .sh import evaluate_sh

MOST_GAUSSIANS = 60_000
SLICES = 32
BLUR_PX2 = 0.3
"""Added to the variance of every footprint, as renderers do, so that none falls between pixels."""
WIDEST_PX = 40
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
    height, width = camera.height_px, camera.width_px
    picture = np.zeros((height * width, 4), np.float32)
    if len(gaussians) > MOST_GAUSSIANS:
        share = len(gaussians) / MOST_GAUSSIANS
        chosen = gaussians.select(np.linspace(0, len(gaussians) - 1, MOST_GAUSSIANS).astype(np.int64))
        gaussians = Gaussians(chosen.means, chosen.quats, chosen.log_scales + np.float32(np.log(share) / 2),
                              chosen.opacity_logits, chosen.sh)
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
    light = np.ones(height * width)
    total = np.zeros((height * width, 3))
    for part in np.array_split(np.arange(len(seen)), SLICES):
        blocked, colour = _slice(pixels[part], inverse[part], reach[part], gaussians.opacities[part], colours[part],
                                 width, height)
        total += light[:, None] * colour
        light *= blocked
    alpha = 1 - light
    picture[:, :3] = np.clip(total / np.maximum(alpha, 1e-6)[:, None], 0, 1)
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


def _slice(pixels: NDArray[np.float64], inverse: NDArray[np.float64], reach: NDArray[np.int64],
           opacities: NDArray[np.float32], colours: NDArray[np.float64], width: int,
           height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of light [P] that passes a slice, and the colour [P, 3] that it adds, premultiplied."""
    log_light, weights, sums = np.zeros(width * height), np.zeros(width * height), np.zeros((3, width * height))
    for size in np.unique(reach):
        chosen = np.flatnonzero(reach == size)
        steps = np.arange(-size, size + 1)
        corner = np.floor(pixels[chosen]).astype(np.int64)
        x, y = corner[:, 0, None] + steps, corner[:, 1, None] + steps
        dx, dy = x + 0.5 - pixels[chosen, 0, None], y + 0.5 - pixels[chosen, 1, None]
        xx, xy, yy = inverse[chosen].T[:, :, None, None]
        power = xx * (dx * dx)[:, None, :] + 2 * xy * dy[:, :, None] * dx[:, None, :] + yy * (dy * dy)[:, :, None]
        alpha = np.minimum(opacities[chosen, None, None] * np.exp(-0.5 * power), 0.99)
        inside = (alpha >= FAINTEST) & ((x >= 0) & (x < width))[:, None, :] & ((y >= 0) & (y < height))[:, :, None]
        which, row, column = np.nonzero(inside)
        place, strength = y[which, row] * width + x[which, column], alpha[which, row, column]
        log_light += np.bincount(place, np.log1p(-strength), width * height)
        weights += np.bincount(place, strength, width * height)
        for channel in range(3):
            sums[channel] += np.bincount(place, strength * colours[chosen[which], channel], width * height)
    passes = np.exp(log_light)
    return passes, ((1 - passes) / np.maximum(weights, 1e-12) * sums).T
