# SPDX-License-Identifier: GPL-3.0-or-later
"""A transformed splat seen by the old camera looks as the old splat seen by the camera moved the other way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interngs.render.view import ViewRenderer
from interngs.scene.cameras import Camera, look_at
from interngs.scene.gaussians import Gaussians
from interngs.scene.transforms import transform_gaussians

K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])


def splat(degree: int, n: int = 3000) -> Gaussians:
    """A noisy ball, strongly view-dependent in every band."""
    rng = np.random.default_rng(7)
    quats = rng.normal(size=(n, 4))
    sh = rng.normal(0, 0.25, (n, (degree + 1) ** 2, 3))
    sh[:, 0] = rng.uniform(-1, 1, (n, 3))
    arrays = (rng.normal(0, 0.6, (n, 3)), quats / np.linalg.norm(quats, axis=1, keepdims=True),
              rng.normal(-3, 0.5, (n, 3)), rng.normal(1, 1, n), sh)
    return Gaussians(*(a.astype(np.float32) for a in arrays))


def picture(g: Gaussians, pose: np.ndarray) -> np.ndarray:
    return ViewRenderer(g, torch.device("cpu")).render(Camera(K, pose, 160, 120)).rgb.astype(np.float64)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return -10 * math.log10(max(float(np.mean((a - b) ** 2)), 1e-12))


def turn(seed: int) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q if np.linalg.det(q) > 0 else -q


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_turn_the_splat_or_turn_the_camera(degree: int, seed: int) -> None:
    g = splat(degree)
    pose = look_at(np.array([0.3, -3.5, 1.0]), np.zeros(3), np.array([0, 0, 1.0]))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn(seed), (0.5, -0.2, 0.4)
    turned = picture(transform_gaussians(g, matrix), pose @ np.linalg.inv(matrix))
    straight = picture(g, pose)
    assert psnr(turned, straight) > 60
    # The test can fail: without turning the harmonics the pictures differ.
    unturned = transform_gaussians(g, matrix)
    unturned.sh[:] = g.sh
    assert psnr(picture(unturned, pose @ np.linalg.inv(matrix)), straight) < 35


def test_scaled_and_moved_the_picture_stays() -> None:
    g = splat(3)
    pose = look_at(np.array([0.3, -3.5, 1.0]), np.zeros(3), np.array([0, 0, 1.0]))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 2.5 * turn(3), (4, 5, 6)
    new_pose = pose @ np.linalg.inv(matrix)
    new_pose[:3] *= 2.5             # the camera moves along; distances grow as the splat does
    assert psnr(picture(transform_gaussians(g, matrix), new_pose), picture(g, pose)) > 60


def test_a_mirrored_splat_gives_the_mirrored_picture() -> None:
    g = splat(3)
    pose = np.eye(4)
    pose[2, 3] = 3.5
    mirrored = transform_gaussians(g, np.diag([-1.0, 1, 1, 1]))
    assert psnr(picture(mirrored, pose), picture(g, pose)[:, ::-1]) > 60
