# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures and reports: right sizes, colours that mean what they say, files that others can read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interngs.evaluate.report import (
    ComparisonRow,
    depth_colours,
    error_colours,
    save_comparison,
    save_depth_picture,
    save_orbit_gif,
    write_html_report,
    write_report,
)


@pytest.fixture
def row() -> ComparisonRow:
    v, u = np.mgrid[0:60, 0:80] / 80.0
    photo = np.stack([u, v, 0.5 + 0 * u], axis=-1).astype(np.float32)
    render = np.clip(photo + 0.05, 0, 1)
    return ComparisonRow("photo <1>.jpg", photo, render, (1.0 + u).astype(np.float32), 26.02)


def test_comparison_has_four_pictures_per_view(row: ComparisonRow, tmp_path: Path) -> None:
    save_comparison(tmp_path / "c.png", [row, row])
    with Image.open(tmp_path / "c.png") as sheet:
        assert sheet.size == (8 + 4 * 88, 2 * (26 + 60 + 8))
        pixels = np.asarray(sheet)
    photo, render = pixels[26:86, 8:88], pixels[26:86, 96:176]
    np.testing.assert_array_equal(photo, np.round(row.photo * 255))
    np.testing.assert_array_equal(render, np.round(row.render * 255))
    assert pixels[4:22, 8:88].max() > 200       # the caption is there


def test_comparison_shrinks_large_pictures_and_long_names(tmp_path: Path) -> None:
    big = ComparisonRow("a very long name of a photograph " * 5, np.zeros((500, 1000, 3)), np.ones((500, 1000, 3)),
                        np.zeros((500, 1000)), 0.0)
    save_comparison(tmp_path / "c.png", [big])
    with Image.open(tmp_path / "c.png") as sheet:
        assert sheet.size == (8 + 4 * 428, 26 + 210 + 8)


def test_depth_is_warm_near_blue_far_black_unknown(tmp_path: Path) -> None:
    depth = np.tile(np.linspace(1.0, 4.0, 90), (10, 1))
    depth[:, 40:50] = 0
    depth[0, 45] = np.nan
    picture = depth_colours(depth).astype(int)
    assert (picture[:, 40:50] == 0).all()
    assert picture[5, 1, 0] > picture[5, 1, 2] + 50          # near: red over blue
    assert picture[5, -10, 2] > picture[5, -10, 0] + 50      # far: blue over red
    assert (depth_colours(np.zeros((3, 4))) == 0).all()
    save_depth_picture(tmp_path / "d.png", depth)
    with Image.open(tmp_path / "d.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_error_colours_grow_with_the_error() -> None:
    reference = np.zeros((1, 4, 3))
    image = np.array([0.0, 0.05, 0.15, 0.9])[None, :, None] * np.ones(3)
    brightness = error_colours(image, reference).sum(axis=-1)[0].astype(int)
    assert (np.diff(brightness) > 0).all() and brightness[0] < 10


def test_orbit_gif_is_endless_true_to_colour_and_small(tmp_path: Path) -> None:
    v, u = np.mgrid[0:90, 0:120] / 120.0
    frames = [0.3 + 0.4 * np.stack([u, v, np.full_like(u, shade)], axis=-1) for shade in np.linspace(0, 1, 10)]
    save_orbit_gif(tmp_path / "o.gif", frames)
    with Image.open(tmp_path / "o.gif") as gif:
        assert gif.n_frames == 10 and gif.info["loop"] == 0 and gif.info["duration"] == 80
        for number in (0, 9):
            gif.seek(number)
            shown = np.asarray(gif.convert("RGB")).reshape(9, 10, 12, 10, 3).mean(axis=(1, 3))
            wanted = 255 * frames[number].reshape(9, 10, 12, 10, 3).mean(axis=(1, 3))
            assert np.abs(shown - wanted).mean() < 5


def test_orbit_gif_above_the_limit_is_made_smaller(tmp_path: Path) -> None:
    frames = list(np.random.default_rng(0).uniform(0, 1, (6, 120, 160, 3)))
    save_orbit_gif(tmp_path / "o.gif", frames, limit_bytes=60_000)
    assert (tmp_path / "o.gif").stat().st_size <= 60_000
    with Image.open(tmp_path / "o.gif") as gif:
        assert gif.width < 160 and gif.width / gif.height == pytest.approx(4 / 3, abs=0.05)


def test_json_report_holds_no_special_numbers(tmp_path: Path) -> None:
    write_report(tmp_path / "r.json", {"psnr": math.inf, "list": [math.nan, np.float32(0.5)], "views": {"a": (1, 2)}})

    def refuse(name: str) -> float:
        raise AssertionError(name)

    read = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert read == {"psnr": None, "list": [None, 0.5], "views": {"a": [1, 2]}}


def test_html_report_stands_alone_and_escapes_names(row: ComparisonRow, tmp_path: Path) -> None:
    save_comparison(tmp_path / "comparison.png", [row])
    save_orbit_gif(tmp_path / "orbit.gif", [row.photo, row.render])
    report = {"psnr": 26.02, "gaussians": 41234, "warnings": ["one & two"],
              "held_out": {"photo <1>.jpg": {"psnr": 26.02, "ssim": 0.9}}}
    write_html_report(tmp_path, report)
    page = (tmp_path / "report.html").read_text()
    assert "26.02" in page and "41,234" in page and "photo &lt;1&gt;.jpg" in page and "one &amp; two" in page
    assert page.count("src='data:image/") == 2 and "<1>" not in page
    assert "http" not in page
