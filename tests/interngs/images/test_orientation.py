# SPDX-License-Identifier: GPL-3.0-or-later
"""EXIF turns: held to Pillow's; cameras turned with their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from interngs.errors import InputError
from interngs.images.orientation import turn_back, turn_camera, turn_upright
from interngs.scene.cameras import Camera, validate_camera


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_turn_as_in_pillow(orientation) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    upright = turn_upright(pixels, orientation)
    np.testing.assert_array_equal(upright, np.asarray(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(turn_back(upright, orientation), pixels)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_turned_camera_sees_the_same_points_in_the_turned_pixels(orientation) -> None:
    generator = np.random.default_rng(4)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3, :3] = rotation * np.linalg.det(rotation)
    pose[:3, 3] = [0.1, -0.2, 5.0]
    camera = Camera(np.array([[50.0, 0, 30.5], [0, 60.0, 11.25], [0, 0, 1]]), pose, 64, 40)
    turned = turn_camera(camera, orientation, "photo")
    validate_camera(turned, "photo")
    assert (turned.width_px, turned.height_px) == ((40, 64) if orientation >= 5 else (64, 40))
    assert turned.K[0, 0] == (60.0 if orientation >= 5 else 50.0)
    np.testing.assert_allclose(turned.centre, camera.centre)
    np.testing.assert_allclose(turned.forward, camera.forward)
    rows, columns = np.mgrid[0:40, 0:64]
    index = turn_upright(np.stack([columns + 0.5, rows + 0.5], axis=-1), orientation)
    points = camera.unproject(np.full((40, 64), 3.0))[rows.ravel(), columns.ravel()]
    pixels, depth = turned.project(points)
    np.testing.assert_allclose(depth, 3.0)
    where = np.floor(pixels).astype(int)
    np.testing.assert_allclose(index[where[:, 1], where[:, 0]],
                               np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1))


@pytest.mark.parametrize("orientation", [2, 4, 5, 7])
def test_mirrors_have_no_camera(orientation) -> None:
    camera = Camera(np.array([[50.0, 0, 30.5], [0, 60.0, 11.25], [0, 0, 1]]), np.eye(4), 64, 40)
    with pytest.raises(InputError, match="mirrors"):
        turn_camera(camera, orientation, "photo")
