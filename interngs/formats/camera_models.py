# SPDX-License-Identifier: GPL-3.0-or-later
"""COLMAP's camera models: number, name and the order of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.capture import Distortion
from .view_files import intrinsics


@dataclass(frozen=True)
class CameraModel:
    """One model: ``focals`` focal lengths (1 or 2), the principal point, then ``coefficients`` of distortion."""

    number: int
    name: str
    focals: int
    coefficients: int

    @property
    def parameters(self) -> int:
        """How many parameters the model has in a file."""
        return self.focals + 2 + self.coefficients


CAMERA_MODELS = (
    CameraModel(0, "SIMPLE_PINHOLE", 1, 0), CameraModel(1, "PINHOLE", 2, 0), CameraModel(2, "SIMPLE_RADIAL", 1, 1),
    CameraModel(3, "RADIAL", 1, 2), CameraModel(4, "OPENCV", 2, 4), CameraModel(5, "OPENCV_FISHEYE", 2, 4),
    CameraModel(6, "FULL_OPENCV", 2, 8), CameraModel(7, "FOV", 2, 1), CameraModel(8, "SIMPLE_RADIAL_FISHEYE", 1, 1),
    CameraModel(9, "RADIAL_FISHEYE", 1, 2), CameraModel(10, "THIN_PRISM_FISHEYE", 2, 8),
    CameraModel(11, "RAD_TAN_THIN_PRISM_FISHEYE", 2, 12), CameraModel(12, "SIMPLE_DIVISION", 1, 1),
    CameraModel(13, "DIVISION", 2, 1), CameraModel(14, "SIMPLE_FISHEYE", 1, 0), CameraModel(15, "FISHEYE", 2, 0),
    CameraModel(16, "EUCM", 2, 2),
)
"""The models that a pinhole view can be cut from (COLMAP 4.2, ``src/colmap/sensor/models.h``)."""

MODEL_OF_NUMBER = {model.number: model for model in CAMERA_MODELS}
MODEL_OF_NAME = {model.name: model for model in CAMERA_MODELS}


def unknown_model(model: object, where: str) -> InputError:
    """The error of a camera model that cannot be read."""
    return InputError("camera-model-unknown", f"{where} uses the camera model {model}, which is not supported.",
                      "Undistort the images first (for example with 'colmap image_undistorter') and use that result.")


def split_parameters(model: CameraModel, parameters: Sequence[float], where: str
                     ) -> tuple[NDArray[np.float64], Distortion]:
    """``K`` [3, 3] and the distortion of a model's parameters in COLMAP's order.

    Raises:
        InputError: the number of parameters is wrong, or a coefficient is not finite.
    """
    if len(parameters) != model.parameters:
        raise InputError("camera-parameters", f"{where} has {len(parameters)} parameters; {model.name} has "
                         f"{model.parameters}.", "Write the camera file again.")
    fx, fy = parameters[0], parameters[model.focals - 1]
    cx, cy = parameters[model.focals:model.focals + 2]
    coefficients = tuple(float(value) for value in parameters[model.focals + 2:])
    if not np.isfinite(coefficients).all():
        raise InputError("camera-not-finite", f"{where} has distortion coefficients that are not finite.",
                         "Write the camera file again.")
    name = "PINHOLE" if model.name == "SIMPLE_PINHOLE" else model.name
    return intrinsics(fx, fy, cx, cy), Distortion(name, coefficients)
