# SPDX-License-Identifier: GPL-3.0-or-later
"""USD text with ParticleField3DGaussianSplat: round trip, other writers' habits, usd-core as reader, damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.usda import read_usda, write_usda
from interngs.scene.gaussians import Gaussians


def as_bytes(g: Gaussians, comments: tuple[str, ...] = (), **options) -> bytes:
    buffer = io.BytesIO()
    write_usda(buffer, g, comments, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("degree", range(5))
def test_round_trip_keeps_every_float(degree: int, make_gaussians) -> None:
    g = make_gaussians(120, degree)
    found = read_usda(io.BytesIO(as_bytes(g, ('say "hi"', "back\\slash"), up_axis="Z", metres_per_unit=0.5)))
    assert found.comments == ('say "hi"', "back\\slash")
    assert found.axes == "blender" and found.metres_per_unit == 0.5
    np.testing.assert_array_equal(found.gaussians.means, g.means)
    np.testing.assert_array_equal(found.gaussians.sh, g.sh)
    np.testing.assert_allclose(found.gaussians.quats, g.quats, atol=2e-7)
    np.testing.assert_allclose(found.gaussians.log_scales, g.log_scales, atol=1e-6)
    np.testing.assert_allclose(found.gaussians.opacities, g.opacities, atol=0.001)


def test_no_gaussians(make_gaussians) -> None:
    assert len(read_usda(io.BytesIO(as_bytes(make_gaussians(0, 1)))).gaussians) == 0


def test_defaults_half_precision_and_two_prims() -> None:
    text = b"""#usda 1.0
def Xform "World"
{
    def ParticleField3DGaussianSplat "a"
    {
        point3h[] positionsh = [
            (1, 2, 3),
            (4, 5, 6),
        ]
        uniform int radiance:sphericalHarmonicsDegree = 0
    }
    def ParticleField3DGaussianSplat "b" ( kind = "component" )
    {
        float[] opacities = [0.25]
        point3f[] positions = [(7, 8, 9)]
        float3[] scales = [(1, 2, 3)]
        uniform int radiance:sphericalHarmonicsDegree = 0
        float3[] radiance:sphericalHarmonicsCoefficients = [(0.5, 0, -0.5)]
        double3 xformOp:translate = (1, 0, 0)
    }
}
"""
    found = read_usda(io.BytesIO(text))
    np.testing.assert_array_equal(found.gaussians.means[:, 0], [1, 4, 7])
    np.testing.assert_allclose(found.gaussians.scales[2], [1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(found.gaussians.opacities, [0.999, 0.999, 0.25], atol=1e-3)
    np.testing.assert_array_equal(found.gaussians.quats, np.tile([1, 0, 0, 0], (3, 1)))
    assert found.axes == "opengl" and found.metres_per_unit == 0.01
    assert found.warnings == ("Transforms of the USD stage were not applied.",)


@pytest.mark.parametrize(("old", "new"), [
    (b"#usda 1.0", b"#usdb 1.0"), (b"#usda 1.0", b"PXR-USDC"), (b"3DGaussianSplat", b"3DSplat"),
    (b"positions", b"places"), (b"HarmonicsDegree = 1", b"HarmonicsDegree = 9"),
    (b"HarmonicsDegree = 1", b"HarmonicsDegree = 2"), (b"positions = [(", b"positions = [(zero, "),
    (b"metersPerUnit = 1", b"metersPerUnit = 0"), (b"metersPerUnit = 1", b"metersPerUnit = 1-1"),
    (b"]\n    quatf", b"\n    quatf"), (b"positions = [(", b"positions = [(1, 2), ("),
])
def test_broken_stages_are_refused(old: bytes, new: bytes, make_gaussians) -> None:
    data = as_bytes(make_gaussians(10, 1))
    assert old in data
    with pytest.raises(InputError):
        read_usda(io.BytesIO(data.replace(old, new, 1)))


def test_damage(make_gaussians, assert_survives_damage) -> None:
    assert_survives_damage(as_bytes(make_gaussians(20, 0)), read_usda, head=4000)


def test_usd_core_reads_the_same(tmp_path: Path, make_gaussians) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="independent reader usd-core is not installed")
    g = make_gaussians(40, 2)
    write_usda(tmp_path / "a.usda", g, ["units: metres"])
    stage = usd.Stage.Open(str(tmp_path / "a.usda"))
    prim = stage.GetDefaultPrim()
    assert str(prim.GetTypeName()) == "ParticleField3DGaussianSplat" and prim.IsDefined()
    np.testing.assert_array_equal(np.array(prim.GetAttribute("positions").Get()), g.means)
    np.testing.assert_array_equal(np.array(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Get()),
                                  g.sh.reshape(-1, 3))
    first = prim.GetAttribute("orientations").Get()[0]
    np.testing.assert_allclose([first.GetReal(), *first.GetImaginary()], g.quats[0], atol=1e-7)
    assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == 2
    assert stage.GetRootLayer().customLayerData["comments"][0] == "units: metres"
