# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a distorted photograph shows what its pinhole camera sees: COLMAP's lens models in numpy; knows no bpy.

Photographs are undistorted by the backend before they are used; what is compared with the splat here must be as well.
The models are those of COLMAP's ``sensor/models.h``, which says what each coefficient is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...interngs.errors import InputError
from ...interngs.formats.camera_models import MODEL_OF_NAME
from ...interngs.scene.cameras import Camera
from ...interngs.scene.capture import Distortion

Points = NDArray[np.float64]
Bend = Callable[..., Points]
SMALLEST_RADIUS = 1e-9


def is_distorted(distortion: Distortion) -> bool:
    """Whether the lens bends rays at all."""
    return distortion.model not in ("PINHOLE", "SIMPLE_PINHOLE") and (
        any(distortion.parameters) or distortion.model in _ALWAYS_BENT or distortion.model.endswith("FISHEYE"))


def _squared(points: Points) -> Points:
    return (points * points).sum(axis=-1, keepdims=True)


def _series(squared: Points, *coefficients: float) -> Points:
    """1 + k1 s + k2 s^2 + ..."""
    total = np.zeros_like(squared)
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * squared
    return 1.0 + total


def _tangential(points: Points, p1: float, p2: float) -> Points:
    """Brown's decentring: p1 belongs to the v axis, p2 to the u axis."""
    squared, product = _squared(points)[..., 0], points.prod(axis=-1)
    return np.stack([2 * p1 * product + p2 * (squared + 2 * points[..., 0] ** 2),
                     2 * p2 * product + p1 * (squared + 2 * points[..., 1] ** 2)], axis=-1)


def _equidistant(points: Points) -> Points:
    """A perfect fisheye: the radius is the angle."""
    radius = np.sqrt(_squared(points))
    return np.where(radius > SMALLEST_RADIUS, np.arctan(radius) / np.maximum(radius, SMALLEST_RADIUS), 1.0) * points


def _radial(points: Points, *coefficients: float) -> Points:
    return points * _series(_squared(points), *coefficients)


def _opencv(points: Points, k1: float, k2: float, p1: float, p2: float) -> Points:
    return _radial(points, k1, k2) + _tangential(points, p1, p2)


def _full_opencv(points: Points, k1: float, k2: float, p1: float, p2: float, k3: float, k4: float, k5: float,
                 k6: float) -> Points:
    return _radial(points, k1, k2, k3) / _series(_squared(points), k4, k5, k6) + _tangential(points, p1, p2)


def _radial_fisheye(points: Points, *coefficients: float) -> Points:
    return _radial(_equidistant(points), *coefficients)


def _fov(points: Points, omega: float) -> Points:
    """Devernay and Faugeras (2001)."""
    radius = np.maximum(np.sqrt(_squared(points)), SMALLEST_RADIUS)
    if abs(omega) < 1e-6:
        return points
    return points * np.arctan(radius * 2 * np.tan(omega / 2)) / (radius * omega)


def _thin_prism_fisheye(points: Points, k1: float, k2: float, p1: float, p2: float, k3: float, k4: float, sx1: float,
                        sy1: float) -> Points:
    bent = _equidistant(points)
    return _radial(bent, k1, k2, k3, k4) + _tangential(bent, p1, p2) + _squared(bent) * np.array([sx1, sy1])


def _rad_tan_thin_prism_fisheye(points: Points, *coefficients: float) -> Points:
    """Six radial, two tangential, four thin-prism coefficients, each stage working on the one before."""
    bent = _radial(_equidistant(points), *coefficients[:6])
    p0, p1, s0, s1, s2, s3 = coefficients[6:]
    squared = _squared(bent)[..., 0]
    prism = np.stack([s0 * squared + s1 * squared ** 2, s2 * squared + s3 * squared ** 2], axis=-1)
    return bent + _tangential(bent, p1, p0) + prism


