# SPDX-License-Identifier: GPL-3.0-or-later
"""Undistortion: rays of every camera model held to pycolmap, pictures to OpenCV and to a scene seen by both cameras."""

from __future__ import annotations

import cv2
import numpy as np
import pycolmap
import pytest

from interngs.errors import InputError
from interngs.formats.camera_models import CAMERA_MODELS, MODEL_OF_NAME
from interngs.images.undistort import is_distorted, pinhole_map, remap, remap_nearest
from interngs.scene.cameras import Camera
from interngs.scene.capture import Distortion

SIZE = (96, 64)
COEFFICIENTS = {
    "SIMPLE_RADIAL": (0.05,), "RADIAL": (-0.1, 0.02), "OPENCV": (-0.1, 0.03, 0.002, -0.003),
    "OPENCV_FISHEYE": (0.02, -0.01, 0.003, 0.001), "FULL_OPENCV": (0.1, 0.02, 0.001, -0.002, 0.01, 0.05, 0.01, 0.002),
    "FOV": (0.6,), "SIMPLE_RADIAL_FISHEYE": (0.03,), "RADIAL_FISHEYE": (0.03, -0.01),
    "THIN_PRISM_FISHEYE": (0.02, 0.01, 0.001, 0.002, 0.003, 0.001, 0.002, -0.001),
    "RAD_TAN_THIN_PRISM_FISHEYE": (0.02, 0.01, 0.001, 0, 0, 0, 0.001, 0.002, 0.001, 0.0005, 0.002, 0.0001),
    "SIMPLE_DIVISION": (-0.05,), "DIVISION": (0.05,), "EUCM": (0.6, 1.1),
}


def _camera(fx: float = 80.0, fy: float = 74.0, cx: float = 50.5, cy: float = 29.25) -> Camera:
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.eye(4), *SIZE)


@pytest.mark.parametrize("model", CAMERA_MODELS, ids=lambda model: model.name)
def test_each_pixel_comes_from_where_pycolmap_says(model) -> None:
    camera = _camera(fy=74.0 if model.focals == 2 else 80.0)
    distortion = Distortion(model.name, COEFFICIENTS.get(model.name, ()))
    pixel_map = pinhole_map(camera, distortion, "photo")
    assert pixel_map.valid.mean() > 0.7
    theirs = pycolmap.Camera.create_from_model_name(1, model.name, 80.0, *SIZE)
    theirs.params = [*[80.0, 74.0][:model.focals], 50.5, 29.25, *distortion.parameters]
    photo_pixels = np.stack([pixel_map.x, pixel_map.y], axis=-1)[pixel_map.valid].astype(np.float64) + 0.5
    back = theirs.cam_from_img(photo_pixels)
    pinhole_pixels = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), axis=-1)[pixel_map.valid] + 0.5
    expected = (pinhole_pixels - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
    np.testing.assert_allclose(back, expected, atol=3e-6)
    assert is_distorted(distortion) == (model.name not in ("SIMPLE_PINHOLE", "PINHOLE"))


def test_no_coefficient_no_distortion() -> None:
    assert not is_distorted(Distortion())
    assert not is_distorted(Distortion("OPENCV", (0.0, 0.0, 0.0, 0.0)))
    assert is_distorted(Distortion("OPENCV_FISHEYE", (0.0, 0.0, 0.0, 0.0)))
    assert is_distorted(Distortion("EUCM", (0.0, 1.0)))


def _picture(directions: np.ndarray) -> np.ndarray:
    """A smooth coloured sky: the colour of each viewing direction [..., 3]."""
    x, y = directions[..., 0] / directions[..., 2], directions[..., 1] / directions[..., 2]
    waves = np.stack([np.sin(6 * x + 2 * y), np.cos(5 * y - x), np.sin(4 * x * y + x)], axis=-1)
    return (0.5 + 0.4 * waves).astype(np.float32)


@pytest.mark.parametrize("name", sorted(COEFFICIENTS))
def test_the_undistorted_picture_is_what_a_pinhole_sees(name) -> None:
    """Take a photo of a known sky through the lens; undistorted, it is the sky through the pinhole."""
    focals = MODEL_OF_NAME[name].focals
    camera = _camera(fy=74.0 if focals == 2 else 80.0)
    lens = pycolmap.Camera.create_from_model_name(1, name, 80.0, *SIZE)
    lens.params = [*[80.0, 74.0][:focals], 50.5, 29.25, *COEFFICIENTS[name]]
    grid = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), axis=-1).reshape(-1, 2) + 0.5
    photo = _picture(np.column_stack([lens.cam_from_img(grid), np.ones(len(grid))]).reshape(SIZE[1], SIZE[0], 3))
    pixel_map = pinhole_map(camera, Distortion(name, COEFFICIENTS[name]), "photo")
    seen = remap(photo, pixel_map)
    inner = cv2.erode(pixel_map.valid.astype(np.uint8), np.ones((5, 5))) > 0
    assert inner.mean() > 0.5
    assert np.abs(seen - _picture(camera.pixel_rays()))[inner].max() < 0.01


