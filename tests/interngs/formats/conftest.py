# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny captures made for the readers' tests: photos, poses, COLMAP models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from interngs.scene.cameras import Camera


@pytest.fixture
def write_photos() -> Callable[..., list[str]]:
    """``write_photos(folder, names, size)`` writes small photos with different pixels and returns the names."""

    def write(folder: Path, names: Sequence[str], size: tuple[int, int] = (40, 30)) -> list[str]:
        for index, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        return list(names)

    return write


@pytest.fixture
def ring_of_cameras() -> Callable[..., list[Camera]]:
    """``ring_of_cameras(count)``: cameras on an arc that look at the origin, none of them axis-aligned."""

    def make(count: int, size: tuple[int, int] = (40, 30)) -> list[Camera]:
        cameras = []
        for angle in np.linspace(0.1, 1.3, count):
            centre = np.array([4 * np.sin(angle), 0.7 + angle, -4 * np.cos(angle)])
            forward = -centre / np.linalg.norm(centre)
            right = np.cross([0.1, 1.0, 0.0], forward)
            right /= np.linalg.norm(right)
            pose = np.eye(4)
            pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
            pose[:3, 3] = -pose[:3, :3] @ centre
            K = np.array([[50.0, 0.0, size[0] / 2 + 1.5], [0.0, 47.0, size[1] / 2 - 2.25], [0.0, 0.0, 1.0]])
            cameras.append(Camera(K, pose, *size))
        return cameras

    return make


@pytest.fixture
def write_colmap_model() -> Callable[..., None]:
    """``write_colmap_model(folder, names, poses, model, parameters, size, text)`` writes a model with pycolmap."""

    def write(folder: Path, names: Sequence[str], poses: Sequence[np.ndarray], model: str = "PINHOLE",
              parameters: Sequence[float] = (50.0, 47.0, 21.5, 12.75), size: tuple[int, int] = (40, 30),
              text: bool = False) -> None:
        reconstruction = pycolmap.Reconstruction()
        camera = pycolmap.Camera.create_from_model_name(1, model, 50.0, *size)
        camera.params = list(parameters)
        reconstruction.add_camera_with_trivial_rig(camera)
        for index, (name, pose) in enumerate(zip(names, poses, strict=True), start=1):
            image = pycolmap.Image(name=name, camera_id=1, image_id=index)
            image.points2D = pycolmap.Point2DList([pycolmap.Point2D(np.array([3.0, 4.0])) for _ in range(index)])
            reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
        track = pycolmap.Track()
        track.add_element(1, 0)
        reconstruction.add_point3D(np.array([0.25, -0.5, 0.75]), track, np.array([10, 20, 30], np.uint8))
        reconstruction.add_point3D(np.array([-1.0, 2.0, 3.5]), pycolmap.Track(), np.array([255, 0, 7], np.uint8))
        folder.mkdir(parents=True, exist_ok=True)
        if text:
            reconstruction.write_text(str(folder))
        else:
            reconstruction.write_binary(str(folder))

    return write
