# SPDX-License-Identifier: GPL-3.0-or-later
"""GLB with KHR_gaussian_splatting: layout, round trip, nodes, quantised accessors, independent readers, damage."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.glb import read_glb, write_glb
from interngs.formats.ply import write_ply
from interngs.scene.gaussians import Gaussians
from interngs.scene.transforms import convert_axes, transform_gaussians


def as_bytes(g: Gaussians, comments: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    write_glb(buffer, g, comments)
    return buffer.getvalue()


def changed(data: bytes, change: Callable[[dict[str, Any]], None], binary: bytes | None = None) -> bytes:
    """The file with its JSON changed."""
    length, = struct.unpack_from("<I", data, 12)
    gltf = json.loads(data[20:20 + length])
    change(gltf)
    text = json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    body = data[20 + length + 8:] if binary is None else binary
    return struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(body), len(text), 0x4E4F534A) + text + \
        struct.pack("<II", len(body), 0x004E4942) + body


@pytest.mark.parametrize("degree", range(4))
def test_round_trip_is_lossless(degree: int, make_gaussians) -> None:
    g = make_gaussians(300, degree)
    found = read_glb(io.BytesIO(as_bytes(g, ("units: metres",))))
    assert found.comments == ("units: metres",)
    np.testing.assert_array_equal(found.gaussians.means, g.means)
    np.testing.assert_array_equal(found.gaussians.sh, g.sh)
    np.testing.assert_allclose(found.gaussians.quats, g.quats, atol=2e-7)
    np.testing.assert_allclose(found.gaussians.log_scales, g.log_scales, atol=1e-6)
    np.testing.assert_allclose(found.gaussians.opacities, g.opacities, atol=0.001)


def test_the_description_is_what_the_extension_asks(make_gaussians) -> None:
    g = make_gaussians(5, 1)
    data = as_bytes(g)
    total, length = struct.unpack_from("<II", data, 8)
    assert total == len(data) and length % 4 == 0 and len(data) % 4 == 0
    gltf = json.loads(data[20:20 + length])
    assert gltf["extensionsUsed"] == ["KHR_gaussian_splatting"]
    primitive = gltf["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 0
    assert primitive["extensions"]["KHR_gaussian_splatting"]["colorSpace"] == "srgb_rec709_display"
    names = list(primitive["attributes"])
    assert names[-4:] == [f"KHR_gaussian_splatting:SH_DEGREE_{d}_COEF_{n}" for d, n in ((0, 0), (1, 0), (1, 1), (1, 2))]
    scale = gltf["accessors"][primitive["attributes"]["KHR_gaussian_splatting:SCALE"]]
    start = 28 + length + gltf["bufferViews"][scale["bufferView"]]["byteOffset"]
    np.testing.assert_allclose(np.frombuffer(data, "<f4", 3, start), g.scales[0])
    np.testing.assert_allclose(gltf["accessors"][0]["min"], g.means.min(0))


def test_nodes_place_the_splat(make_gaussians, shape_error) -> None:
    g = make_gaussians(50, 2)
    half = np.sqrt(0.5)

    def change(gltf: dict[str, Any]) -> None:
        gltf["nodes"] = [{"children": [1], "translation": [1, 2, 3], "scale": [2, 2, 2]},
                         {"mesh": 0, "rotation": [0, 0, half, half]}]
    found = read_glb(io.BytesIO(changed(as_bytes(g), change))).gaussians
    matrix = np.array([[0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1.0]])
    expected = transform_gaussians(g, matrix)
    np.testing.assert_allclose(found.means, expected.means, atol=1e-5)
    np.testing.assert_allclose(found.sh, expected.sh, atol=1e-5)
    assert shape_error(found, expected).max() < 1e-5


def test_quantised_and_interleaved_accessors(make_gaussians, shape_error) -> None:
    g = make_gaussians(20, 0)
    records = np.zeros(20, [("p", "<f4", 3), ("q", "<i2", 4), ("s", "<f4", 3), ("o", "u1"), ("pad", "u1", 3),
                            ("c", "<f4", 3)])
    records["p"], records["s"], records["c"] = g.means, g.scales, g.sh[:, 0]
    records["q"] = np.rint(np.roll(g.quats, -1, axis=1) * 32767)
    records["o"] = np.rint(g.opacities * 255)
    stride = records.itemsize

    def change(gltf: dict[str, Any]) -> None:
        name = "KHR_gaussian_splatting:"
        rows = [("POSITION", 5126, "VEC3", 0), (name + "ROTATION", 5122, "VEC4", 12),
                (name + "SCALE", 5126, "VEC3", 20), (name + "OPACITY", 5121, "SCALAR", 32),
                (name + "SH_DEGREE_0_COEF_0", 5126, "VEC3", 36)]
        gltf["bufferViews"] = [{"buffer": 0, "byteLength": records.nbytes, "byteStride": stride}]
        gltf["accessors"] = [{"bufferView": 0, "byteOffset": at, "componentType": c, "type": t, "count": 20,
                              "normalized": c != 5126} for _, c, t, at in rows]
        gltf["meshes"][0]["primitives"][0]["attributes"] = {row[0]: i for i, row in enumerate(rows)}
    found = read_glb(io.BytesIO(changed(as_bytes(g), change, records.tobytes()))).gaussians
    np.testing.assert_array_equal(found.means, g.means)
    assert shape_error(found, g).max() < 2e-4 and np.abs(found.opacities - g.opacities).max() < 0.5 / 255 + 1e-5


def strip(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda gltf: gltf["meshes"][0]["primitives"][0].pop(key)


@pytest.mark.parametrize("change", [
    strip("extensions"), strip("attributes"), lambda g: g.pop("meshes"),
    lambda g: g["accessors"][0].update(count=10**12),
    lambda g: g["accessors"][2].update(count=-4), lambda g: g["bufferViews"][2].update(byteOffset=10**9),
    lambda g: g["accessors"][3].update(componentType=5125), lambda g: g["nodes"][0].update(children=[0]),
    lambda g: g["accessors"][0].pop("bufferView"), lambda g: g.update(scenes=[{"nodes": [7]}]),
    lambda g: g["nodes"][0].update(scale=[1, 0, 1]), lambda g: g["accessors"][4].update(count=1),
    lambda g: g["meshes"][0]["primitives"][0]["extensions"]["KHR_gaussian_splatting"].update(
        extensions={"KHR_gaussian_splatting_compression_spz_2": {}}),
    lambda g: g["meshes"][0]["primitives"][0]["attributes"].pop("KHR_gaussian_splatting:SH_DEGREE_1_COEF_1"),
])
def test_inconsistent_descriptions_are_refused(change: Callable[[dict[str, Any]], None], make_gaussians) -> None:
    with pytest.raises(InputError) as caught:
        read_glb(io.BytesIO(changed(as_bytes(make_gaussians(10, 1)), change)))
    assert caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"glTF\2\0\0\0", b"glTF\1\0\0\0\0\0\0\0", b"glTF\2\0\0\0" + b"\xff" * 12])
def test_stumps_are_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_glb(io.BytesIO(data))


def test_damage(make_gaussians, assert_survives_damage) -> None:
    assert_survives_damage(as_bytes(make_gaussians(40, 0)), read_glb, head=1800)


def test_an_independent_program_writes_the_same(tmp_path: Path, make_gaussians, shape_error, splat_transform) -> None:
    g = make_gaussians(100, 3)
    write_ply(tmp_path / "a.ply", g)
    splat_transform(tmp_path / "a.ply", tmp_path / "b.glb")
    theirs = convert_axes(read_glb(tmp_path / "b.glb").gaussians, "opencv", "opengl")
    # splat-transform turns PLY by half a turn about z where we turn about x: the same up, seen from behind.
    turned = transform_gaussians(theirs, np.diag([-1.0, 1, -1]))
    np.testing.assert_allclose(turned.means, g.means, atol=1e-5)
    np.testing.assert_allclose(turned.sh, g.sh, atol=1e-5)
    np.testing.assert_allclose(turned.log_scales, g.log_scales, atol=1e-5)
    assert shape_error(turned, g).max() < 1e-5


def test_an_independent_reader_finds_our_values(tmp_path: Path, make_gaussians) -> None:
    pygltflib = pytest.importorskip("pygltflib", reason="independent reader pygltflib is not installed")
    g = make_gaussians(30, 1)
    write_glb(tmp_path / "a.glb", g)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    accessor = gltf.accessors[1 + len(gltf.accessors) - 2]
    view = gltf.bufferViews[accessor.bufferView]
    values = np.frombuffer(gltf.binary_blob(), "<f4", 90, view.byteOffset).reshape(30, 3)
    np.testing.assert_array_equal(values, g.sh[:, 3])
    assert gltf.asset.version == "2.0" and "KHR_gaussian_splatting" in gltf.extensionsUsed
