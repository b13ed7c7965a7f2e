# SPDX-License-Identifier: GPL-3.0-or-later
"""Image metrics of a render against its photograph: PSNR, PSNR after a colour fit, SSIM.

Everywhere: images are [H, W, 3], sRGB-encoded in 0..1, as numpy arrays or torch tensors of any float type;
a mask is [H, W] (bool or 0..1) and weighs the pixels.  Work is done in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03


def psnr(image: Any, reference: Any, mask: Any = None) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; ``inf`` for equal images.

    With a mask the squared error is averaged inside the mask only (not over an image composited on a
    background, which gives higher numbers).

    Raises:
        ValueError: for shapes that do not fit or an empty mask.
    """
    a, b, weights = _prepare(image, reference, mask)
    mean_squared_error = float((((a - b) ** 2).mean(axis=-1) * weights).sum() / weights.sum())
    return -10.0 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf


def psnr_colour_fit(image: Any, reference: Any, mask: Any = None) -> float:
    """PSNR in dB after :func:`colour_fit`: how good the picture is apart from exposure and white balance."""
    return psnr(colour_fit(image, reference, mask), reference, mask)


def colour_fit(image: Any, reference: Any, mask: Any = None) -> NDArray[np.float64]:
    """The image [H, W, 3] under the affine colour map that brings it closest to the reference.

    One map per image, ``rgb' = A rgb + b`` with ``A`` 3x3 and ``b`` 3, by linear least squares over the
    (masked) pixels, then clipped to 0..1.  Photographs of one place differ in exposure, white balance and
    flare, which no reconstruction of the training views can foresee; this is what is left to judge.
    A colour that the image lacks leaves the map undetermined there: the smallest such map is taken.
    """
    a, b, weights = _prepare(image, reference, mask)
    design = np.concatenate([a, np.ones_like(a[..., :1])], axis=-1).reshape(-1, 4)
    root = np.sqrt(weights).reshape(-1, 1)
    colour_map = np.linalg.lstsq(design * root, b.reshape(-1, 3) * root, rcond=None)[0]
    return np.clip((design @ colour_map).reshape(a.shape), 0.0, 1.0)


def ssim(image: Any, reference: Any, mask: Any = None) -> float:
    """Mean structural similarity of Wang et al. 2004, equations 12 and 13, in -1..1.

    Window: 11x11 Gaussian with sigma 1.5 px; K1 = 0.01, K2 = 0.03, peak 1; per colour channel, averaged over
    channels and pixels.  The border is padded with zeros and all pixels count, as in the evaluation of
    3D Gaussian Splatting and its kin; tools that leave the border out differ in the third decimal.
    With a mask the map is averaged inside it; windows still see the pixels around the mask.
    """
    a, b, weights = _prepare(image, reference, mask)
    similarity = ssim_map(a, b).mean(axis=-1)
    return float((similarity * weights).sum() / weights.sum())


def ssim_map(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[H, W, 3] structural similarity of each pixel's window; see :func:`ssim`."""
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a = _blur(a * a) - mean_a**2
    variance_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)
            / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)))


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    offsets = np.arange(SSIM_WINDOW_PX) - SSIM_WINDOW_PX // 2
    kernel = np.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        image = correlate1d(image, kernel, axis=axis, mode="constant", cval=0.0)
    return image


def as_float64(values: Any) -> NDArray[np.float64]:
    """A numpy array or torch tensor (any device, with or without gradient) as a float64 numpy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, np.float64)


def _prepare(image: Any, reference: Any, mask: Any) -> tuple[NDArray[np.float64], ...]:
    """Both images [H, W, 3] and the pixel weights [H, W], checked."""
    a, b = as_float64(image), as_float64(reference)
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError(f"images must share one shape [H, W, 3], not {a.shape} and {b.shape}")
    weights = np.ones(a.shape[:2]) if mask is None else as_float64(mask)
    if weights.shape != a.shape[:2]:
        raise ValueError(f"the mask is {weights.shape}, the images are {a.shape[:2]}")
    if not weights.sum() > 0:
        raise ValueError("the mask is empty: no pixel counts")
    return a, b, weights
