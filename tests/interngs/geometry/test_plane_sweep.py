# SPDX-License-Identifier: GPL-3.0-or-later
"""Plane sweep on scenes rendered analytically, whose depth is known exactly."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from interngs.errors import InputError
from interngs.geometry.plane_sweep import PlaneSweep
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View

WIDTH, HEIGHT, FOCAL_PX = 160, 120, 150.0


def camera_at(x: float, y: float = 0.0, turn: float = 0.0) -> Camera:
    """A camera at (x, y, 0) that looks along +z, turned about the y axis by ``turn`` radians."""
    cosine, sine = np.cos(turn), np.sin(turn)
    pose = np.eye(4)
    pose[:3, :3] = [[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]]
    pose[:3, 3] = -pose[:3, :3] @ [x, y, 0.0]
    K = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
    return Camera(K, pose, WIDTH, HEIGHT)


def smooth_noise(seed: int) -> np.ndarray:
    """[512, 512, 3] texture with detail at several scales."""
    rng = np.random.default_rng(seed)
    texture = np.zeros((512, 512, 3), np.float32)
    for size in (64, 128, 256):
        texture += cv2.resize(rng.random((size, size, 3)).astype(np.float32), (512, 512),
                              interpolation=cv2.INTER_CUBIC)
    return np.clip(texture / 3, 0, 1)


class Rectangle:
    """A textured plane z = offset + slope * x, limited to x in [left, right]."""

    def __init__(self, offset: float, slope: float = 0.0, left: float = -9.0, right: float = 9.0,
                 seed: int = 0) -> None:
        self.offset, self.slope, self.left, self.right = offset, slope, left, right
        self.texture = smooth_noise(seed)

    def hit(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """z-depth [H, W] (inf where missed) and colour [H, W, 3]."""
        rays = camera.pixel_rays() @ camera.world_from_camera[:3, :3].T
        centre = camera.centre
        scale = (self.offset + self.slope * centre[0] - centre[2]) / (rays[..., 2] - self.slope * rays[..., 0])
        points = centre + scale[..., None] * rays
        inside = (scale > 0) & (points[..., 0] > self.left) & (points[..., 0] < self.right)
        uv = ((points[..., :2] / 6 + 0.5) * 511).astype(np.float32)
        colour = cv2.remap(self.texture, uv[..., 0], uv[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        return np.where(inside, scale, np.inf), colour


def render(camera: Camera, surfaces: list[Rectangle], name: str) -> tuple[View, np.ndarray]:
    """The view of the nearest surfaces and its exact depth."""
    depth, image = np.full((HEIGHT, WIDTH), np.inf), np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for surface in surfaces:
        z, colour = surface.hit(camera)
        nearer = z < depth
        depth[nearer], image[nearer] = z[nearer], colour[nearer]
    return View(name, np.clip(image, 0, 1).astype(np.float32), camera), depth


def scene(surfaces: list[Rectangle]) -> tuple[Capture, list[np.ndarray]]:
    cameras = [camera_at(-0.35, turn=-0.06), camera_at(0.0), camera_at(0.35, 0.1, turn=0.06)]
    rendered = [render(camera, surfaces, f"view {k}") for k, camera in enumerate(cameras)]
    return Capture(tuple(view for view, _ in rendered)), [depth for _, depth in rendered]


def estimate(capture: Capture):
    return PlaneSweep().estimate(capture, lambda done, total: None)


def test_slanted_plane_is_measured_to_a_fraction_of_a_per_cent():
    capture, truth = scene([Rectangle(4.0, slope=0.4)])
    geometry = estimate(capture)
    for view, exact in zip(geometry.views, truth, strict=True):
        error = np.abs(view.depth / exact - 1)
        confident = view.confidence >= 3
        assert confident.mean() > 0.7
        assert np.median(error[confident]) < 0.006
        assert (error < 0.02).mean() > 0.8


def test_views_without_camera_are_refused_by_name():
    capture, _ = scene([Rectangle(4.0)])
    views = (replace(capture.views[0], camera=None), *capture.views[1:])
    with pytest.raises(InputError, match="view 0"):
        estimate(Capture(views))
