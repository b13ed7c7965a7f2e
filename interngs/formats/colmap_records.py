# SPDX-License-Identifier: GPL-3.0-or-later
"""What a COLMAP sparse model says, as plain records, whatever its encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.capture import Distortion, SparsePoints
from .camera_models import CameraModel, split_parameters


@dataclass(frozen=True, eq=False)
class ColmapCamera:
    """Intrinsics shared by images: ``K`` [3, 3] pixels, size, distortion."""

    K: NDArray[np.float64]
    width_px: int
    height_px: int
    distortion: Distortion


@dataclass(frozen=True, eq=False)
class ColmapImage:
    """A registered image: ``camera_from_world`` [4, 4] and the camera it was taken with."""

    name: str
    camera_id: int
    camera_from_world: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """A sparse model; ``points`` is None when the model has no file of points."""

    cameras: dict[int, ColmapCamera]
    images: tuple[ColmapImage, ...]
    points: SparsePoints | None


def broken(name: str, detail: str) -> InputError:
    """The error of a model file that is cut short or breaks its format."""
    return InputError("colmap-broken", f"{name} cannot be read: {detail}.",
                      "The file is cut short or damaged; copy it or export the sparse model from COLMAP again.")


def make_camera(model: CameraModel, width: int, height: int, parameters: Sequence[float], where: str) -> ColmapCamera:
    """A camera record; raises ``InputError`` where size or parameters cannot be."""
    if not (0 < width < 1 << 20 and 0 < height < 1 << 20):
        raise broken(where, f"a camera is {width}x{height} px")
    K, distortion = split_parameters(model, parameters, where)
    return ColmapCamera(K, width, height, distortion)


def make_image(name: str, camera_id: int, quaternion: Sequence[float], translation: Sequence[float], where: str
               ) -> ColmapImage:
    """An image record from COLMAP's quaternion (wxyz, any length) and translation of ``camera_from_world``."""
    if not name or not name.isprintable():
        raise broken(where, f"{name[:30]!r} is no name of an image")
    q = np.array(quaternion, np.float64)
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(q))
    if not (np.isfinite(norm) and norm > 1e-9 and np.isfinite(translation).all()):
        raise InputError("camera-not-finite", f"The pose of image {name!r} in {where} is not finite or has no "
                         "rotation.", "Write the model again, or leave this image out.")
    w, x, y, z = q / norm
    pose = np.eye(4)
    pose[:3, :3] = [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]
    pose[:3, 3] = translation
    return ColmapImage(name, camera_id, pose)


def make_points(positions: NDArray[np.float64], colours: NDArray[np.uint8]) -> SparsePoints:
    """Sparse points; those that are not finite are left out."""
    finite = np.isfinite(positions).all(axis=1)
    return SparsePoints(positions[finite], colours[finite])
