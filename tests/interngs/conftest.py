# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny scene with exact answers: a slanted, textured wall seen by three cameras."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View

WIDTH, HEIGHT, FOCAL_PX = 48, 36, 60.0
CENTRES_X = (0.0, 0.3, 0.6)


def wall_camera(x: float) -> Camera:
    pose = np.eye(4)
    pose[0, 3] = -x
    return Camera(np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1.0]]), pose, WIDTH, HEIGHT)


def wall_view(x: float) -> View:
    """The wall z = 4 + 0.3 X with its exact depth."""
    camera = wall_camera(x)
    depth = (4.0 + 0.3 * x) / (1.0 - 0.3 * camera.pixel_rays()[..., 0])
    points = camera.unproject(depth)
    colour = 0.5 + 0.2 * np.stack([np.sin(4 * points[..., 0]), np.cos(5 * points[..., 1]),
                                   np.sin(3 * points[..., 0] + 4 * points[..., 1])], axis=-1)
    return View(f"wall_{x}.png", colour.astype(np.float32), camera, depth=depth.astype(np.float32))


@pytest.fixture(scope="session")
def wall_capture() -> Capture:
    return Capture(tuple(map(wall_view, CENTRES_X)), "a wall made for the test")


@pytest.fixture
def wall_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes the wall as a folder with transforms.json and depth files; ``change`` may edit the JSON first."""
    def write(change: Callable[[dict], None] = lambda content: None) -> Path:
        folder = tmp_path / "wall"
        folder.mkdir()
        frames = []
        for x in CENTRES_X:
            view = wall_view(x)
            Image.fromarray(np.round(view.image * 255).astype(np.uint8)).save(folder / view.name)
            np.save(folder / f"{view.name}.npy", view.depth)
            opengl = view.posed_camera.world_from_camera @ np.diag([1.0, -1, -1, 1])
            frames.append({"file_path": view.name, "transform_matrix": opengl.tolist(),
                           "depth_file_path": f"{view.name}.npy"})
        content = {"fl_x": FOCAL_PX, "fl_y": FOCAL_PX, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT,
                   "frames": frames}
        change(content)
        (folder / "transforms.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    return write
