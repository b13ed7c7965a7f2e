# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns an image of any COLMAP camera model into that of a pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.camera_models import MODEL_OF_NAME
from ..scene.cameras import Camera
from ..scene.capture import Distortion

MIN_VALID_SHARE = 0.05
"""A pinhole image of which less than this share comes from the photo is refused: the coefficients are wrong."""


_BAND_ROWS = 256
_FOLD_GRID = 129


@dataclass(frozen=True, eq=False)
class PixelMap:
    """Where each pixel of the pinhole image lies in the photo.

    Attributes:
        x, y: [H, W] float32, in array coordinates of the photo (its first pixel centre is 0, 0).
        valid: [H, W] bool, False where the pinhole image sees beyond the photo or the lens model folds over.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    valid: NDArray[np.bool_]


def is_distorted(distortion: Distortion) -> bool:
    """Whether the model bends rays at all."""
    model = MODEL_OF_NAME.get(distortion.model)
    plain = model is not None and "FISHEYE" not in model.name and model.name not in ("EUCM", "FOV")
    return not (plain and not any(distortion.parameters))


def pinhole_map(camera: Camera, distortion: Distortion, name: str) -> PixelMap:
    """The map from the pinhole image with the same ``K`` and size to the distorted photo.

    Keeping ``K`` keeps the scale of the middle of the picture, pixels that are not square and the off-centre principal
    point; what the pinhole frame cannot hold of a wide lens falls outside, what the photo lacks is invalid.

    Raises:
        InputError: unknown model, wrong number of coefficients, or coefficients that leave nearly nothing.
    """
    width, height = camera.width_px, camera.height_px
    fold_radius = _fold_radius(camera, distortion, name)
    x, y = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    valid = np.empty((height, width), np.bool_)
    for top in range(0, height, _BAND_ROWS):
        band = slice(top, min(top + _BAND_ROWS, height))
        rays = _rays(camera, np.arange(width) + 0.5, np.arange(band.start, band.stop) + 0.5)
        bent = _distort(rays, distortion, name)
        with np.errstate(invalid="ignore", over="ignore"):
            u = bent[..., 0] * camera.K[0, 0] + bent[..., 1] * camera.K[0, 1] + camera.K[0, 2]
            v = bent[..., 1] * camera.K[1, 1] + camera.K[1, 2]
            inside = (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
        valid[band] = inside & (np.hypot(rays[..., 0], rays[..., 1]) < fold_radius)
        x[band], y[band] = _in_reach(u, width), _in_reach(v, height)
    if valid.mean() < MIN_VALID_SHARE:
        raise InputError("distortion-invalid", f"The {distortion.model} distortion of {name!r} leaves "
                         f"{valid.mean():.1%} of the image.", "Check the distortion coefficients of the pose file.")
    return PixelMap(x, y, valid)


def _rays(camera: Camera, u: NDArray[np.floating], v: NDArray[np.floating]) -> NDArray[np.float64]:
    """[V, U, 3] rays with z = 1 in the camera frame through the pixels (u, v)."""
    grid_u, grid_v = np.meshgrid(u, v)
    pixels = np.stack([grid_u, grid_v, np.ones_like(grid_u)], axis=-1)
    return pixels @ np.linalg.inv(camera.K).T


def _in_reach(corner_origin: NDArray[np.float64], extent: int) -> NDArray[np.float32]:
    """Array coordinates, held just outside of the photo so that pixels it lacks repeat its edge."""
    return np.clip(np.nan_to_num(corner_origin - 0.5, nan=-1.0), -1.0, extent).astype(np.float32)


def _distort(rays: NDArray[np.float64], distortion: Distortion, name: str) -> NDArray[np.float64]:
    """[..., 2] image-plane coordinates (focal 1, principal point 0) of rays [..., 3]; NaN where there are none."""
    model = MODEL_OF_NAME.get(distortion.model)
    if model is None or len(distortion.parameters) != model.coefficients:
        raise InputError("camera-model-unknown", f"{name!r} has {len(distortion.parameters)} coefficients of the "
                         f"camera model {distortion.model!r}.", "Undistort the images first, or correct the pose file.")
    unit = pycolmap.Camera.create_from_model_name(0, model.name, 1.0, 1, 1)
    unit.params = [1.0] * model.focals + [0.0, 0.0, *distortion.parameters]
    bent = np.asarray(unit.img_from_cam(rays.reshape(-1, 3)), np.float64)
    return bent.reshape(*rays.shape[:-1], 2)


def _fold_radius(camera: Camera, distortion: Distortion, name: str) -> float:
    """The radius |(x, y)| of rays with z = 1 from which the lens polynomial turns back on itself.

    Up to there its Jacobian is positive, further out it describes no lens and would show the middle a second time.
    Found on a coarse grid over the picture, and taken one grid step too small; infinite when there is none.
    """
    rays = _rays(camera, np.linspace(0, camera.width_px, _FOLD_GRID), np.linspace(0, camera.height_px, _FOLD_GRID))
    to_right, to_below = np.array([1e-5, 0.0, 0.0]), np.array([0.0, 1e-5, 0.0])
    here = _distort(rays, distortion, name)
    with np.errstate(invalid="ignore", over="ignore"):
        right = _distort(rays + to_right, distortion, name) - here
        down = _distort(rays + to_below, distortion, name) - here
        folded = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] <= 0
    if not folded.any():
        return np.inf
    smallest = np.hypot(rays[..., 0], rays[..., 1])[folded].min()
    return float(smallest - np.hypot(*(rays[1, 1] - rays[0, 0])[:2]))


def remap(pixels: NDArray[np.float32], pixel_map: PixelMap) -> NDArray[np.float32]:
    """``pixels`` [H, W] or [H, W, C] seen through the map: bicubic, edge pixels repeated outside."""
    warped = cv2.remap(pixels, pixel_map.x, pixel_map.y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(warped, 0.0, 1.0, dtype=np.float32)


def remap_nearest(values: NDArray[np.float32], pixel_map: PixelMap) -> NDArray[np.float32]:
    """``values`` [H, W] seen through the map without blending (for depth); 0 where the map is invalid."""
    warped = cv2.remap(values, pixel_map.x, pixel_map.y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.where(pixel_map.valid, warped, np.float32(0.0)).astype(np.float32)
