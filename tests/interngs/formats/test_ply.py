# SPDX-License-Identifier: GPL-3.0-or-later
"""Standard 3DGS PLY: layout, round trip, other writers' variants, lying and broken files."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interngs.errors import InputError
from interngs.formats.ply import ROWS_AT_ONCE, ply_properties, read_ply, write_ply
from interngs.scene.gaussians import Gaussians

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def make(n: int, degree: int, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(n, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    arrays = (rng.normal(size=(n, 3)), quats, rng.normal(-3, 1, (n, 3)), rng.normal(size=n),
              rng.normal(size=(n, (degree + 1) ** 2, 3)))
    return Gaussians(*(a.astype(np.float32) for a in arrays))


def as_bytes(gaussians: Gaussians, comments: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    write_ply(buffer, gaussians, comments)
    return buffer.getvalue()


def read_bytes(data: bytes):
    return read_ply(io.BytesIO(data))


@pytest.mark.parametrize("degree", range(5))
def test_round_trip_is_exact(degree: int, tmp_path: Path) -> None:
    written = make(20_000 if degree == 1 else 77, degree)
    write_ply(tmp_path / "a.ply", written, ["axes: x right, y down, z forward"])
    found = read_ply(tmp_path / "a.ply")
    assert found.comments == ("axes: x right, y down, z forward",) and found.warnings == ()
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found.gaussians, field), getattr(written, field),
                                   rtol=0, atol=2e-7 if field == "quats" else 0)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.ply"]


def test_layout_is_that_of_the_first_trainer() -> None:
    g = make(3, 3)
    data = as_bytes(g)
    header, _, body = data.partition(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    assert len(names) == 62
    assert names[:10] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "f_rest_0"]
    rows = np.frombuffer(body, "<f4").reshape(3, 62)
    column = dict(zip(names, rows.T, strict=True))
    np.testing.assert_array_equal(column["f_rest_0"], g.sh[:, 1, 0])
    np.testing.assert_array_equal(column["f_rest_15"], g.sh[:, 1, 1])
    np.testing.assert_array_equal(column["f_rest_44"], g.sh[:, 15, 2])
    np.testing.assert_array_equal(column["opacity"], g.opacity_logits)
    np.testing.assert_array_equal(column["scale_2"], g.log_scales[:, 2])
    np.testing.assert_array_equal(column["rot_0"], g.quats[:, 0])
    assert not column["nx"].any()


def test_no_gaussians_is_a_valid_file() -> None:
    assert len(read_bytes(as_bytes(make(0, 2))).gaussians) == 0


def reordered(g: Gaussians, order: str, extra: bool, ascii_form: bool) -> bytes:
    """The same Gaussians as another program might write them."""
    rows = np.frombuffer(as_bytes(g).partition(b"end_header\n")[2], "<f4").reshape(len(g), -1)
    names = ply_properties(g.sh_degree)
    pick = [names.index(n) for n in reversed(names) if not n.startswith("n")]
    types = [("id", "u1")] if extra else []
    types += [(names[i], order + ("f8" if names[i] == "x" else "f4")) for i in pick]
    table = np.zeros(len(g), types)
    for i in pick:
        table[names[i]] = rows[:, i]
    code = {"u1": "uchar", "f8": "double", "f4": "float32"}
    form = "ascii" if ascii_form else {"<": "binary_little_endian", ">": "binary_big_endian"}[order]
    head = ["ply", f"format {form} 1.0", "obj_info made elsewhere", "element camera 2", "property int a"]
    head = head[:3] if ascii_form else head
    head += [f"element vertex {len(g)}", *(f"property {code[t.lstrip('<>')]} {n}" for n, t in types), "end_header"]
    body = table.tobytes() if not ascii_form else "".join(
        " ".join(repr(float(v)) for v in row) + "\n" for row in table.tolist()).encode()
    return ("\r\n".join(head) + "\r\n").encode() + (b"" if ascii_form else bytes(8)) + body


@pytest.mark.parametrize(("order", "extra", "ascii_form"), [("<", False, False), (">", True, False), ("<", True, True)])
def test_other_orders_types_and_forms_are_read(order: str, extra: bool, ascii_form: bool) -> None:
    g = make(9, 2)
    found = read_bytes(reordered(g, order, extra, ascii_form)).gaussians
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found, field), getattr(g, field), atol=2e-7)


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    g = make(10, 1)
    g.means[3, 1] = np.nan
    g.sh[4, 2, 0] = np.inf
    g.opacity_logits[5] = np.inf
    g.log_scales[6, 2] = -np.inf
    g.quats[7] = 0
    found = read_bytes(as_bytes(g))
    assert len(found.gaussians) == 8
    assert [w.split()[0] for w in found.warnings] == ["2", "1"]
    assert found.gaussians.opacities.max() == 1 and all(np.isfinite(getattr(found.gaussians, f)).all() for f in FIELDS)
    np.testing.assert_allclose(np.linalg.norm(found.gaussians.quats, axis=1), 1, atol=1e-6)


def test_quaternions_of_any_length_become_unit() -> None:
    g = make(4, 0)
    long = Gaussians(g.means, g.quats * np.float32(1e25), g.log_scales, g.opacity_logits, g.sh)
    np.testing.assert_allclose(read_bytes(as_bytes(long)).gaussians.quats, g.quats, atol=1e-6)


@pytest.mark.parametrize("count", [11, 10**6, 10**18 - 1])
def test_header_that_promises_too_much_allocates_nothing(count: int) -> None:
    data = as_bytes(make(10, 3)).replace(b"element vertex 10\n", b"element vertex %d\n" % count)
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        read_bytes(data)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert caught.value.code == "splat-truncated" and caught.value.remedy


def test_ascii_header_that_promises_too_much_is_refused() -> None:
    data = reordered(make(3, 0), "<", False, True)
    for count in (4, 10**9):
        with pytest.raises(InputError):
            read_bytes(data.replace(b"element vertex 3", b"element vertex %d" % count))


@pytest.mark.parametrize(("old", "new", "code"), [
    (b"ply\n", b"plx\n", "splat-malformed"),
    (b"binary_little_endian", b"binary_middle_endian", "splat-malformed"),
    (b"property float opacity\n", b"property float alpha\n", "ply-not-gaussians"),
    (b"property float f_rest_8\n", b"property float g_rest_8\n", "splat-malformed"),
    (b"property float f_rest_8\n", b"property float f_rest_7\n", "splat-malformed"),
    (b"property float x\n", b"property list uchar float x\n", "splat-malformed"),
    (b"element vertex 10\n", b"element vertex -1\n", "splat-malformed"),
    (b"element vertex 10\n", b"element faces 10\n", "splat-malformed"),
    (b"end_header\n", b"", "splat-malformed"),
])
def test_broken_headers_are_named(old: bytes, new: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_bytes(as_bytes(make(10, 1)).replace(old, new, 1))
    assert caught.value.code == code


def test_endless_header_stops() -> None:
    with pytest.raises(InputError):
        read_bytes(b"ply\nformat ascii 1.0\n" + b"comment " + b"x" * (3 << 20))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.ply"):
        read_ply(tmp_path / "no.ply")


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.ply"
    target.write_bytes(b"old")
    broken = make(3, 1)
    object.__setattr__(broken, "quats", "not an array")
    with pytest.raises(ValueError):
        write_ply(target, broken)
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_comments_cannot_break_the_header() -> None:
    found = read_bytes(as_bytes(make(2, 0), ("two\nend_header\nlines", "Köln")))
    assert found.comments == ("two end_header lines", "K\\xf6ln")


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 1500), flips=st.lists(st.tuples(st.integers(0, 1499), st.integers(0, 255)), max_size=6))
def test_damaged_files_give_an_input_error_or_gaussians(cut: int, flips: list[tuple[int, int]]) -> None:
    data = bytearray(as_bytes(make(6, 1)))
    for position, value in flips:
        data[position % len(data)] = value
    try:
        found = read_bytes(bytes(data[:max(len(data) - cut, 0)]))
    except InputError:
        return
    assert all(np.isfinite(getattr(found.gaussians, field)).all() for field in FIELDS)


def test_a_real_trainers_file_opens(shared_data: Path) -> None:
    g = read_ply(shared_data / "data/splats/kacytran_inria_7000.ply").gaussians
    assert len(g) == 9080 and g.sh_degree == 3
    assert 500 < np.abs(g.means).max() < 1100 and 0 < g.opacities.mean() < 1


def test_independent_reader_agrees(tmp_path: Path) -> None:
    plyfile = pytest.importorskip("plyfile", reason="independent reader plyfile is not installed")
    g = make(50, 3)
    write_ply(tmp_path / "a.ply", g, ["axes: x right, y down, z forward"])
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    np.testing.assert_array_equal(vertex["f_rest_20"], g.sh[:, 6, 1])
    np.testing.assert_array_equal(vertex["rot_3"], g.quats[:, 3])


def test_more_gaussians_than_are_packed_at_a_time(tmp_path: Path) -> None:
    count = 2 * ROWS_AT_ONCE + 77
    gaussians = make(count, 1)
    write_ply(tmp_path / "a.ply", gaussians)
    again = read_ply(tmp_path / "a.ply").gaussians
    np.testing.assert_array_equal(again.means, gaussians.means)
    np.testing.assert_array_equal(again.sh, gaussians.sh)


def test_a_disk_that_fails_in_mid_write_is_told() -> None:
    class Full(io.BytesIO):
        def write(self, data) -> int:
            if self.tell() > 100_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with pytest.raises(OSError, match="No space"):
        write_ply(Full(), make(3 * ROWS_AT_ONCE, 0))
