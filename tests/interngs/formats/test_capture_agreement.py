# SPDX-License-Identifier: GPL-3.0-or-later
"""Real captures: the same scene read from different pose files gives the same cameras, held to its sparse points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.cameras_json import read_cameras_json
from interngs.formats.colmap_binary import _read_points
from interngs.formats.detect import find_capture
from interngs.formats.dtu import read_dtu
from interngs.formats.llff import read_llff
from interngs.formats.split import find_split, protocol_split
from interngs.formats.transforms_json import read_transforms_json
from interngs.scene.overlap import views_alone


@pytest.fixture
def data(shared_data) -> Path:
    if not (shared_data / "data").is_dir():
        pytest.skip(f"shared data absent: no folder {shared_data / 'data'}")
    return shared_data / "data"


def _largest_difference_px(first, second, points) -> float:
    largest = 0.0
    for a, b in zip(first.views, second.views, strict=True):
        assert a.image_path == b.image_path
        pixels, depth = a.camera.project(points)
        size = a.camera.width_px, a.camera.height_px
        inside = (depth > 0) & (pixels >= 0).all(axis=1) & (pixels < size).all(axis=1)
        assert inside.mean() > 0.05
        other, other_depth = b.camera.project(points)
        largest = max(largest, float(np.abs(pixels - other)[inside].max()))
        np.testing.assert_allclose(depth[inside], other_depth[inside], rtol=1e-5)
    return largest


def _cloud(capture, depth: float) -> np.ndarray:
    """Points around the place that the cameras look at, at about ``depth`` before them."""
    middles = np.stack([view.camera.centre + depth * view.camera.forward for view in capture.views])
    spread = np.random.default_rng(0).normal(size=(2000, 3)) * depth / 4
    return middles.mean(axis=0) + spread


def test_fern_poses_reproject_its_sparse_points(data) -> None:
    scene = data / "llff_fern"
    points = _read_points(scene / "sparse/0/points3D.bin").positions
    assert len(points) == 10091
    from_json, from_llff = read_cameras_json(scene / "cameras.json"), read_llff(scene)
    assert _largest_difference_px(from_json, from_llff, points) < 1e-6
    for view in from_llff.views:
        pixels, depth = view.camera.project(points)
        inside = (depth > 0) & (pixels >= 0).all(axis=1) & (pixels < (504, 378)).all(axis=1)
        assert inside.mean() > 0.8, "the points that COLMAP triangulated lie in the pictures"


def test_fern_model_without_images_is_named(data) -> None:
    with pytest.raises(InputError, match=r"images\.bin"):
        find_capture(data / "llff_fern/sparse/0/cameras.bin")


def test_ethiopian_head(data) -> None:
    scene = data / "ethiopian_head"
    from_json, from_llff = read_cameras_json(scene / "cameras.json"), read_llff(scene)
    assert _largest_difference_px(from_json, from_llff, _cloud(from_json, 4.0)) < 1e-6
    assert all(view.mask_path is not None for view in from_json.views)


def test_beer_can_poses_agree_and_focals_nearly(data) -> None:
    """LLFF's file has one focal length for all photos; here each had its own in COLMAP, up to 5 % apart."""
    scene = data / "beer_can"
    for a, b in zip(read_cameras_json(scene / "cameras.json").views, read_llff(scene).views, strict=True):
        np.testing.assert_allclose(a.camera.camera_from_world, b.camera.camera_from_world, atol=1e-9)
        assert a.camera.K[0, 0] == pytest.approx(b.camera.K[0, 0], rel=0.06)


def test_dtu_projections(data) -> None:
    scene = data / "dtu_scan24"
    from_json, from_npz = read_cameras_json(scene / "cameras.json"), read_dtu(scene)
    assert _largest_difference_px(from_json, from_npz, _cloud(from_json, 650.0)) < 1e-3


def test_fox(data) -> None:
    scene = data / "fox"
    from_json = read_cameras_json(scene / "cameras.json")
    from_transforms = read_transforms_json(scene / "transforms.json")
    assert _largest_difference_px(from_json, from_transforms, _cloud(from_json, 5.0)) < 5e-3
    assert {view.distortion.model for view in from_transforms.views} == {"OPENCV"}
    assert find_capture(scene).source.startswith("transforms.json")


def test_fox_as_shipped_lacks_images(data) -> None:
    with pytest.raises(InputError, match="67 of 67 frames") as caught:
        find_capture(data / "fox/transforms_original.json")
    assert "50 of them exist under another extension" in caught.value.remedy


def test_lego(data) -> None:
    scene = data / "nerf_lego"
    from_json = read_cameras_json(scene / "cameras_train.json")
    from_transforms = read_transforms_json(scene / "transforms_train.json")
    assert _largest_difference_px(from_json, from_transforms, _cloud(from_json, 4.0)) < 5e-3
    assert len(find_capture(scene).views) == 125
    split = find_split(scene, 8)
    assert split.train == (26, 86, 2, 55, 75, 93, 16, 73)
    assert split.held_out == tuple(range(100, 125))


@pytest.mark.parametrize(("scene", "n_views"), [
    ("llff_fern", 3), ("llff_fern", 6), ("llff_fern", 9), ("strecha_herzjesu-p8", 6), ("dtu_scan24", 3), ("fox", 12),
    ("beer_can", 12), ("sceaux_castle", 7), ("ethiopian_head", 3),
])
def test_splits_are_read_and_training_views_overlap(data, scene, n_views) -> None:
    capture, split = find_capture(data / scene), find_split(data / scene, n_views)
    assert len(split.train) == n_views
    assert split.rule.startswith("split.json")
    assert views_alone([capture.views[index].camera for index in split.train]) == []
    if scene in ("llff_fern", "fox"):
        rule = protocol_split(len(capture.views), n_views)
        assert (rule.train, rule.held_out) == (split.train, split.held_out)
