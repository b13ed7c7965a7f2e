# SPDX-License-Identifier: GPL-3.0-or-later
"""Spherical harmonics against closed forms, orthonormality and rotated directions."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.scene.gaussians import SH_C0
from interngs.scene.sh import evaluate_sh, rotate_sh, sh_basis, sh_rotation


def directions(n: int, seed: int = 0) -> np.ndarray:
    d = np.random.default_rng(seed).normal(size=(n, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def rotation(seed: int = 0) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q if np.linalg.det(q) > 0 else -q


def test_closed_forms_up_to_degree_three() -> None:
    d = directions(50)
    x, y, z = d.T
    expected = np.stack([
        np.full_like(x, SH_C0), -0.48860251 * y, 0.48860251 * z, -0.48860251 * x,
        1.09254843 * x * y, -1.09254843 * y * z, 0.31539157 * (2 * z * z - x * x - y * y), -1.09254843 * x * z,
        0.54627422 * (x * x - y * y),
        -0.59004359 * y * (3 * x * x - y * y), 2.89061144 * x * y * z, -0.45704580 * y * (4 * z * z - x * x - y * y),
        0.37317633 * z * (2 * z * z - 3 * x * x - 3 * y * y), -0.45704580 * x * (4 * z * z - x * x - y * y),
        1.44530572 * z * (x * x - y * y), -0.59004359 * x * (x * x - 3 * y * y)], axis=1)
    np.testing.assert_allclose(sh_basis(d, 3), expected, atol=1e-7)


def test_degree_four_closed_forms() -> None:
    d = directions(50)
    x, y, z = d.T
    got = sh_basis(d, 4)[:, 16:]
    np.testing.assert_allclose(got[:, 0], 2.50334294 * x * y * (x * x - y * y), atol=1e-7)
    np.testing.assert_allclose(got[:, 4], 0.10578555 * (35 * z**4 - 30 * z * z + 3), atol=1e-7)
    np.testing.assert_allclose(got[:, 8], 0.62583574 * (x * x * (x * x - 3 * y * y) - y * y * (3 * x * x - y * y)),
                               atol=1e-7)


def test_the_basis_is_orthonormal() -> None:
    cosines, weights = np.polynomial.legendre.leggauss(12)
    angles = np.arange(24) * 2 * np.pi / 24
    z, phi = np.meshgrid(cosines, angles, indexing="ij")
    r = np.sqrt(1 - z * z)
    basis = sh_basis(np.stack([r * np.cos(phi), r * np.sin(phi), z], -1), 4)
    gram = np.einsum("ij,ijk,ijl->kl", np.repeat(weights[:, None], 24, 1) * 2 * np.pi / 24, basis, basis)
    np.testing.assert_allclose(gram, np.eye(25), atol=1e-12)


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("mirror", [1, -1])
def test_turned_coefficients_show_the_same_along_turned_directions(degree: int, mirror: int) -> None:
    sh = np.random.default_rng(1).normal(size=(40, (degree + 1) ** 2, 3)).astype(np.float32)
    turn = rotation(degree) * mirror
    for direction in directions(10, seed=2):
        np.testing.assert_allclose(evaluate_sh(rotate_sh(sh, turn), turn @ direction), evaluate_sh(sh, direction),
                                   atol=3e-6)


def test_rotations_compose_and_are_orthogonal() -> None:
    a, b = rotation(1), rotation(2)
    np.testing.assert_allclose(sh_rotation(a @ b, 4), sh_rotation(a, 4) @ sh_rotation(b, 4), atol=1e-12)
    np.testing.assert_allclose(sh_rotation(a, 4) @ sh_rotation(a, 4).T, np.eye(25), atol=1e-12)


def test_half_turns_only_change_signs() -> None:
    matrix = sh_rotation(np.diag([1.0, -1, -1]), 4)
    np.testing.assert_allclose(np.abs(matrix), np.eye(25), atol=1e-13)
    np.testing.assert_allclose(np.diag(matrix)[1:4], [-1, -1, 1], atol=1e-13)


def test_evaluation_of_one_constant() -> None:
    sh = np.zeros((1, 9, 3), np.float32)
    sh[0, 0] = [1, 0, -1]
    np.testing.assert_allclose(evaluate_sh(sh, np.array([[0, 0, 1.0]]))[0], [0.5 + SH_C0, 0.5, 0.5 - SH_C0], atol=1e-7)