def test_agrees_with_opencv() -> None:
    camera, coefficients = _camera(), COEFFICIENTS["OPENCV"]
    photo = np.random.default_rng(0).random((SIZE[1], SIZE[0], 3), np.float32)
    centred = camera.K.copy()
    centred[:2, 2] -= 0.5
    x, y = cv2.initUndistortRectifyMap(centred, np.array(coefficients), None, centred, SIZE, cv2.CV_32FC1)
    pixel_map = pinhole_map(camera, Distortion("OPENCV", coefficients), "photo")
    np.testing.assert_allclose(pixel_map.x[pixel_map.valid], x[pixel_map.valid], atol=1e-4)
    np.testing.assert_allclose(pixel_map.y[pixel_map.valid], y[pixel_map.valid], atol=1e-4)
    theirs = np.clip(cv2.remap(photo, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), 0, 1)
    np.testing.assert_allclose(remap(photo, pixel_map)[pixel_map.valid], theirs[pixel_map.valid], atol=0.05)


def test_border_is_invalid_where_the_photo_ends() -> None:
    """Pincushion distortion pulls the frame's corners out of the photo."""
    pixel_map = pinhole_map(_camera(), Distortion("SIMPLE_RADIAL", (0.3,)), "photo")
    assert not pixel_map.valid[0, 0]
    assert pixel_map.valid[32, 48]
    depth = remap_nearest(np.full((SIZE[1], SIZE[0]), 2.0, np.float32), pixel_map)
    np.testing.assert_array_equal(depth, np.where(pixel_map.valid, 2.0, 0.0))


def test_fold_over_is_invalid() -> None:
    """r (1 + k r^2) with k = -1/3 turns back at r = 1: beyond, pixels would show the middle a second time."""
    camera = _camera(fx=20.0, fy=20.0, cx=48.0, cy=32.0)
    pixel_map = pinhole_map(camera, Distortion("SIMPLE_RADIAL", (-1 / 3,)), "photo")
    radius = np.hypot(*np.moveaxis(camera.pixel_rays()[..., :2], -1, 0))
    assert not pixel_map.valid[radius > 1.0].any()
    assert pixel_map.valid[radius < 0.9].all()


def test_unknown_models_and_hopeless_coefficients() -> None:
    for distortion in (Distortion("NEW_MODEL", (0.1,)), Distortion("OPENCV", (0.1,))):
        with pytest.raises(InputError) as caught:
            pinhole_map(_camera(), distortion, "photo")
        assert caught.value.code == "camera-model-unknown"
    with pytest.raises(InputError) as caught:
        pinhole_map(_camera(), Distortion("SIMPLE_RADIAL", (1e6,)), "photo")
    assert caught.value.code == "distortion-invalid"
