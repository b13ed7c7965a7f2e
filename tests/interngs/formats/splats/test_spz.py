# SPDX-License-Identifier: GPL-3.0-or-later
"""SPZ: error bounds per version, fixtures and a real file, an independent program, bombs and damage."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.compressed_ply import read_compressed_ply
from interngs.formats.ply import read_ply, write_ply
from interngs.formats.spz import read_spz, write_spz
from interngs.scene.gaussians import Gaussians
from interngs.scene.transforms import convert_axes


def as_bytes(g: Gaussians, version: int = 3) -> bytes:
    buffer = io.BytesIO()
    write_spz(buffer, g, version=version)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("degree", range(5))
def test_round_trip_errors_are_bounded(version: int, degree: int, make_gaussians, shape_error) -> None:
    g = make_gaussians(600, degree)
    found = read_spz(io.BytesIO(as_bytes(g, version))).gaussians
    assert np.abs(found.means - g.means).max() <= 0.5001 / 4096
    assert np.abs(found.log_scales - g.log_scales).max() <= 0.5001 / 16
    assert np.abs(found.opacities - g.opacities).max() <= 0.5001 / 255
    assert np.abs(found.sh[:, 0] - g.sh[:, 0]).max() <= 0.5001 / 255 / 0.15
    # Version 2 takes the real part from the other three: coarse for turns near 180 degrees.
    assert shape_error(found, g).max() < (0.3 if version == 2 else 0.01)
    assert np.median(shape_error(found, g)) < 0.02
    if degree:
        assert np.abs(found.sh[:, 1:4] - g.sh[:, 1:4]).max() <= 4.6 / 128
        assert found.sh_degree == degree
    if degree > 1:
        assert np.abs(found.sh[:, 4:] - g.sh[:, 4:]).max() <= 8.6 / 128


def test_constant_values_stay_exact_zero() -> None:
    sh = np.zeros((3, 16, 3), np.float32)
    quats = np.tile(np.array([1, 0, 0, 0], np.float32), (3, 1))
    g = Gaussians(np.zeros((3, 3), np.float32), quats, np.zeros((3, 3), np.float32), np.zeros(3, np.float32), sh)
    found = read_spz(io.BytesIO(as_bytes(g))).gaussians
    assert not found.sh[:, 1:].any()
    np.testing.assert_array_equal(found.quats, quats)


def test_far_gaussians_take_fewer_fraction_bits(make_gaussians) -> None:
    g = make_gaussians(10, 0)
    g.means[0] = [5000, -60_000, 1]
    found = read_spz(io.BytesIO(as_bytes(g))).gaussians
    assert np.abs(found.means - g.means).max() <= 0.5 / 128 + 1e-9
    g.means[0, 0] = 1e9
    with pytest.raises(InputError, match="8 million"):
        as_bytes(g)


def test_same_splat_same_bytes(make_gaussians) -> None:
    assert as_bytes(make_gaussians(50, 2)) == as_bytes(make_gaussians(50, 2))


@pytest.mark.parametrize("version", [2, 3, 4])
def test_no_gaussians(version: int, make_gaussians) -> None:
    assert len(read_spz(io.BytesIO(as_bytes(make_gaussians(0, 1), version))).gaussians) == 0


def test_version_one_holds_half_floats() -> None:
    means = np.array([[1.5, -2, 0.25]], "<f2")
    body = means.tobytes() + bytes([255, 128, 128, 128, 160, 160, 160, 128, 128, 128])
    data = gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 1, 1, 0, 0, 0, 0) + body)
    found = read_spz(io.BytesIO(data)).gaussians
    np.testing.assert_array_equal(found.means, means.astype(np.float32))
    np.testing.assert_allclose(found.scales, 1)


@pytest.mark.parametrize("count", [10**4, 2**32 - 1])
@pytest.mark.parametrize("version", [3, 4])
def test_a_header_that_promises_too_much_allocates_nothing(count: int, version: int, make_gaussians) -> None:
    data = as_bytes(make_gaussians(10, 3), version)
    plain = bytearray(gzip.decompress(data) if version == 3 else data)
    plain[8:12] = struct.pack("<I", count)
    if version == 4:
        for index, size in enumerate((9, 1, 3, 3, 4, 45)):
            plain[32 + 16 * index + 8:32 + 16 * index + 16] = struct.pack("<Q", size * count)
    lying = gzip.compress(bytes(plain)) if version == 3 else bytes(plain)
    tracemalloc.start()
    with pytest.raises(InputError):
        read_spz(io.BytesIO(lying))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("version", [2, 3, 4])
def test_damage(version: int, make_gaussians, assert_survives_damage) -> None:
    assert_survives_damage(as_bytes(make_gaussians(40, 1), version), read_spz, head=64)


@pytest.mark.parametrize("data", [b"", b"NGSP", b"\x1f\x8b", b"NGSP\x04\0\0\0", gzip.compress(b"no splat at all here")])
def test_stumps_are_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_spz(io.BytesIO(data))


@pytest.mark.parametrize("name", ["raw", "v2", "v3", "v4"])
def test_fixtures_of_every_version(name: str, shared_data: Path) -> None:
    g = read_spz(shared_data / f"data/splats/fixtures/minimal-{name}.spz").gaussians
    assert len(g) == 4 and set(np.abs(g.means).ravel()) == {0, 1}
    np.testing.assert_allclose(g.scales, 0.099, atol=1e-3)
    np.testing.assert_allclose(g.opacities, 0.902, atol=1e-3)


def test_the_same_object_as_ply_and_spz_agrees(shared_data: Path, shape_error) -> None:
    ply = read_compressed_ply(shared_data / "data/splats/biker.compressed.ply").gaussians
    spz = convert_axes(read_spz(shared_data / "data/splats/biker.spz").gaussians, "opencv", "opengl")
    assert len(ply) == len(spz) == 152_746
    assert np.abs(ply.means - spz.means).max() < 2 / 4096
    assert np.abs(ply.opacities - spz.opacities).max() < 1.01 / 255
    shown = np.clip(ply.base_colours, 0, 1) - np.clip(spz.base_colours, 0, 1)
    assert np.abs(shown).max() < 1.01 / 255 / 0.15 * 0.2821
    # The bytes of SPZ end at a log scale of -10.
    assert np.abs(np.maximum(ply.log_scales, -10) - spz.log_scales).max() < 0.6 / 16
    assert np.quantile(shape_error(ply, spz), 0.999) < 0.01


def test_an_independent_program_agrees_both_ways(tmp_path: Path, make_gaussians, shape_error, splat_transform) -> None:
    g = make_gaussians(300, 3)
    write_ply(tmp_path / "g.ply", g)
    splat_transform(tmp_path / "g.ply", tmp_path / "theirs.spz")
    from_theirs = convert_axes(read_spz(tmp_path / "theirs.spz").gaussians, "opencv", "opengl")
    for version in (2, 3, 4):
        write_spz(tmp_path / "ours.spz", convert_axes(g, "opengl", "opencv"), version=version)
        splat_transform(tmp_path / "ours.spz", tmp_path / "ours.ply")
        from_ours = read_ply(tmp_path / "ours.ply").gaussians
        for found in (from_theirs, from_ours):
            assert np.abs(found.means - g.means).max() <= 0.51 / 4096
            assert np.abs(found.log_scales - g.log_scales).max() <= 0.51 / 16
            assert np.abs(found.opacities - g.opacities).max() <= 0.51 / 255
            assert np.abs(found.sh[:, 1:] - g.sh[:, 1:]).max() <= 8.6 / 128
        assert shape_error(from_ours, g).max() < (0.3 if version == 2 else 0.01)
