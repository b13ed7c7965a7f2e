# SPDX-License-Identifier: GPL-3.0-or-later
"""The array container and results in it: exact, and refused when its table lies."""

from __future__ import annotations

import numpy as np
import pytest

from interngs.scene.gaussians import Gaussians
from interngs.wire.arrays import MAGIC, pack_arrays, read_table, unpack_arrays
from interngs.wire.codec import pack
from interngs.wire.errors import WireError
from interngs.wire.results import read_result, result_parts


def container(table, body: bytes = b"", meta=None, header: bytes | None = None) -> bytes:
    header = pack({"meta": meta or {}, "arrays": table}) if header is None else header
    header += b" " * (-(12 + len(header)) % 64)
    return MAGIC + len(header).to_bytes(4, "little") + header + body


def some(count: int, degree: int = 1) -> Gaussians:
    random = np.random.default_rng(0)
    return Gaussians(*(random.normal(size=shape).astype(np.float32)
                       for shape in ((count, 3), (count, 4), (count, 3), (count,), (count, (degree + 1) ** 2, 3))))


def test_arrays_come_back_exactly():
    arrays = {"a": np.arange(7, dtype=np.uint8), "b": np.ones((3, 2), "<f4"), "empty": np.zeros((0, 3), "<f8"),
              "c": np.arange(6, dtype="<u2").reshape(2, 3)[:, ::2]}
    packed = pack_arrays(arrays, {"kind": "test", "n": 3})
    back, meta = unpack_arrays(packed)
    assert meta == {"kind": "test", "n": 3} and list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    assert np.shares_memory(back["b"], np.frombuffer(packed, np.uint8))


def test_arrays_are_aligned():
    table, _, start = read_table(pack_arrays({"a": np.zeros(3, np.uint8), "b": np.zeros(3, "<f8")}))
    assert start % 64 == 0 and all(offset % 64 == 0 for *_, offset in table)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_a_result_is_bit_for_bit(degree):
    gaussians = some(100, degree)
    gaussians.means[0] = np.nan, np.inf, -0.0
    back = read_result(b"".join(bytes(part) for part in result_parts(gaussians)))
    for name in ("means", "quats", "log_scales", "opacity_logits", "sh"):
        assert getattr(back, name).tobytes() == getattr(gaussians, name).tobytes()


@pytest.mark.parametrize("data", [
    b"", b"IGSARR01", MAGIC + b"\xff\xff\xff\xff", MAGIC + b"\x00\x00\x04\x00" + bytes(100),
    container([], header=pack([])), container([], header=b"\xc1"), container([], header=pack({"meta": {}})),
    container(5), container([5]), container([["a"]]), container([["a", "|u1", [3], 0]]),
    container([["a", "|u1", [3], 0]], bytes(65)), container([["a", "|u1", [3], 64]], bytes(128)),
    container([["a", "|u1", [3], -64]], bytes(64)), container([["a", "|u1", [-3], 0]], bytes(64)),
    container([["a", "|O", [8], 0]], bytes(64)), container([["a", "<f4", [2**40, 2**40], 0]], bytes(64)),
    container([["a", "<f4", [1, 1, 1, 1, 1], 0]], bytes(64)), container([[5, "|u1", [3], 0]], bytes(64)),
    container([["a", "|u1", [3], 0], ["a", "|u1", [3], 64]], bytes(128)),
    container([["a", "|u1", [3], 0], ["b", "|u1", [3], 0]], bytes(64)),
    container([["a", "|u1", 3, 0]], bytes(64)), container([["a", "|u1", [True], 0]], bytes(64)),
])
def test_containers_that_lie_are_refused(data):
    with pytest.raises(WireError):
        unpack_arrays(data)


def test_every_cut_of_a_result_is_refused():
    whole = b"".join(bytes(part) for part in result_parts(some(3, 0)))
    for length in range(len(whole)):
        with pytest.raises(WireError):
            read_result(whole[:length])


@pytest.mark.parametrize("arrays", [
    {}, {"means": np.zeros((2, 3), "<f4")},
    {"means": np.zeros((2, 3), "<f4"), "quats": np.zeros((3, 4), "<f4"), "log_scales": np.zeros((2, 3), "<f4"),
     "opacity_logits": np.zeros(2, "<f4"), "sh": np.zeros((2, 1, 3), "<f4")},
    {"means": np.zeros((2, 3), "<f4"), "quats": np.zeros((2, 4), "<f4"), "log_scales": np.zeros((2, 3), "<f4"),
     "opacity_logits": np.zeros(2, "<f4"), "sh": np.zeros((2, 2, 3), "<f4")},
])
def test_arrays_that_are_no_gaussians_are_refused(arrays):
    with pytest.raises(WireError):
        read_result(pack_arrays(arrays, {"kind": "gaussians"}))
