# SPDX-License-Identifier: GPL-3.0-or-later
"""Transforms of whole splats: turning the splat equals turning the camera; mirrors and stretches too."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.scene.axes import AXES, axes_rotation
from interngs.scene.gaussians import Gaussians
from interngs.scene.quaternions import matrices_from_quaternions, multiply, quaternions_from_matrices
from interngs.scene.sh import evaluate_sh
from interngs.scene.transforms import convert_axes, transform_gaussians


def make(n: int = 60, degree: int = 3, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(n, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    arrays = (rng.normal(size=(n, 3)), quats, rng.normal(-2, 1, (n, 3)), rng.normal(size=n),
              rng.normal(size=(n, (degree + 1) ** 2, 3)))
    return Gaussians(*(a.astype(np.float32) for a in arrays))


def rotation(seed: int) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q if np.linalg.det(q) > 0 else -q


def covariances(g: Gaussians) -> np.ndarray:
    axes = matrices_from_quaternions(g.quats) * g.scales.astype(np.float64)[:, None, :]
    return axes @ axes.transpose(0, 2, 1)


def seen_from(g: Gaussians, camera: np.ndarray) -> np.ndarray:
    ray = g.means - camera
    return evaluate_sh(g.sh, ray / np.linalg.norm(ray, axis=1, keepdims=True))


def affine(linear: np.ndarray, move: tuple[float, float, float] = (1.0, -2.0, 3.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, move
    return matrix


@pytest.mark.parametrize("linear", [np.eye(3), rotation(1), 2.5 * rotation(2), 0.01 * rotation(3),
                                    -rotation(4), 3 * rotation(5) @ np.diag([1, -1, 1])])
def test_similarities_and_mirrors_are_exact(linear: np.ndarray) -> None:
    g, matrix, camera = make(), affine(linear), np.array([4.0, 5, -6])
    moved = transform_gaussians(g, matrix)
    np.testing.assert_allclose(moved.means, g.means @ linear.T + matrix[:3, 3], atol=1e-5)
    expected = linear @ covariances(g) @ linear.T
    np.testing.assert_allclose(covariances(moved), expected, atol=2e-6 * np.abs(expected).max())
    np.testing.assert_allclose(seen_from(moved, linear @ camera + matrix[:3, 3]), seen_from(g, camera), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(moved.quats, axis=1), 1, atol=1e-6)


def test_a_stretch_keeps_the_ellipsoids_exact() -> None:
    linear = rotation(1) @ np.diag([1.0, 2.0, 0.2]) @ rotation(2)
    g = make()
    expected = linear @ covariances(g) @ linear.T
    np.testing.assert_allclose(covariances(transform_gaussians(g, linear)), expected,
                               atol=3e-6 * np.abs(expected).max())


def test_back_and_forth_returns() -> None:
    g, matrix = make(degree=4), affine(1.7 * rotation(6))
    back = transform_gaussians(transform_gaussians(g, matrix), np.linalg.inv(matrix))
    np.testing.assert_allclose(back.means, g.means, atol=1e-5)
    np.testing.assert_allclose(back.sh, g.sh, atol=1e-5)
    np.testing.assert_allclose(back.log_scales, g.log_scales, atol=1e-5)


@pytest.mark.parametrize("matrix", [np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.nan), np.eye(2),
                                    np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]])])
def test_senseless_matrices_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError):
        transform_gaussians(make(2), matrix)


def test_quaternion_helpers_agree_with_matrices() -> None:
    quats = make(500).quats.astype(np.float64)
    quats[:4] = np.eye(4)
    quats[4] = [0, 0.6, 0.8, 0]
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    matrices = matrices_from_quaternions(quats)
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (500, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(quaternions_from_matrices(matrices) * quats, axis=1)), 1, atol=1e-12)
    np.testing.assert_allclose(matrices_from_quaternions(multiply(quats[:250], quats[250:])),
                               matrices[:250] @ matrices[250:], atol=1e-12)


def test_axes_say_the_same_direction() -> None:
    right, up, forward = ({"opencv": v[0], "opengl": v[1], "blender": v[2]} for v in (
        ([1, 0, 0], [1, 0, 0], [1, 0, 0]), ([0, -1, 0], [0, 1, 0], [0, 0, 1]), ([0, 0, 1], [0, 0, -1], [0, 1, 0])))
    for source in AXES:
        for target in AXES:
            for vector in (right, up, forward):
                np.testing.assert_array_equal(axes_rotation(target, source) @ vector[source], vector[target])
    g = make(3)
    assert convert_axes(g, "opencv", "opencv") is g
    np.testing.assert_allclose(convert_axes(g, "blender", "opencv").means[:, 2], -g.means[:, 1], atol=1e-7)


def test_half_turns_between_axes_keep_every_bit() -> None:
    g = make(200)
    there = convert_axes(g, "opengl", "opencv")
    back = convert_axes(there, "opencv", "opengl")
    np.testing.assert_array_equal(np.abs(there.sh), np.abs(g.sh))
    np.testing.assert_array_equal(back.sh, g.sh)
    np.testing.assert_array_equal(back.means, g.means)
