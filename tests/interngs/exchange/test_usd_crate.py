# SPDX-License-Identifier: GPL-3.0-or-later
"""Binary USD by usd-core: round trip, placing transforms, errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.exchange.usd_crate import read_usd, write_usd
from interngs.formats.usda import read_usda, write_usda
from interngs.scene.gaussians import Gaussians

needs_usd = pytest.mark.skipif(importlib.util.find_spec("pxr") is None,
                               reason="independent reader usd-core is not installed")


def make(n: int = 50, degree: int = 2) -> Gaussians:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(n, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    return Gaussians(*(a.astype(np.float32) for a in (rng.normal(size=(n, 3)), quats, rng.normal(size=(n, 3)),
                                                      rng.normal(size=n), rng.normal(size=(n, (degree + 1) ** 2, 3)))))


@needs_usd
@pytest.mark.parametrize("count", [0, 50])
def test_round_trip(count: int, tmp_path: Path) -> None:
    g = make(count)
    write_usd(tmp_path / "a.usdc", g, ["units: metres"], up_axis="Z", metres_per_unit=0.5)
    found = read_usd(tmp_path / "a.usdc")
    assert (found.axes, found.metres_per_unit, found.comments) == ("blender", 0.5, ("units: metres",))
    np.testing.assert_array_equal(found.gaussians.means, g.means)
    np.testing.assert_array_equal(found.gaussians.sh, g.sh)
    np.testing.assert_allclose(found.gaussians.quats, g.quats, atol=2e-7)
    np.testing.assert_allclose(found.gaussians.log_scales, g.log_scales, atol=1e-6)


@needs_usd
def test_reads_what_the_text_writer_writes(tmp_path: Path) -> None:
    g = make()
    write_usda(tmp_path / "a.usda", g)
    ours, theirs = read_usda(tmp_path / "a.usda").gaussians, read_usd(tmp_path / "a.usda").gaussians
    for field in ("means", "quats", "log_scales", "opacity_logits", "sh"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


@needs_usd
def test_transforms_place_the_splat(tmp_path: Path) -> None:
    g = make(5, 0)
    write_usda(tmp_path / "a.usda", g)
    text = (tmp_path / "a.usda").read_text()
    placing = 'double3 xformOp:translate = (1, 2, 3)\n    uniform token[] xformOpOrder = ["xformOp:translate"]\n    '
    text = text.replace("uniform token projection", placing + "uniform token projection")
    (tmp_path / "b.usda").write_text(text)
    np.testing.assert_allclose(read_usd(tmp_path / "b.usda").gaussians.means, g.means + np.array([1, 2, 3]), atol=1e-6)


@needs_usd
def test_broken_files_are_refused(tmp_path: Path) -> None:
    write_usd(tmp_path / "a.usdc", make())
    data = (tmp_path / "a.usdc").read_bytes()
    (tmp_path / "cut.usdc").write_bytes(data[:len(data) // 2])
    (tmp_path / "empty.usda").write_text("#usda 1.0\n")
    for name in ("cut.usdc", "empty.usda", "absent.usdc"):
        with pytest.raises(InputError):
            read_usd(tmp_path / name)


def test_without_the_library_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="usd-core"):
        write_usd(tmp_path / "a.usdc", make())
    assert not list(tmp_path.iterdir())
