# SPDX-License-Identifier: GPL-3.0-or-later
"""GLB with KHR_gaussian_splatting: float attributes on a point primitive, SH degree 0 to 3 (lossless); y up.

Scales are stored linear and opacities activated, as the ratified extension asks; viewers without it show coloured
points through COLOR_0.  Quantised accessors of other writers are read too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.gaussians import COEFFICIENTS_OF_DEGREE, Gaussians, concatenate
from ..scene.quaternions import matrices_from_quaternions
from ..scene.transforms import transform_gaussians
from .quantise import logits_from_opacities, logs_from_scales, rgba_bytes
from .splat_file import (
    PathOrFile,
    SplatFile,
    finish,
    malformed,
    open_input,
    read_exactly,
    source_name,
    truncated,
    write_out,
)

EXTENSION = "KHR_gaussian_splatting"
_FLOAT, _UNSIGNED_BYTE, _ARRAY_BUFFER, _POINTS = 5126, 5121, 34962, 0
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
JSON_LIMIT_BYTES = 64 << 20


def sh_attribute(index: int) -> str:
    """Attribute name of SH coefficient ``index`` (0 .. K - 1)."""
    level = int(np.sqrt(index))
    return f"{EXTENSION}:SH_DEGREE_{level}_COEF_{index - level * level}"


def write_glb(target: PathOrFile, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write a GLB of one splat; ``comments`` go into the asset's extras.  SH degree 4 is cut to 3.

    Raises:
        InternGSError: the target cannot be written, or the file would pass the 4 GB that GLB can hold.
    """
    if gaussians.sh_degree > 3:
        gaussians = gaussians.with_sh_degree(3)
    count = len(gaussians)
    arrays: list[tuple[str, NDArray[Any], int]] = [
        ("POSITION", gaussians.means, _FLOAT), ("COLOR_0", rgba_bytes(gaussians), _UNSIGNED_BYTE),
        (f"{EXTENSION}:ROTATION", np.roll(gaussians.quats, -1, axis=1), _FLOAT),
        (f"{EXTENSION}:SCALE", gaussians.scales, _FLOAT), (f"{EXTENSION}:OPACITY", gaussians.opacities, _FLOAT)]
    arrays += [(sh_attribute(i), gaussians.sh[:, i], _FLOAT) for i in range(gaussians.sh.shape[1])]
    views, accessors, at = [], [], 0
    for name, values, component in arrays:
        views.append({"buffer": 0, "byteOffset": at, "byteLength": values.nbytes, "target": _ARRAY_BUFFER})
        width = 1 if values.ndim == 1 else values.shape[1]
        accessor: dict[str, Any] = {"bufferView": len(views) - 1, "componentType": component, "count": count,
                                    "type": {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[width]}
        if name == "POSITION" and count:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        if component == _UNSIGNED_BYTE:
            accessor["normalized"] = True
        accessors.append(accessor)
        at += values.nbytes
    if at > 0xFFFFFF00:
        raise InputError("glb-too-large", f"{count} Gaussians make a GLB over 4 GB.",
                         "Export with a lower SH degree or fewer Gaussians, or as PLY.")
    text = json.dumps(_gltf(arrays, views, accessors, at, comments), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)

    def content(opened: BinaryIO) -> None:
        opened.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + at))
        opened.write(struct.pack("<II", len(text), _JSON_CHUNK) + text)
        opened.write(struct.pack("<II", at, _BINARY_CHUNK))
        for _, values, _ in arrays:
            opened.write(np.ascontiguousarray(values).data if values.size else b"")

    write_out(target, content)


def _gltf(arrays: Sequence[tuple[str, NDArray[Any], int]], views: list[dict[str, Any]],
          accessors: list[dict[str, Any]], byte_length: int, comments: Sequence[str]) -> dict[str, Any]:
    asset: dict[str, Any] = {"version": "2.0", "generator": "Intern-GS for Blender"}
    if comments:
        asset["extras"] = {"comments": list(comments)}
    primitive = {
        "mode": _POINTS, "attributes": {name: index for index, (name, _, _) in enumerate(arrays)},
        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display",
                                   "projection": "perspective", "sortingMethod": "cameraDistance"}},
    }
    return {"asset": asset, "extensionsUsed": [EXTENSION], "scene": 0, "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "name": "splat"}], "meshes": [{"primitives": [primitive]}],
            "buffers": [{"byteLength": byte_length}], "bufferViews": views, "accessors": accessors}


def read_glb(source: PathOrFile) -> SplatFile:
    """Read all splats of a GLB's scene, placed by their nodes and joined.

    Raises:
        InputError: no such file, no GLB, no KHR_gaussian_splatting in it, compressed by a further extension,
            cut short, or inconsistent.
    """
    name = source_name(source)
    with open_input(source) as (opened, size):
        gltf, binary = _chunks(opened, size, name)
    try:
        return _from_gltf(gltf, binary, name)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise malformed(name, f"its glTF description is inconsistent ({type(error).__name__}: {error})") from error