def _division(points: Points, k: float) -> Points:
    """Fitzgibbon (2001), solved for the distorted radius; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        return points * 2 / (1 + np.sqrt(1 - 4 * k * _squared(points)))


def _eucm(points: Points, alpha: float, beta: float) -> Points:
    """Enhanced unified camera model (Khomutenko et al. 2016)."""
    return points / (alpha * np.sqrt(beta * _squared(points) + 1) + (1 - alpha))


_BENDS: dict[str, Bend] = {
    "SIMPLE_RADIAL": _radial, "RADIAL": _radial, "OPENCV": _opencv, "FULL_OPENCV": _full_opencv,
    "OPENCV_FISHEYE": _radial_fisheye, "SIMPLE_RADIAL_FISHEYE": _radial_fisheye, "RADIAL_FISHEYE": _radial_fisheye,
    "FOV": _fov, "THIN_PRISM_FISHEYE": _thin_prism_fisheye, "RAD_TAN_THIN_PRISM_FISHEYE": _rad_tan_thin_prism_fisheye,
    "SIMPLE_DIVISION": _division, "DIVISION": _division, "SIMPLE_FISHEYE": _equidistant, "FISHEYE": _equidistant,
    "EUCM": _eucm,
}
_ALWAYS_BENT = ("EUCM", "FOV")


def bend(points: NDArray[np.floating], distortion: Distortion) -> Points:
    """Places on the image plane (focal length 1, principal point 0) where a lens puts the rays (x, y, 1).

    Args:
        points: [..., 2] of the rays.
        distortion: the lens.

    Raises:
        InputError: unknown model, or another number of coefficients than it has.
    """
    places = np.asarray(points, np.float64)
    if not is_distorted(distortion):
        return places
    model = MODEL_OF_NAME.get(distortion.model)
    if model is None or model.coefficients != len(distortion.parameters):
        raise InputError("camera-model-unknown", f"The lens model {distortion.model!r} with "
                         f"{len(distortion.parameters)} coefficients is not known.", "Undistort the photographs first.")
    return _BENDS[distortion.model](places, *distortion.parameters)


def photograph_pixels(camera: Camera, distortion: Distortion, pixels: NDArray[np.floating]) -> Points:
    """Where the photograph shows pixels of its pinhole camera's image (same ``K`` and size).

    Args:
        camera: the pinhole camera.
        distortion: the photograph's lens.
        pixels: [..., 2], origin at the upper left corner.

    Returns:
        [..., 2]; NaN where the lens model has turned back on itself, so that the photograph shows something else.
    """
    homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
    rays = (homogeneous @ np.linalg.inv(camera.K).T)[..., :2]
    bent = bend(rays, distortion)
    step = 1e-5
    right = bend(rays + np.array([step, 0.0]), distortion) - bent
    down = bend(rays + np.array([0.0, step]), distortion) - bent
    unfolded = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] > 0
    bent = np.where(unfolded[..., None], bent, np.nan)
    return bent @ camera.K[:2, :2].T + camera.K[:2, 2]


def undistorted(photo: NDArray[np.floating], camera: Camera, distortion: Distortion
                ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A photograph as its pinhole camera would have taken it.

    Args:
        photo: [H, W, C].
        camera: of that size.
        distortion: the photograph's lens.

    Returns:
        [H, W, C], interpolated linearly, and [H, W] where the photograph shows something at all.
    """
    height, width = photo.shape[:2]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    at = photograph_pixels(camera, distortion, np.stack([u, v], axis=-1))
    with np.errstate(invalid="ignore"):
        seen = np.isfinite(at).all(axis=-1) & (at >= 0).all(axis=-1) & (at <= (width, height)).all(axis=-1)
    x, y = (np.clip(np.nan_to_num(at[..., axis]) - 0.5, 0, extent - 1) for axis, extent in ((0, width), (1, height)))
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, below = (x - left)[..., None], (y - top)[..., None]
    upper = photo[top, left] * (1 - across) + photo[top, right] * across
    lower = photo[bottom, left] * (1 - across) + photo[bottom, right] * across
    return np.where(seen[..., None], upper * (1 - below) + lower * below, 0).astype(np.float32), seen
