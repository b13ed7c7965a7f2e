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
    rays = camera.pixel_rays()
    height, width = rays.shape[:2]
    bent = _distort(rays.reshape(-1, 3), distortion, name).reshape(height, width, 2)
    with np.errstate(invalid="ignore", over="ignore"):
        x = bent[..., 0] * camera.K[0, 0] + bent[..., 1] * camera.K[0, 1] + camera.K[0, 2]
        y = bent[..., 1] * camera.K[1, 1] + camera.K[1, 2]
        inside = np.isfinite(x) & np.isfinite(y) & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    valid = inside & ~_folded(bent, rays)
    if valid.mean() < MIN_VALID_SHARE:
        raise InputError("distortion-invalid", f"The {distortion.model} distortion of {name!r} leaves "
                         f"{valid.mean():.1%} of the image.", "Check the distortion coefficients of the pose file.")
    return PixelMap(_in_reach(x, width), _in_reach(y, height), valid)


def _in_reach(corner_origin: NDArray[np.float64], extent: int) -> NDArray[np.float32]:
    """Array coordinates, held just outside of the photo so that pixels it lacks repeat its edge."""
    return np.clip(np.nan_to_num(corner_origin - 0.5, nan=-1.0), -1.0, extent).astype(np.float32)


def _distort(rays: NDArray[np.float64], distortion: Distortion, name: str) -> NDArray[np.float64]:
    """[N, 2] image-plane coordinates (for focal 1 and principal point 0) of rays [N, 3]; NaN where there are none."""
    model = MODEL_OF_NAME.get(distortion.model)
    if model is None or len(distortion.parameters) != model.coefficients:
        raise InputError("camera-model-unknown", f"{name!r} has {len(distortion.parameters)} coefficients of the "
                         f"camera model {distortion.model!r}.", "Undistort the images first, or correct the pose file.")
    unit = pycolmap.Camera.create_from_model_name(0, model.name, 1.0, 1, 1)
    unit.params = [1.0] * model.focals + [0.0, 0.0, *distortion.parameters]
    return np.asarray(unit.img_from_cam(rays), np.float64)


def _folded(bent: NDArray[np.float64], rays: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the lens polynomial has turned back on itself: there, and further out, it describes no lens.

    The map is one-to-one as long as its Jacobian is positive; beyond the smallest radius where it is not, all
    pixels are taken as folded.
    """
    if min(bent.shape[:2]) < 2:
        return np.zeros(bent.shape[:2], np.bool_)
    with np.errstate(invalid="ignore", over="ignore"):
        down, right = np.gradient(bent, axis=0), np.gradient(bent, axis=1)
        turned = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] <= 0
    radius = np.hypot(rays[..., 0], rays[..., 1])
    return radius >= radius[turned].min(initial=np.inf)


def remap(pixels: NDArray[np.float32], pixel_map: PixelMap) -> NDArray[np.float32]:
    """``pixels`` [H, W] or [H, W, C] seen through the map: bicubic, edge pixels repeated outside."""
    warped = cv2.remap(pixels, pixel_map.x, pixel_map.y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(warped, 0.0, 1.0, dtype=np.float32)


def remap_nearest(values: NDArray[np.float32], pixel_map: PixelMap) -> NDArray[np.float32]:
    """``values`` [H, W] seen through the map without blending (for depth); 0 where the map is invalid."""
    warped = cv2.remap(values, pixel_map.x, pixel_map.y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.where(pixel_map.valid, warped, np.float32(0.0)).astype(np.float32)
