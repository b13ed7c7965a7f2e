# SPDX-License-Identifier: GPL-3.0-or-later
"""PSNR, colour fit and SSIM against closed forms and an independent, direct computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interngs.evaluate.metrics import colour_fit, psnr, psnr_colour_fit, ssim


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth picture with noise, [40, 56, 3]."""
    v, u = np.mgrid[0:40, 0:56] / 40.0
    smooth = np.stack([0.5 + 0.3 * np.sin(3 * u), 0.4 + 0.3 * v, 0.5 + 0.2 * np.cos(5 * u * v)], axis=-1)
    return smooth + np.random.default_rng(0).uniform(-0.05, 0.05, smooth.shape)


def test_psnr_of_a_constant_error_is_its_closed_form(photo: np.ndarray) -> None:
    assert psnr(photo + 0.1, photo) == pytest.approx(20.0, abs=1e-9)
    assert psnr(photo, photo) == math.inf


def test_psnr_takes_tensors_with_gradients(photo: np.ndarray) -> None:
    render = torch.tensor(photo + 0.01, dtype=torch.float32, requires_grad=True)
    assert psnr(render, torch.tensor(photo)) == pytest.approx(40.0, abs=1e-3)


def test_masked_psnr_sees_the_mask_only(photo: np.ndarray) -> None:
    render = photo.copy()
    render[:, :20] += 0.1
    render[:, 20:] += 0.5
    mask = np.zeros(photo.shape[:2], bool)
    mask[:, :20] = True
    assert psnr(render, photo, mask) == pytest.approx(20.0, abs=1e-9)
    weights = np.where(mask, 1.0, 0.25)
    expected = -10 * math.log10((0.01 * 20 + 0.25 * 0.25 * 36) / (20 + 0.25 * 36))
    assert psnr(render, photo, weights) == pytest.approx(expected, abs=1e-9)


def test_colour_fit_undoes_any_affine_colour_change(photo: np.ndarray) -> None:
    mixing = np.array([[0.7, 0.1, 0.0], [0.05, 0.8, 0.02], [0.0, 0.1, 0.6]])
    changed = photo @ mixing.T + np.array([0.05, 0.02, 0.1])
    assert psnr(changed, photo) < 25
    assert psnr_colour_fit(changed, photo) > 150
    np.testing.assert_allclose(colour_fit(changed, photo), photo, atol=1e-9)


def test_colour_fit_never_makes_it_worse_and_fits_inside_the_mask(photo: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    noisy = np.clip(photo + rng.normal(0, 0.1, photo.shape), 0, 1)
    assert psnr_colour_fit(noisy, photo) >= psnr(noisy, photo)
    mask = np.zeros(photo.shape[:2])
    mask[10:30, 10:30] = 1
    render = rng.uniform(0, 1, photo.shape)
    render[10:30, 10:30] = photo[10:30, 10:30] * 0.5
    assert psnr_colour_fit(render, photo, mask) > 150


def test_colour_fit_of_a_black_render_is_the_mean_colour(photo: np.ndarray) -> None:
    fitted = colour_fit(np.zeros_like(photo), photo)
    np.testing.assert_allclose(fitted[0, 0], photo.mean(axis=(0, 1)), atol=1e-9)


def direct_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Equation 13 of Wang et al. 2004 written as loops over pixels, zeros outside the image."""
    offsets = np.arange(11) - 5
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    a, b = (np.pad(x, ((5, 5), (5, 5), (0, 0))) for x in (a, b))
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            for c in range(3):
                p, q = a[y:y + 11, x:x + 11, c], b[y:y + 11, x:x + 11, c]
                mp, mq = (kernel * p).sum(), (kernel * q).sum()
                vp, vq = (kernel * (p - mp) ** 2).sum(), (kernel * (q - mq) ** 2).sum()
                covariance = (kernel * (p - mp) * (q - mq)).sum()
                values.append((2 * mp * mq + 1e-4) * (2 * covariance + 9e-4)
                              / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    return float(np.mean(values))


def test_ssim_is_the_papers_equation(photo: np.ndarray) -> None:
    other, small = np.clip(photo[::-1] * 0.9 + 0.02, 0, 1)[:20, :24], photo[:20, :24]
    assert ssim(other, small) == pytest.approx(direct_ssim(other, small), abs=1e-9)
    assert ssim(photo, photo) == pytest.approx(1.0, abs=1e-12)


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    flat = np.full((41, 41, 3), 0.5)
    inner = np.zeros((41, 41), bool)
    inner[10:-10, 10:-10] = True          # away from the zero padding
    expected = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    assert ssim(flat, flat * 1.2, inner) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, psnr_colour_fit, ssim])
def test_wrong_shapes_and_empty_masks_are_refused(metric, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match="share one shape"):
        metric(photo, photo[1:])
    with pytest.raises(ValueError, match="the mask is"):
        metric(photo, photo, np.ones((3, 3)))
    with pytest.raises(ValueError, match="empty"):
        metric(photo, photo, np.zeros(photo.shape[:2]))
