# SPDX-License-Identifier: GPL-3.0-or-later
"""Binary USD (.usdc, .usd, .usdz) with ParticleField3DGaussianSplat, by the usd-core library."""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.quantise import logits_from_opacities, logs_from_scales
from ..formats.splat_file import SplatFile, finish, malformed
from ..formats.usda import AXES_OF_UP, PRIM_TYPE, UpAxis, splat_extent
from ..scene.gaussians import COEFFICIENTS_OF_DEGREE, Gaussians, concatenate
from ..scene.transforms import transform_gaussians
from ..storage import atomic_write


def _usd() -> tuple[Any, Any, Any, Any]:
    if importlib.util.find_spec("pxr") is None:
        raise InputError("usd-core-missing", "Binary USD needs the usd-core library, which is not installed.",
                         "Run: pip install usd-core   (or use .usda, which needs nothing).")
    sdf, usd, usd_geom, vt = (importlib.import_module(f"pxr.{part}") for part in ("Sdf", "Usd", "UsdGeom", "Vt"))
    return sdf, usd, usd_geom, vt


def write_usd(target: str | os.PathLike[str], gaussians: Gaussians, comments: Sequence[str] = (), *,
              up_axis: UpAxis = "Y", metres_per_unit: float = 1.0) -> None:
    """Write a binary stage with one splat; arguments as in ``write_usda``, but a path only.

    Raises:
        InputError: usd-core is not installed.
        InternGSError: the target cannot be written.
    """
    sdf, usd, usd_geom, vt = _usd()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "splat.usdc"
        stage = usd.Stage.CreateNew(str(made))
        usd_geom.SetStageUpAxis(stage, up_axis)
        usd_geom.SetStageMetersPerUnit(stage, metres_per_unit)
        if comments:
            layer_data = dict(stage.GetRootLayer().customLayerData)
            stage.GetRootLayer().customLayerData = {**layer_data, "comments": vt.StringArray(list(comments))}
        prim = stage.DefinePrim("/Splat", PRIM_TYPE)
        stage.SetDefaultPrim(prim)
        types, uniform = sdf.ValueTypeNames, sdf.VariabilityUniform
        for name, kind, value in (("projectionModeHint", types.Token, "perspective"),
                                  ("sortingModeHint", types.Token, "zDepth"),
                                  ("radiance:sphericalHarmonicsDegree", types.Int, gaussians.sh_degree)):
            prim.CreateAttribute(name, kind, False, uniform).Set(value)
        # Vt quaternions keep x y z w in memory.
        quats = np.ascontiguousarray(np.roll(gaussians.quats, -1, axis=1))
        arrays = [("positions", types.Point3fArray, vt.Vec3fArray.FromNumpy(np.ascontiguousarray(gaussians.means))),
                  ("orientations", types.QuatfArray, vt.QuatfArray.FromNumpy(quats)),
                  ("scales", types.Float3Array, vt.Vec3fArray.FromNumpy(gaussians.scales)),
                  ("opacities", types.FloatArray, vt.FloatArray.FromNumpy(gaussians.opacities)),
                  ("radiance:sphericalHarmonicsCoefficients", types.Float3Array,
                   vt.Vec3fArray.FromNumpy(np.ascontiguousarray(gaussians.sh.reshape(-1, 3))))]
        if len(gaussians):
            arrays.append(("extent", types.Float3Array, vt.Vec3fArray.FromNumpy(splat_extent(gaussians))))
        for name, kind, value in arrays:
            prim.CreateAttribute(name, kind, False).Set(value)
        stage.GetRootLayer().Save()
        del prim, stage
        atomic_write(Path(target), made.read_bytes())


def read_usd(source: str | os.PathLike[str]) -> SplatFile:
    """Read all splats of a USD stage of any kind, at its first time, placed by their transforms.

    Raises:
        InputError: usd-core is not installed, no such file, no splats in it, or arrays that do not fit together.
    """
    _, usd, usd_geom, _ = _usd()
    path = Path(source)
    if not path.is_file():
        raise InputError("splat-unreadable", f"{path} is no file.", "Check the path.")
    try:
        stage = usd.Stage.Open(str(path))
    except Exception as error:      # pxr makes its error type at run time
        raise malformed(path.name, f"USD refuses it ({str(error).strip().splitlines()[0]})") from error
    time = usd.TimeCode.EarliestTime()
    parts: list[Gaussians] = []
    warnings: list[str] = []
    for prim in stage.Traverse():
        if str(prim.GetTypeName()) == PRIM_TYPE:
            part = _read_prim(prim, time, path.name)
            warnings += part.warnings
            matrix = np.array(usd_geom.XformCache(time).GetLocalToWorldTransform(prim)).T
            parts.append(part.gaussians if np.array_equal(matrix, np.eye(4))
                         else transform_gaussians(part.gaussians, matrix))
    if not parts:
        raise InputError("usd-not-gaussians", f"{path.name} holds no Gaussians (no {PRIM_TYPE} prim).",
                         "Choose a USD file that was exported as Gaussian splats.")
    told = stage.GetRootLayer().customLayerData.get("comments", ())
    return SplatFile(concatenate(parts), "usd", tuple(map(str, told)), tuple(warnings),
                     AXES_OF_UP[str(usd_geom.GetStageUpAxis(stage))], float(usd_geom.GetStageMetersPerUnit(stage)))


def _read_prim(prim: Any, time: Any, name: str) -> SplatFile:
    def array(attribute: str, shape: tuple[int, ...], default: float) -> NDArray[np.float32]:
        for spelled in (attribute, attribute + "h"):
            value = prim.GetAttribute(spelled).Get(time) if prim.HasAttribute(spelled) else None
            if value is not None and len(value):
                values = np.array(value, np.float32).reshape(-1)
                needed = int(np.prod(shape))
                if len(values) < needed:
                    raise malformed(name, f"{attribute} has {len(values)} numbers, {needed} are needed")
                return values[:needed].reshape(shape)
        return np.full(shape, default, np.float32)

    positions = prim.GetAttribute("positions").Get(time) or prim.GetAttribute("positionsh").Get(time) or ()
    count = len(positions)
    degree = int(prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get(time))
    if not 0 <= degree < len(COEFFICIENTS_OF_DEGREE):
        raise malformed(name, f"spherical-harmonic degree {degree} is not supported")
    quats = np.roll(array("orientations", (count, 4), 0.0), 1, axis=1)
    quats[~quats.any(axis=1)] = (1, 0, 0, 0)
    return finish("usd", means=array("positions", (count, 3), 0.0), quats=quats,
                  log_scales=logs_from_scales(array("scales", (count, 3), 1.0)),
                  opacity_logits=logits_from_opacities(array("opacities", (count,), 1.0)),
                  sh=array("radiance:sphericalHarmonicsCoefficients", (count, COEFFICIENTS_OF_DEGREE[degree], 3), 0.0))
