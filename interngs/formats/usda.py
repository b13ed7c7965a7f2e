# SPDX-License-Identifier: GPL-3.0-or-later
"""USD text (.usda) with ParticleField3DGaussianSplat prims of OpenUSD 26.03: lossless, any SH degree, large.

Scales are linear and opacities activated; quaternions stand as (w, x, y, z); SH coefficients are grouped by Gaussian.
The stage says which axis is up and how long a unit is.  Binary USD is for ``usd-core`` in the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.axes import Axes
from ..scene.gaussians import COEFFICIENTS_OF_DEGREE, Gaussians, concatenate
from .quantise import logits_from_opacities, logs_from_scales
from .splat_file import PathOrFile, SplatFile, finish, malformed, open_input, read_exactly, source_name, write_out

UpAxis = Literal["Y", "Z"]
AXES_OF_UP: dict[str, Axes] = {"Y": "opengl", "Z": "blender"}
PRIM_TYPE = "ParticleField3DGaussianSplat"
NUMBERS_AT_ONCE = 1 << 16

_PRIM = re.compile(rb'\bdef\s+' + PRIM_TYPE.encode() + rb'\s+"')
_NEXT_PRIM = re.compile(rb'\n\s*(?:def|over|class)\s')
_NUMERIC = b"0123456789+-.eEinfaINFA(), \n\r\t"
_PUNCTUATION = bytes.maketrans(b"(),\n\r\t", b"      ")


def write_usda(target: PathOrFile, gaussians: Gaussians, comments: Sequence[str] = (), *, up_axis: UpAxis = "Y",
               metres_per_unit: float = 1.0) -> None:
    """Write a .usda stage with one splat.

    Args:
        target: path or binary file.
        gaussians: in the axes that ``up_axis`` names: ``"Y"`` x right, y up, z backward; ``"Z"`` x right, y forward,
            z up.
        comments: facts, kept in the layer's custom data.
        up_axis: of the stage.
        metres_per_unit: of the stage.

    Raises:
        InternGSError: the target cannot be written.
    """
    header = ["#usda 1.0", "("]
    if comments:
        header.append("    customLayerData = {\n        string[] comments = ["
                      + ", ".join(map(_quoted, comments)) + "]\n    }")
    header += ['    defaultPrim = "Splat"', f"    metersPerUnit = {metres_per_unit:.9g}", f'    upAxis = "{up_axis}"',
               ")", "", f'def {PRIM_TYPE} "Splat"', "{", '    uniform token projectionModeHint = "perspective"',
               '    uniform token sortingModeHint = "zDepth"',
               f"    uniform int radiance:sphericalHarmonicsDegree = {gaussians.sh_degree}"]
    arrays = [("point3f[] positions", gaussians.means), ("quatf[] orientations", gaussians.quats),
              ("float3[] scales", gaussians.scales), ("float[] opacities", gaussians.opacities),
              ("float3[] radiance:sphericalHarmonicsCoefficients", gaussians.sh.reshape(-1, 3))]
    if len(gaussians):
        arrays.insert(0, ("float3[] extent", splat_extent(gaussians)))

    def content(opened: BinaryIO) -> None:
        opened.write(("\n".join(header) + "\n").encode())
        for declaration, values in arrays:
            opened.write(f"    {declaration} = [".encode())
            for text in _array_text(values):
                opened.write(text)
            opened.write(b"]\n")
        opened.write(b"}\n")

    write_out(target, content)


def splat_extent(gaussians: Gaussians) -> NDArray[np.float32]:
    """[2, 3] least and greatest corner of a box that holds three standard deviations of every Gaussian."""
    reach = 3 * gaussians.scales.max(axis=1, keepdims=True)
    return np.stack([(gaussians.means - reach).min(axis=0), (gaussians.means + reach).max(axis=0)])


def _quoted(text: str) -> str:
    plain = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def _array_text(values: NDArray[np.float32]) -> Iterator[bytes]:
    """Comma-separated numbers or tuples; nine digits keep every float32."""
    width = 1 if values.ndim == 1 else values.shape[1]
    pattern = "%.9g" if width == 1 else "(" + ", ".join(["%.9g"] * width) + ")"
    rows = NUMBERS_AT_ONCE // width
    for start in range(0, len(values), rows):
        part = values[start:start + rows]
        text = ", ".join([pattern] * len(part)) % tuple(part.ravel().tolist())
        yield (("" if start == 0 else ", ") + text).encode("ascii")


def read_usda(source: PathOrFile) -> SplatFile:
    """Read all splats of a .usda stage; ``axes`` and ``metres_per_unit`` tell what the stage says.

    Values that change over time and transforms of prims are not read; a warning names transforms.

    Raises:
        InputError: no such file, binary USD, no splats in it, or arrays that do not fit together.
    """
    name = source_name(source)
    with open_input(source) as (opened, size):
        data = read_exactly(opened, size, name)
    if data[:8] == b"PXR-USDC" or data[:4] == b"PK\3\4":
        raise InputError("usd-binary", f"{name} is binary USD, which needs the usd-core library.",
                         "Convert it: interngs convert FILE RESULT.ply (with usd-core installed), or export .usda.")
    if not data.startswith(b"#usda"):
        raise malformed(name, "it does not begin as a USD text file", "Choose a .usda file.")
    starts = [match.start() for match in _PRIM.finditer(data)]
    if not starts:
        raise InputError("usd-not-gaussians", f"{name} holds no Gaussians (no {PRIM_TYPE} prim).",
                         "Choose a USD file that was exported as Gaussian splats.")
    parts = []
    for start in starts:
        following = _NEXT_PRIM.search(data, start)
        parts.append(_prim(data, start, following.start() if following else len(data), name))
    warnings = [warning for part in parts for warning in part.warnings]
    if b"xformOp" in data:
        warnings.append("Transforms of the USD stage were not applied.")
    up = re.search(rb'\bupAxis\s*=\s*"([YZ])"', data[:starts[0]])
    unit = re.search(rb"\bmetersPerUnit\s*=\s*([0-9.eE+-]+)", data[:starts[0]])
    splat = SplatFile(concatenate([part.gaussians for part in parts]), "usda", _comments(data[:starts[0]]),
                      tuple(warnings), AXES_OF_UP[up.group(1).decode() if up else "Y"])
    # USD's own default is the centimetre.
    return replace(splat, metres_per_unit=_unit(unit.group(1) if unit else b"0.01", name))


def _unit(text: bytes, name: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise malformed(name, f"its metersPerUnit is {text[:20]!r}") from error
    if not 0 < value < float("inf"):
        raise malformed(name, f"its metersPerUnit is {value:g}")
    return value


def _comments(head: bytes) -> tuple[str, ...]:
    found = re.search(rb'string\[\] comments = \[((?:"(?:[^"\\]|\\.)*"(?:, )?)*)\]', head)
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', found.group(1).decode("utf-8", "replace")) if found else []
    return tuple(re.sub(r"\\(.)", r"\1", text) for text in quoted)


def _prim(data: bytes, start: int, end: int, name: str) -> SplatFile:
    positions = _array(data, start, end, "positions", name)
    if positions is None:
        raise malformed(name, "a splat has no positions, or positions that change over time")
    means = positions.reshape(-1, 3)
    count = len(means)
    found = re.compile(rb"\bradiance:sphericalHarmonicsDegree\s*=\s*(\d{1,3})\b").search(data, start, end)
    degree = int(found.group(1)) if found else 3
    if degree >= len(COEFFICIENTS_OF_DEGREE):
        raise malformed(name, f"spherical-harmonic degree {degree} is not supported")

    def array(attribute: str, width: int, default: float) -> NDArray[np.float32]:
        values = _array(data, start, end, attribute, name)
        if values is None:
            return np.full((count, width), default, np.float32)
        if len(values) < count * width:
            raise malformed(name, f"{attribute} has {len(values)} numbers for {count} Gaussians")
        return values[:count * width].reshape(count, width)

    coefficients = COEFFICIENTS_OF_DEGREE[degree]
    sh = array("radiance:sphericalHarmonicsCoefficients", 3 * coefficients, 0.0).reshape(count, coefficients, 3)
    quats = array("orientations", 4, 0.0)
    quats[~quats.any(axis=1)] = (1, 0, 0, 0)
    return finish("usda", means=means, quats=quats, log_scales=logs_from_scales(array("scales", 3, 1.0)),
                  opacity_logits=logits_from_opacities(array("opacities", 1, 1.0)[:, 0]), sh=sh)


def _array(data: bytes, start: int, end: int, attribute: str, name: str) -> NDArray[np.float32] | None:
    """The numbers of an array attribute, of its half-precision twin, or None."""
    for spelled in (attribute, attribute + "h"):
        pattern = re.compile(rb"\w+\[\]\s+" + re.escape(spelled.encode()) + rb"\s*=\s*\[")
        found = pattern.search(data, start, end)
        if found is None:
            continue
        close = data.find(b"]", found.end(), end)
        if close < 0:
            raise malformed(name, f"the array {attribute} has no end")
        commas = data.count(b",", found.end(), close)
        text = data[found.end():close].translate(_PUNCTUATION).strip().decode("latin-1")
        try:
            values = np.fromstring(text, np.float32, sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise malformed(name, f"the array {attribute} holds something else than numbers") from error
        # Older numpy stops at the first word that is no number: the commas tell how many were meant.
        expected = (commas, commas + 1) if text else (0,)
        if len(values) not in expected or data[found.end():close].translate(None, _NUMERIC) or \
                (attribute == "positions" and len(values) % 3):
            raise malformed(name, f"the array {attribute} holds something else than numbers")
        return values
    return None


