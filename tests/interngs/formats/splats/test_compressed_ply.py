# SPDX-License-Identifier: GPL-3.0-or-later
"""SuperSplat's compressed PLY: error bounds, variants, a real file, an independent program, damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.compressed_ply import read_compressed_ply, write_compressed_ply
from interngs.formats.ply import read_ply
from interngs.scene.gaussians import Gaussians
from interngs.scene.morton import morton_codes


def in_file_order(g: Gaussians) -> Gaussians:
    return g.select(np.argsort(morton_codes(g.means), kind="stable"))


def as_bytes(g: Gaussians, comments: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    write_compressed_ply(buffer, g, comments)
    return buffer.getvalue()


@pytest.mark.parametrize("degree", range(4))
def test_round_trip_errors_are_bounded(degree: int, make_gaussians, shape_error) -> None:
    g = in_file_order(make_gaussians(1000, degree))
    found = read_compressed_ply(io.BytesIO(as_bytes(g, ("axes: any",))))
    assert found.comments == ("axes: any",) and found.gaussians.sh_degree == degree
    for start in range(0, 1000, 256):
        part = slice(start, start + 256)
        for field, steps in (("means", (2047, 1023, 2047)), ("log_scales", (2047, 1023, 2047))):
            values = getattr(g, field)[part]
            step = np.ptp(values, axis=0) / steps
            assert (np.abs(getattr(found.gaussians, field)[part] - values) <= 0.5001 * step + 1e-6).all()
    assert np.abs(found.gaussians.opacities - g.opacities).max() <= 0.5 / 255 + 1e-5
    assert np.abs(found.gaussians.base_colours - g.base_colours).max() <= 0.5 / 255 * np.ptp(g.base_colours) + 1e-5
    assert shape_error(found.gaussians, g).max() < 4e-3
    if degree:
        assert np.abs(found.gaussians.sh[:, 1:] - g.sh[:, 1:]).max() <= 4 / 256 + 1e-6


def test_written_twice_nothing_more_is_lost(make_gaussians) -> None:
    once = read_compressed_ply(io.BytesIO(as_bytes(make_gaussians(300, 2)))).gaussians
    again = read_compressed_ply(io.BytesIO(as_bytes(once))).gaussians
    np.testing.assert_allclose(again.sh[:, 1:], in_file_order(once).sh[:, 1:], atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 256, 257])
def test_counts_at_chunk_borders(n: int, make_gaussians) -> None:
    assert len(read_compressed_ply(io.BytesIO(as_bytes(make_gaussians(n, 1)))).gaussians) == n


def test_degree_four_is_cut_to_three(make_gaussians) -> None:
    assert read_compressed_ply(io.BytesIO(as_bytes(make_gaussians(20, 4)))).gaussians.sh_degree == 3


def test_old_files_without_colour_ranges(make_gaussians) -> None:
    g = make_gaussians(5, 0)
    g.sh[:] = 0
    data = as_bytes(g)
    head, _, body = data.partition(b"end_header\n")
    colour_lines = b"".join(b"property float %s_%s\n" % (side, c) for side in (b"min", b"max")
                            for c in (b"r", b"g", b"b"))
    words = np.frombuffer(body[72:], "<u4").reshape(5, 4).copy()
    words[:, 3] = 0xFF800040
    old = head.replace(colour_lines, b"") + b"end_header\n" + body[:48] + words.tobytes()
    found = read_compressed_ply(io.BytesIO(old)).gaussians
    np.testing.assert_allclose(found.base_colours, np.tile([1, 128 / 255, 0], (5, 1)), atol=1e-6)
    np.testing.assert_allclose(found.opacities, 64 / 255, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(b"element chunk 3", b"element chunk 2"), (b"packed_scale", b"packet_scale"),
                                          (b"element vertex 700", b"element vertex 900000000"),
                                          (b"uint packed_color", b"float packed_color"),
                                          (b"element sh 700", b"element sh 699"), (b"f_rest_3", b"f_rest_4")])
def test_lying_headers_are_refused(old: bytes, new: bytes, make_gaussians) -> None:
    data = as_bytes(make_gaussians(700, 1))
    assert old in data
    with pytest.raises(InputError):
        read_compressed_ply(io.BytesIO(data.replace(old, new, 1)))


def test_other_ply_files_are_named(make_gaussians) -> None:
    with pytest.raises(InputError, match="no compressed PLY"):
        read_compressed_ply(io.BytesIO(b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n"))
    with pytest.raises(InputError, match="compressed PLY"):
        read_ply(io.BytesIO(as_bytes(make_gaussians(3, 0))))


def test_damage(make_gaussians, assert_survives_damage) -> None:
    assert_survives_damage(as_bytes(make_gaussians(300, 1)), read_compressed_ply, head=1500)


def test_supersplats_own_file_opens(shared_data: Path) -> None:
    g = read_compressed_ply(shared_data / "data/splats/biker.compressed.ply").gaussians
    assert len(g) == 152_746 and g.sh_degree == 0
    np.testing.assert_allclose(g.means.min(0), [-0.6213, -3.1802, -0.5323], atol=1e-3)


def test_an_independent_program_agrees(tmp_path: Path, make_gaussians, shape_error, splat_transform) -> None:
    write_compressed_ply(tmp_path / "a.compressed.ply", make_gaussians(600, 3))
    splat_transform(tmp_path / "a.compressed.ply", tmp_path / "b.ply")
    ours, theirs = read_compressed_ply(tmp_path / "a.compressed.ply").gaussians, read_ply(tmp_path / "b.ply").gaussians
    for field in ("means", "log_scales", "sh"):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=2e-5)
    np.testing.assert_allclose(ours.opacities, theirs.opacities, atol=0.001)
    assert shape_error(ours, theirs).max() < 1e-5
