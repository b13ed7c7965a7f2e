# SPDX-License-Identifier: GPL-3.0-or-later
""".ksplat: files built here byte by byte, a fixture, an independent program, damage."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.ksplat import read_ksplat
from interngs.formats.ply import read_ply
from interngs.scene.gaussians import Gaussians

SIZES = ((4, "f4", "f4"), (2, "f2", "f2"), (2, "f2", "u1"))
BLOCK = 5.0


def build(g: Gaussians, level: int, bucket_size: int = 32) -> bytes:
    """One section: all buckets full but the last two, which hold 3 and the rest."""
    n, degree = len(g), g.sh_degree
    full = max((n - 5) // bucket_size, 0)
    partial = [3, n - full * bucket_size - 3]
    sizes = [bucket_size] * full + partial
    bucket = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.stack([g.means[bucket == b].mean(axis=0) for b in range(len(sizes))]).astype("<f4")
    header = struct.pack("<BBHIIIIHH3fff", 0, 1, 0, 1, 1, n, n, level, 0, 0, 0, 0, -1.0, 1.0).ljust(4096, b"\0")
    rest = 3 * ((degree + 1) ** 2 - 1)
    _, half_type, sh_type = SIZES[level]
    record = np.zeros(n, [("mean", "<f4" if level == 0 else "<u2", 3), ("scale", "<" + half_type, 3),
                          ("quat", "<" + half_type, 4), ("rgba", "u1", 4), ("sh", sh_type, (rest,))])
    if level == 0:
        record["mean"] = g.means
    else:
        record["mean"] = np.clip(np.rint((g.means - centres[bucket]) / (BLOCK / 2) * 32767) + 32767, 0, 65535)
    record["scale"], record["quat"] = g.scales, g.quats
    record["rgba"][:, :3] = np.rint(np.clip(g.base_colours, 0, 1) * 255)
    record["rgba"][:, 3] = np.rint(g.opacities * 255)
    start, bands = 1, []
    for band in range(1, degree + 1):
        bands.append(g.sh[:, start:start + 2 * band + 1].transpose(0, 2, 1).reshape(n, -1))
        start += 2 * band + 1
    if bands:
        values = np.concatenate(bands, axis=1)
        record["sh"] = np.rint((values + 1) / 2 * 255) if level == 2 else values
    data = np.array(partial, "<u4").tobytes() + centres.tobytes() + record.tobytes()
    section = struct.pack("<IIIIfHHIIIIH", n, n, bucket_size, len(sizes), BLOCK, 12, 0, 32767, len(data), full, 2,
                          degree).ljust(1024, b"\0")
    return header + section + data


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_every_level_and_degree(level: int, degree: int, make_gaussians, shape_error) -> None:
    g = make_gaussians(150, degree)
    g.means[:] *= 0.2
    found = read_ksplat(io.BytesIO(build(g, level))).gaussians
    assert np.abs(found.means - g.means).max() <= (0 if level == 0 else BLOCK / 2 / 32767)
    assert np.abs(found.log_scales - g.log_scales).max() < 1e-3 and shape_error(found, g).max() < 4e-3
    assert np.abs(found.opacities - g.opacities).max() < 0.51 / 255
    assert np.abs(found.sh[:, 1:] - g.sh[:, 1:]).max(initial=0) <= (1e-6, 5e-4, 0.51 / 127.5)[level]


def test_sections_of_different_degree_are_joined(make_gaussians) -> None:
    plain, rich = (build(make_gaussians(40, degree), 0) for degree in (0, 2))
    header = bytearray(plain[:4096])
    header[4:8] = struct.pack("<I", 2)
    joined = bytes(header) + plain[4096:5120] + rich[4096:5120] + plain[5120:] + rich[5120:]
    g = read_ksplat(io.BytesIO(joined)).gaussians
    assert len(g) == 80 and g.sh_degree == 2 and not g.sh[:40, 1:].any() and g.sh[40:, 1:].any()


@pytest.mark.parametrize(("at", "value"), [(0, b"\x01"), (4, b"\xff\xff\xff\xff"), (4, b"\0\0\0\0"), (20, b"\x03"),
                                           (4096, b"\xff\xff\xff\x7f"), (4096 + 4, b"\xff\xff\xff\x7f"),
                                           (4096 + 36, b"\x09"), (4096 + 40, b"\x04"), (4096 + 8, b"\0\0\0\0")])
def test_lying_headers_are_refused(at: int, value: bytes, make_gaussians) -> None:
    data = build(make_gaussians(150, 1), 1)
    with pytest.raises(InputError):
        read_ksplat(io.BytesIO(data[:at] + value + data[at + len(value):]))


@pytest.mark.parametrize("level", [0, 2])
def test_damage(level: int, make_gaussians, assert_survives_damage) -> None:
    assert_survives_damage(build(make_gaussians(100, 1), level), read_ksplat, head=4096 + 60)


def test_the_fixture_opens(shared_data: Path) -> None:
    g = read_ksplat(shared_data / "data/splats/fixtures/minimal.ksplat").gaussians
    assert len(g) == 4 and set(np.abs(g.means).ravel()) == {0, 1}


@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_independent_program_agrees(level: int, tmp_path: Path, make_gaussians, shape_error,
                                       splat_transform) -> None:
    g = make_gaussians(150, 2)
    (tmp_path / "a.ksplat").write_bytes(build(g, level))
    splat_transform(tmp_path / "a.ksplat", tmp_path / "b.ply")
    ours, theirs = read_ksplat(tmp_path / "a.ksplat").gaussians, read_ply(tmp_path / "b.ply").gaussians
    for field in ("means", "log_scales", "sh"):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=1e-5)
    assert shape_error(ours, theirs).max() < 1e-5