def _chunks(opened: BinaryIO, size: int, name: str) -> tuple[dict[str, Any], bytes]:
    head = opened.read(12)
    if len(head) < 12 or head[:4] != b"glTF" or head[4:8] != b"\2\0\0\0":
        raise malformed(name, "it does not begin as a binary glTF 2 file", "Choose a .glb file.")
    found: dict[int, bytes] = {}
    at = 12
    while at + 8 <= size and len(found) < 2:
        length, kind = struct.unpack("<II", read_exactly(opened, 8, name))
        at += 8 + length
        if at > size or (kind == _JSON_CHUNK and length > JSON_LIMIT_BYTES):
            raise truncated(name, f"a chunk of {length} bytes does not fit into it")
        found.setdefault(kind, read_exactly(opened, length, name))
    try:
        gltf = json.loads(found.get(_JSON_CHUNK, b""))
    except (ValueError, RecursionError) as error:
        raise malformed(name, f"its glTF description is no JSON ({error})") from error
    if not isinstance(gltf, dict):
        raise malformed(name, "its glTF description is no object")
    return gltf, found.get(_BINARY_CHUNK, b"")


def _from_gltf(gltf: dict[str, Any], binary: bytes, name: str) -> SplatFile:
    parts, warnings = [], []
    for mesh_index, matrix in _placed_meshes(gltf):
        for primitive in gltf["meshes"][mesh_index]["primitives"]:
            extension = primitive.get("extensions", {}).get(EXTENSION)
            if extension is None:
                continue
            if extension.get("extensions"):
                raise malformed(name, f"its splats are stored by {', '.join(extension['extensions'])}",
                                "Export it without compression.")
            if extension.get("colorSpace", "srgb_rec709_display") != "srgb_rec709_display":
                warnings.append(f"Its colour space is {extension['colorSpace']}; colours are read as if sRGB.")
            part = _primitive(gltf, primitive["attributes"], binary, name)
            warnings += part.warnings
            parts.append(part.gaussians if np.array_equal(matrix, np.eye(4))
                         else transform_gaussians(part.gaussians, matrix))
    if not parts:
        raise InputError("glb-not-gaussians", f"{name} holds no Gaussians (no {EXTENSION}).",
                         "Choose a .glb that was exported as Gaussian splats.")
    comments = gltf.get("asset", {}).get("extras", {})
    told = comments.get("comments", []) if isinstance(comments, dict) else []
    return SplatFile(concatenate(parts), "glb", tuple(str(line) for line in told), tuple(warnings))


def _placed_meshes(gltf: dict[str, Any]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Each mesh of the scene with the matrix of its node; every mesh at the origin when there is no scene."""
    if not gltf.get("scenes"):
        yield from ((index, np.eye(4)) for index in range(len(gltf.get("meshes", []))))
        return
    nodes = gltf.get("nodes", [])
    waiting = [(index, np.eye(4)) for index in gltf["scenes"][gltf.get("scene", 0)].get("nodes", [])]
    seen: set[int] = set()
    while waiting:
        index, parent = waiting.pop()
        if index in seen:
            raise ValueError(f"node {index} stands twice in the scene")
        seen.add(index)
        matrix = parent @ _node_matrix(nodes[index])
        if "mesh" in nodes[index]:
            yield nodes[index]["mesh"], matrix
        waiting += [(child, matrix) for child in nodes[index].get("children", [])]


def _node_matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    matrix = np.eye(4)
    matrix[:3, :3] = matrices_from_quaternions(np.array([w, x, y, z])) * np.array(node.get("scale", (1, 1, 1)))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _primitive(gltf: dict[str, Any], attributes: dict[str, int], binary: bytes, name: str) -> SplatFile:
    def array(attribute: str, width: int) -> NDArray[np.float32]:
        return _accessor(gltf, gltf["accessors"][attributes[attribute]], binary, width, name)

    coefficients = 1
    while sh_attribute(coefficients) in attributes:
        coefficients += 1
    if coefficients not in COEFFICIENTS_OF_DEGREE:
        raise malformed(name, f"{coefficients} spherical-harmonic coefficients make no whole degree")
    means = array("POSITION", 3)
    count = gltf["accessors"][attributes["POSITION"]]["count"]
    sh = np.empty((count, coefficients, 3), np.float32)
    for index in range(coefficients):
        sh[:, index] = array(sh_attribute(index), 3)
    return finish("glb", means=means, quats=np.roll(array(f"{EXTENSION}:ROTATION", 4), 1, axis=1),
                  log_scales=logs_from_scales(array(f"{EXTENSION}:SCALE", 3)),
                  opacity_logits=logits_from_opacities(array(f"{EXTENSION}:OPACITY", 1)[:, 0]), sh=sh)


def _accessor(gltf: dict[str, Any], accessor: dict[str, Any], binary: bytes, width: int,
              name: str) -> NDArray[np.float32]:
    """[count, width] float32, normalised where the accessor says so."""
    if "sparse" in accessor or "bufferView" not in accessor:
        raise malformed(name, "it has sparse or empty accessors, which splats do not use")
    view, count = gltf["bufferViews"][accessor["bufferView"]], accessor["count"]
    dtype = np.dtype(_COMPONENTS[accessor["componentType"]])
    stride = view.get("byteStride", dtype.itemsize * width)
    start, offset = view.get("byteOffset", 0), accessor.get("byteOffset", 0)
    needed = (count - 1) * stride + width * dtype.itemsize if count else 0
    if _WIDTHS[accessor["type"]] != width or min(count, start, offset) < 0 or stride < dtype.itemsize * width:
        raise malformed(name, "an accessor has an unexpected type")
    if view.get("buffer", 0) != 0 or offset + needed > view["byteLength"] or start + view["byteLength"] > len(binary):
        raise truncated(name, "an accessor reaches outside the file")
    values = np.ndarray((count, width), dtype, binary, start + offset, (stride, dtype.itemsize)).astype(np.float32)
    if accessor.get("normalized"):
        values /= np.iinfo(dtype).max
        np.maximum(values, -1, out=values)
    return values
