# SPDX-License-Identifier: GPL-3.0-or-later
"""Which capture a path is: every form alone, the order of preference, and what is no capture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.detect import find_capture, require_poses
from interngs.formats.transforms_json import write_transforms_json

NAMES = ["a.png", "b.png", "c.png"]


def _cameras_json(cameras) -> str:
    return json.dumps({"frames": [
        {"file": f"images/{name}", "w": 40, "h": 30, "K": camera.K.tolist(), "w2c": camera.camera_from_world.tolist()}
        for name, camera in zip(NAMES, cameras, strict=True)]})


@pytest.fixture
def scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> Path:
    """A scene with the same poses in every form."""
    cameras = ring_of_cameras(3)
    write_photos(tmp_path / "images", NAMES)
    write_colmap_model(tmp_path / "sparse/0", NAMES, [camera.camera_from_world for camera in cameras])
    (tmp_path / "cameras.json").write_text(_cameras_json(cameras))
    write_transforms_json(tmp_path / "transforms.json",
                          {f"images/{name}": camera for name, camera in zip(NAMES, cameras, strict=True)})
    rows = []
    for camera in cameras:
        pose = camera.world_from_camera
        rows.append(np.concatenate([np.stack([pose[:3, 1], pose[:3, 0], -pose[:3, 2], pose[:3, 3], [30, 40, 48.5]],
                                             axis=1).ravel(), [1, 9]]))
    np.save(tmp_path / "poses_bounds.npy", np.stack(rows))
    projections = {}
    for index, camera in enumerate(cameras):
        projections[f"world_mat_{index}"] = np.eye(4)
        projections[f"world_mat_{index}"][:3] = camera.K @ camera.camera_from_world[:3]
    np.savez(tmp_path / "cameras.npz", **projections)
    return tmp_path


ORDER = [("transforms.json", "transforms.json"), ("cameras.json", "cameras.json"), ("sparse", "COLMAP binary"),
         ("poses_bounds.npy", "poses_bounds.npy"), ("cameras.npz", "cameras.npz"), ("nothing", "without poses")]


def test_order_of_preference_and_equal_poses(scene, ring_of_cameras) -> None:
    for file, source in ORDER:
        capture = find_capture(scene)
        assert capture.source.startswith(source) or source in capture.source.split(";")[0]
        if file == "nothing":
            assert all(view.camera is None for view in capture.views)
            break
        for view, camera in zip(capture.views, ring_of_cameras(3), strict=True):
            np.testing.assert_allclose(view.camera.camera_from_world, camera.camera_from_world, atol=1e-6)
            assert view.image_path.is_file()
        require_poses(capture)
        path = scene / file
        others = capture.source.partition("not used: ")[2]
        assert source.split()[0] not in others
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    assert "not used" not in capture.source


@pytest.mark.parametrize("file", ["transforms.json", "cameras.json", "sparse/0/images.bin", "poses_bounds.npy",
                                  "cameras.npz"])
def test_an_explicit_file_wins(scene, file) -> None:
    renamed = scene / file
    if "sparse" not in file:
        renamed = renamed.rename(scene / f"my poses{renamed.suffix}")
    capture = find_capture(str(renamed))
    assert renamed.name in capture.source or "COLMAP" in capture.source
    assert len(capture.views) == 3


def test_model_folder_itself(scene) -> None:
    assert find_capture(scene / "sparse/0").source.startswith("COLMAP binary")


def test_split_file_names_the_pose_file(scene) -> None:
    (scene / "split.json").write_text(json.dumps({"cameras": "poses_bounds.npy", "splits": {}}))
    assert find_capture(scene).source.startswith("poses_bounds.npy")
    (scene / "split.json").write_text(json.dumps({"cameras": "../other.json", "splits": {}}))
    with pytest.raises(InputError, match="not there"):
        find_capture(scene)


def test_photos_alone_need_poses(tmp_path, write_photos) -> None:
    write_photos(tmp_path / "images", ["10.png", "9.jpg", ".hidden.png"])
    (tmp_path / "images/notes.txt").write_text("no photo")
    capture = find_capture(tmp_path)
    assert [view.name for view in capture.views] == ["10.png", "9.jpg"]
    with pytest.raises(InputError, match=r"2 of 2 views .*COLMAP.*poses_bounds\.npy") as caught:
        require_poses(capture)
    assert caught.value.code == "pose-missing"
    assert [view.name for view in find_capture(tmp_path / "images").views] == ["10.png", "9.jpg"]


def test_no_capture(tmp_path, write_photos) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        find_capture(tmp_path / "none")
    with pytest.raises(InputError, match="no JPEG, PNG or WebP") as caught:
        find_capture(tmp_path)
    assert caught.value.code == "folder-without-images"
    write_photos(tmp_path, ["one.png"])
    with pytest.raises(InputError, match="no pose file"):
        find_capture(tmp_path / "one.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        find_capture(tmp_path)


def test_train_and_test_files_become_one_capture(tmp_path, write_photos, ring_of_cameras) -> None:
    cameras = ring_of_cameras(5)
    names = write_photos(tmp_path, ["train/r_0.png", "train/r_1.png", "train/r_2.png", "test/r_0.png", "test/r_1.png"])
    for kind, part in (("train", slice(0, 3)), ("test", slice(3, 5))):
        poses = {name.removesuffix(".png"): camera for name, camera in zip(names[part], cameras[part], strict=True)}
        write_transforms_json(tmp_path / f"transforms_{kind}.json", poses)
    capture = find_capture(tmp_path)
    assert [view.image_path for view in capture.views] == [tmp_path / name for name in names]
    assert capture.source.count("transforms_") == 2
    assert len(find_capture(tmp_path / "transforms_test.json").views) == 2


@pytest.mark.parametrize(("change", "code"), [
    ({"w": None}, "json-value"), ({"file": 3}, "json-value"), ({"K": [[1, 0], [0, 1]]}, "json-value"),
    ({"w": -4}, "camera-size"), ({"K": [[0, 0, 20], [0, 50, 15], [0, 0, 1]]}, "focal-not-positive"),
    ({"w2c": [[float("nan")] * 4] * 4}, "camera-not-finite"), ({"w2c": [[2, 0, 0, 0]] * 4}, "pose-not-rigid"),
    ({"mask": "none.png"}, "file-missing"), ({"file": "images/z.png"}, "image-missing"),
])
def test_broken_cameras_json(scene, change, code) -> None:
    content = json.loads((scene / "cameras.json").read_text())
    content["frames"][1].update(change)
    (scene / "cameras.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        find_capture(scene / "cameras.json")
    assert caught.value.code == code
