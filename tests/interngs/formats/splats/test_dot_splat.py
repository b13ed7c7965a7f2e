# SPDX-License-Identifier: GPL-3.0-or-later
""".splat: layout, error bounds, real files, an independent program, damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.dot_splat import read_dot_splat, write_dot_splat
from interngs.formats.ply import read_ply
from interngs.scene.gaussians import Gaussians


def as_bytes(g: Gaussians) -> bytes:
    buffer = io.BytesIO()
    write_dot_splat(buffer, g)
    return buffer.getvalue()


def test_layout_of_one_gaussian() -> None:
    g = Gaussians(np.array([[1, 2, 3]], np.float32), np.array([[0.5, -0.5, 0.5, 0.5]], np.float32),
                  np.log(np.array([[0.1, 0.2, 0.3]], np.float32)), np.zeros(1, np.float32),
                  np.zeros((1, 1, 3), np.float32))
    data = as_bytes(g)
    np.testing.assert_allclose(np.frombuffer(data[:24], "<f4"), [1, 2, 3, 0.1, 0.2, 0.3], rtol=1e-6)
    assert list(data[24:]) == [128, 128, 128, 128, 192, 64, 192, 192]


def test_round_trip_errors_are_bounded(make_gaussians, shape_error) -> None:
    g = make_gaussians(1000, 3)
    found = read_dot_splat(io.BytesIO(as_bytes(g))).gaussians
    np.testing.assert_array_equal(found.means, g.means)
    np.testing.assert_allclose(found.log_scales, g.log_scales, atol=1e-6)
    assert np.abs(found.opacities - g.opacities).max() <= 0.5 / 255 + 1e-5
    inside = np.clip(g.base_colours, 0, 1)
    assert np.abs(found.base_colours - inside).max() <= 0.5 / 255 + 1e-5
    assert shape_error(found, g).max() < 0.02 and found.sh_degree == 0


def test_flat_and_broken_records(make_gaussians) -> None:
    data = bytearray(as_bytes(make_gaussians(4, 0)))
    data[12:16] = np.float32(0).tobytes()
    data[32:36] = np.float32(np.nan).tobytes()
    data[64 + 12:64 + 16] = np.float32(-1).tobytes()
    data[96 + 28:96 + 32] = bytes([128] * 4)
    found = read_dot_splat(io.BytesIO(bytes(data)))
    assert len(found.gaussians) == 2 and found.gaussians.log_scales[0, 0] == -30
    assert [w.split()[0] for w in found.warnings] == ["2", "1"]


def test_size_must_fit() -> None:
    with pytest.raises(InputError, match="32"):
        read_dot_splat(io.BytesIO(bytes(33)))


def test_damage(make_gaussians, assert_survives_damage) -> None:
    assert_survives_damage(as_bytes(make_gaussians(50, 0)), read_dot_splat)


def test_real_files_open(shared_data: Path) -> None:
    g = read_dot_splat(shared_data / "data/splats/kacytran_model.splat").gaussians
    assert len(g) == 22_764 and 0.02 < np.median(g.opacities) < 1
    assert len(read_dot_splat(shared_data / "data/splats/fixtures/minimal.splat").gaussians) == 4


def test_an_independent_program_agrees(tmp_path: Path, make_gaussians, shape_error, splat_transform) -> None:
    g = make_gaussians(300, 0)
    write_dot_splat(tmp_path / "a.splat", g)
    splat_transform(tmp_path / "a.splat", tmp_path / "b.ply")
    theirs = read_ply(tmp_path / "b.ply").gaussians
    np.testing.assert_allclose(theirs.means, g.means, atol=1e-6)
    np.testing.assert_allclose(theirs.log_scales, g.log_scales, atol=1e-5)
    np.testing.assert_allclose(theirs.opacities, g.opacities, atol=0.003)
    assert shape_error(theirs, g).max() < 0.03
