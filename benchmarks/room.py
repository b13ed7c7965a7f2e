# SPDX-License-Identifier: GPL-3.0-or-later
"""A room with patterned walls, ray by ray: captures of any number of views and any size, with exact depth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from interngs.scene.cameras import Camera, look_at
from interngs.scene.capture import Capture, View

HALF = np.array([4.0, 2.0, 4.0])
"""Half the room's size, world units."""
RADIUS = 1.5
TEXELS = 1024


def room_capture(views: int, width: int, height: int, with_depth: bool = False) -> Capture:
    """Cameras on a ring in the room, looking across it, as somebody walks around a table."""
    walls = [_pattern(seed) for seed in range(6)]
    K = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1.0]])
    made = []
    for index in range(views):
        angle = 2 * np.pi * index / views
        centre = np.array([RADIUS * np.sin(angle), 0.2 * np.sin(3 * angle), -RADIUS * np.cos(angle)])
        camera = Camera(K, look_at(centre, np.zeros(3), np.array([0.0, -1.0, 0.0])), width, height)
        made.append(_photograph(f"view{index:03d}", camera, walls, with_depth))
    return Capture(tuple(made), "a room made for a benchmark")


def _photograph(name: str, camera: Camera, walls: list[NDArray[np.float32]], with_depth: bool) -> View:
    rays = camera.pixel_rays().astype(np.float64) @ camera.camera_from_world[:3, :3]
    with np.errstate(divide="ignore"):
        reach = (np.sign(rays) * HALF - camera.centre) / rays
    axis = np.argmin(reach, axis=-1)
    depth = np.take_along_axis(reach, axis[..., None], -1)[..., 0]     # rays have z = 1, so their length is the depth
    points = camera.centre + depth[..., None] * rays
    image = np.zeros((*axis.shape, 3), np.float32)
    for side in range(3):
        across = [other for other in range(3) if other != side]
        for number, positive in enumerate((False, True)):
            here = (axis == side) & ((rays[..., side] > 0) == positive)
            texel = ((points[here][:, across] / (2 * HALF.max()) + 0.5) * (TEXELS - 1)).astype(np.float32)
            if len(texel):
                wall = walls[2 * side + number]
                rows, columns = np.round(texel).astype(np.int64).T
                image[here] = wall[rows.clip(0, TEXELS - 1), columns.clip(0, TEXELS - 1)]
    return View(name, image, camera, depth=depth.astype(np.float32) if with_depth else None)


def _pattern(seed: int) -> NDArray[np.float32]:
    """Noise at several scales, as plaster and wallpaper have it."""
    random = np.random.default_rng(seed)
    total = np.zeros((TEXELS, TEXELS, 3), np.float32)
    for octave in range(3, 9):
        noise = random.random((2**octave, 2**octave, 3)).astype(np.float32) - 0.5
        total += cv2.resize(noise, (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC) / (octave - 1)
    return np.clip(0.5 + 1.2 * total, 0, 1).astype(np.float32)
