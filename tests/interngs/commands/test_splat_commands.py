# SPDX-License-Identifier: GPL-3.0-or-later
"""``clean`` and ``info`` on every format that can be read, and filters that need the capture's cameras."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from interngs.cli import main
from interngs.exchange.convert import ALL_FORMATS
from interngs.formats.registry import read_splat, write_splat
from interngs.scene.gaussians import Gaussians

WRITTEN = [f.extensions[0] for f in ALL_FORMATS if f.write is not None]


def splat(n: int = 600) -> Gaussians:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(n, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    quats = np.tile([1.0, 0, 0, 0], (n, 1))
    opacities = np.where(np.arange(n) < 100, -3.0, 2.0)
    return Gaussians(*(a.astype(np.float32) for a in (means, quats, np.full((n, 3), -3.0), opacities,
                                                      rng.normal(0, 0.1, (n, 4, 3)))))


def skip_without_library(ending: str) -> None:
    if ending == ".usdc" and importlib.util.find_spec("pxr") is None:
        pytest.skip("usd-core is not installed: pip install interngs[usd]")


@pytest.mark.parametrize("ending", WRITTEN)
def test_clean_and_info_take_every_format(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    skip_without_library(ending)
    source, target = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    write_splat(source, splat(), "opencv", formats=ALL_FORMATS)
    assert main(["clean", str(source), "-o", str(target), "--min-opacity", "0.5"]) == 0
    assert "100 of 600 removed" in capsys.readouterr().err
    cleaned = read_splat(target, "opencv", formats=ALL_FORMATS).gaussians
    assert len(cleaned) == 500
    assert np.median(np.abs(np.linalg.norm(cleaned.means, axis=1) - 1)) < 0.01
    assert main(["info", str(target)]) == 0
    told = capsys.readouterr().out
    assert "500" in told and next(f.label for f in ALL_FORMATS if ending in f.extensions) in told


@pytest.mark.parametrize("ending", [".ply", ".spz"])
def test_filters_by_cameras_do_not_depend_on_the_format(ending: str, tmp_path: Path) -> None:
    pose = np.eye(4)
    pose[2, 3] = -4.0       # OpenGL axes: stands at z = -4 of the poses' world, turned to look along +z
    pose[:3, :3] = np.diag([1.0, -1.0, -1.0])
    (tmp_path / "a.png").write_bytes(_png())
    (tmp_path / "transforms.json").write_text(json.dumps({
        "fl_x": 20.0, "fl_y": 20.0, "cx": 5, "cy": 5, "w": 10, "h": 10,
        "frames": [{"file_path": "a.png", "transform_matrix": pose.tolist()}]}))
    source, target = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    g = splat()
    write_splat(source, g, "opencv", formats=ALL_FORMATS)
    assert main(["clean", str(source), "-o", str(target), "--cameras", str(tmp_path), "--min-views", "1"]) == 0
    depth = g.means[:, 2] + 4
    expected = (np.abs(g.means[:, :2]).max(axis=1) * 20 < 5 * depth).sum()
    assert abs(len(read_splat(target, formats=ALL_FORMATS).gaussians) - expected) <= 3
    assert 0 < expected < len(g)


def _png() -> bytes:
    import io

    from PIL import Image

    opened = io.BytesIO()
    Image.new("RGB", (10, 10)).save(opened, "PNG")
    return opened.getvalue()


def test_clean_without_cameras_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_splat(tmp_path / "a.ply", splat(), "opencv")
    assert main(["clean", str(tmp_path / "a.ply"), "-o", str(tmp_path / "b.ply"), "--max-hull-reach", "2"]) != 0
    assert "training cameras" in capsys.readouterr().err
    assert not (tmp_path / "b.ply").exists()


def test_an_unknown_target_is_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_splat(tmp_path / "a.ply", splat(), "opencv")
    assert main(["clean", str(tmp_path / "a.ply"), "-o", str(tmp_path / "b.xyz")]) != 0
    assert "known splat extension" in capsys.readouterr().err
