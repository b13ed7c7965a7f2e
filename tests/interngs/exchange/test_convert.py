# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversion between all formats."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.exchange.convert import ALL_FORMATS, convert
from interngs.formats.ply import read_ply, write_ply
from interngs.scene.clean import CleanSettings
from interngs.scene.gaussians import Gaussians

WRITABLE = [f for f in ALL_FORMATS if f.write and (f.name != "usd" or importlib.util.find_spec("pxr") is not None)]


def make(n: int = 300, degree: int = 2) -> Gaussians:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(n, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    sh = rng.uniform(-0.9, 0.9, (n, (degree + 1) ** 2, 3))
    return Gaussians(*(a.astype(np.float32) for a in (rng.normal(size=(n, 3)), quats, rng.normal(-4, 0.5, (n, 3)),
                                                      rng.normal(size=n), sh)))


@pytest.mark.parametrize("splat_format", WRITABLE, ids=lambda f: f.name)
def test_there_and_back(splat_format, tmp_path: Path) -> None:
    g = make()
    write_ply(tmp_path / "a.ply", g, ["units: metres"])
    there = tmp_path / f"b{splat_format.extensions[0]}"
    report = convert(tmp_path / "a.ply", there)
    assert report.written == report.read == 300 and report.target.name == splat_format.name
    assert any("Not kept" in line for line in report.lines) == splat_format.is_lossy
    convert(there, tmp_path / "c.ply")
    found = read_ply(tmp_path / "c.ply").gaussians
    for axis in range(3):
        np.testing.assert_allclose(np.sort(found.means[:, axis]), np.sort(g.means[:, axis]), atol=0.01)
    assert found.sh_degree == min(2, splat_format.sh_degree)


def test_options(tmp_path: Path) -> None:
    g = make()
    g.opacity_logits[:10] = -9
    write_ply(tmp_path / "a.ply", g)
    report = convert(tmp_path / "a.ply", tmp_path / "b.ply", source_axes="blender", max_sh_degree=1,
                     clean_settings=CleanSettings(max_isolation=None, max_sparsity=None))
    found = read_ply(tmp_path / "b.ply")
    assert report.written == 290 and found.gaussians.sh_degree == 1
    np.testing.assert_allclose(found.gaussians.means[:, 1], -g.means[10:, 2], atol=1e-6)
    assert any(line.startswith("cleaned: opacity") for line in found.comments)
    for version, magic in ((2, b"\x1f\x8b"), (4, b"NGSP")):
        convert(tmp_path / "a.ply", tmp_path / "a.spz", spz_version=version)  # type: ignore[arg-type]
        assert (tmp_path / "a.spz").read_bytes().startswith(magic)


@pytest.mark.parametrize(("target", "options"), [("a.ply", {}), ("b.ksplat", {}), ("b.txt", {}),
                                                 ("b.ply", {"max_sh_degree": 7})])
def test_senseless_requests_are_refused(target: str, options: dict[str, int], tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", make(5))
    with pytest.raises(InputError):
        convert(tmp_path / "a.ply", tmp_path / target, **options)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_real_files_convert(shared_data: Path, tmp_path: Path) -> None:
    for name, count in (("kacytran_inria_7000.ply", 9080), ("kacytran_model.splat", 22_764)):
        assert convert(shared_data / "data/splats" / name, tmp_path / "out.glb").written == count
