# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry: formats by name and by content, axes and units converted, losses said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.ply import write_ply
from interngs.formats.registry import FORMATS, format_of, read_splat, sniff, write_splat
from interngs.formats.usda import write_usda
from interngs.scene.transforms import convert_axes

WRITABLE = [f for f in FORMATS if f.write]


@pytest.mark.parametrize("splat_format", WRITABLE, ids=lambda f: f.name)
@pytest.mark.parametrize("axes", ["opencv", "blender"])
def test_up_stays_up_in_every_format(splat_format, axes: str, tmp_path: Path, make_gaussians, shape_error) -> None:
    g = make_gaussians(60, 1)
    g.means[:, 0] = np.linspace(-5, 5, 60)      # far apart, to find them again in any order
    path = tmp_path / f"a{splat_format.extensions[0]}"
    assert write_splat(path, g, axes, ["units: metres"]) is splat_format
    raw = splat_format.read(path)
    up = {"opencv": -raw.gaussians.means[:, 1], "opengl": raw.gaussians.means[:, 1]}[splat_format.axes]
    ours = -g.means[:, 1] if axes == "opencv" else g.means[:, 2]
    np.testing.assert_allclose(np.sort(up), np.sort(ours), atol=0.02)
    found = read_splat(path, axes)
    assert found.axes == axes
    order, wanted = np.argsort(found.gaussians.means[:, 0]), np.argsort(g.means[:, 0])
    np.testing.assert_allclose(found.gaussians.means[order], g.means[wanted], atol=0.02)
    assert shape_error(found.gaussians.select(order), g.select(wanted)).max() < 0.02
    if splat_format.name not in ("splat", "spz"):
        assert "units: metres" in found.comments and any("axes: x right" in line for line in found.comments)


def test_extensions_and_contents(tmp_path: Path, make_gaussians) -> None:
    assert format_of("a.PLY").name == "ply" and format_of("a.compressed.ply").name == "compressed-ply"
    g = make_gaussians(5, 0)
    for splat_format in WRITABLE:
        write_splat(tmp_path / f"a{splat_format.extensions[0]}", g, "opencv")
        wrong = tmp_path / "renamed.ksplat"
        (tmp_path / f"a{splat_format.extensions[0]}").replace(wrong)
        if splat_format.name != "splat":        # which has nothing to know it by
            assert sniff(wrong) is splat_format
            assert len(read_splat(wrong).gaussians) == 5
    with pytest.raises(InputError, match="extension"):
        format_of("a.obj")
    with pytest.raises(InputError, match="written"):
        write_splat(tmp_path / "a.ksplat", g, "opencv")
    with pytest.raises(InputError):
        read_splat(tmp_path / "absent.ply")


def test_files_that_state_unit_and_axes_are_converted(tmp_path: Path, make_gaussians) -> None:
    g = make_gaussians(8, 1)
    write_usda(tmp_path / "a.usda", g, up_axis="Z", metres_per_unit=0.01)
    found = read_splat(tmp_path / "a.usda", "opencv")
    np.testing.assert_allclose(found.gaussians.means, convert_axes(g, "opencv", "blender").means * 0.01, atol=1e-6)
    np.testing.assert_allclose(found.gaussians.log_scales, g.log_scales + np.log(0.01), atol=1e-5)


def test_the_caller_may_know_the_axes_better(tmp_path: Path, make_gaussians) -> None:
    g = make_gaussians(8, 1)
    write_ply(tmp_path / "a.ply", g)
    found = read_splat(tmp_path / "a.ply", "blender", file_axes="blender")
    np.testing.assert_array_equal(found.gaussians.means, g.means)


def test_unusual_axes_are_found_again_by_the_files_comment(tmp_path: Path, make_gaussians) -> None:
    g = make_gaussians(8, 0)
    write_splat(tmp_path / "a.ply", g, "blender", file_axes="blender")
    found = read_splat(tmp_path / "a.ply")
    assert found.axes == "blender"
    np.testing.assert_array_equal(found.gaussians.means, g.means)


def test_losses_are_said(make_gaussians) -> None:
    g = make_gaussians(3, 4)
    said = {f.name: f.losses(g) for f in FORMATS}
    assert said["ply"] == () and said["usda"] == ()
    assert any("view" in loss for loss in said["splat"]) and any("degree 4 to 3" in loss for loss in said["glb"])
    assert {f.name for f in FORMATS if f.is_lossy} == {"compressed-ply", "splat", "spz"}
