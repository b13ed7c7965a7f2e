# SPDX-License-Identifier: GPL-3.0-or-later
"""transforms.json: intrinsics in every spelling, axes, distortion, side files, and what is broken."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.transforms_json import read_transforms_json, write_transforms_json

LOOKING_ALONG_X = [[0.0, 0.0, -1.0, 1.0], [-1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]]
"""An OpenGL camera at (1, 2, 3) that looks along +x with +z up."""


def _write(folder: Path, frames: list[dict], **shared: object) -> Path:
    path = folder / "transforms.json"
    path.write_text(json.dumps({**shared, "frames": frames}))
    return path


def _frame(name: str = "images/a.png", **values: object) -> dict:
    return {"file_path": name, "transform_matrix": LOOKING_ALONG_X, **values}


@pytest.fixture
def photos(tmp_path, write_photos) -> Path:
    write_photos(tmp_path, ["images/a.png", "images/b.png"])
    return tmp_path


def test_axes_and_shared_intrinsics(photos) -> None:
    path = _write(photos, [_frame()], fl_x=50.0, fl_y=48.0, cx=21.0, cy=14.0, w=40.0, h=30)
    view = read_transforms_json(path).views[0]
    np.testing.assert_allclose(view.camera.centre, [1, 2, 3])
    np.testing.assert_allclose(view.camera.forward, [1, 0, 0], atol=1e-15)
    pixels, depth = view.camera.project(np.array([[11.0, 2.0, 3.0], [11.0, 2.0, 4.0], [11.0, 1.0, 3.0]]))
    np.testing.assert_allclose(depth, 10.0)
    np.testing.assert_allclose(pixels, [[21.0, 14.0], [21.0, 14.0 - 4.8], [21.0 + 5.0, 14.0]], atol=1e-12)
    assert (view.name, view.image_path, view.distortion.model) == ("images/a.png", photos / "images/a.png", "PINHOLE")


def test_a_frames_own_intrinsics_win(photos) -> None:
    path = _write(photos, [_frame(), _frame("images/b.png", fl_x=70.0, cx=1.0, k1=0.1)], fl_x=50, cx=20.0, cy=15.0)
    first, second = read_transforms_json(path).views
    assert (first.camera.K[0, 0], first.camera.K[1, 1], first.camera.K[0, 2]) == (50, 50, 20)
    assert (second.camera.K[0, 0], second.camera.K[0, 2], second.camera.K[1, 2]) == (70, 1, 15)
    assert (first.distortion.model, second.distortion.model) == ("PINHOLE", "OPENCV")


def test_field_of_view_size_of_the_image_and_missing_extension(photos) -> None:
    path = _write(photos, [_frame("./images/a")], camera_angle_x=math.radians(90))
    view = read_transforms_json(path).views[0]
    np.testing.assert_allclose(view.camera.K, [[20, 0, 20], [0, 20, 15], [0, 0, 1]])
    assert view.image_path.name == "a.png"
    both = _write(photos, [_frame()], camera_angle_x=math.radians(90), camera_angle_y=math.radians(60))
    assert read_transforms_json(both).views[0].camera.K[1, 1] == pytest.approx(15 / math.tan(math.radians(30)))


def test_intrinsics_follow_smaller_images(photos) -> None:
    path = _write(photos, [_frame()], fl_x=500.0, fl_y=480.0, cx=210.0, cy=140.0, w=400, h=300)
    np.testing.assert_allclose(read_transforms_json(path).views[0].camera.K, [[50, 0, 21], [0, 48, 14], [0, 0, 1]])


@pytest.mark.parametrize(("values", "model", "parameters"), [
    ({"k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4}, "OPENCV", (0.1, 0.2, 0.3, 0.4)),
    ({"camera_model": "OPENCV", "k1": 0.1, "k3": 0.5}, "FULL_OPENCV", (0.1, 0, 0, 0, 0.5, 0, 0, 0)),
    ({"is_fisheye": True, "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4}, "OPENCV_FISHEYE", (0.1, 0.2, 0.3, 0.4)),
    ({"camera_model": "OPENCV_FISHEYE"}, "OPENCV_FISHEYE", (0, 0, 0, 0)),
    ({"camera_model": "FULL_OPENCV", "k1": 1, "k6": 6, "p2": 2}, "FULL_OPENCV", (1, 0, 0, 2, 0, 0, 0, 6)),
    ({"camera_model": "SIMPLE_PINHOLE", "k1": 0.0}, "PINHOLE", ()),
])
def test_distortion(photos, values, model, parameters) -> None:
    distortion = read_transforms_json(_write(photos, [_frame()], fl_x=50, **values)).views[0].distortion
    assert (distortion.model, distortion.parameters) == (model, parameters)


def test_masks_depth_and_points(photos, write_photos) -> None:
    write_photos(photos, ["m/a.png", "d/a.png", "masks/images/b.png", "masks/b.png"])
    (photos / "points.ply").write_bytes(
        b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        b"property uint8 red\nproperty uint8 green\nproperty uint8 blue\nend_header\n"
        b"1 2 3 255 0 7\nnan 0 0 1 1 1\n-4 5e-1 6 9 8 7\n")
    path = _write(photos, [_frame(mask_path="m/a.png", depth_file_path="d\\a.png"), _frame("images/b.png")], fl_x=50,
                  ply_file_path="points.ply")
    capture = read_transforms_json(path)
    assert (capture.views[0].mask_path, capture.views[0].depth_path) == (photos / "m/a.png", photos / "d/a.png")
    assert capture.views[1].mask_path == photos / "masks/b.png"
    assert capture.points.positions.tolist() == [[1, 2, 3], [-4, 0.5, 6]]
    assert capture.points.colours.tolist() == [[255, 0, 7], [9, 8, 7]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_points(photos, order) -> None:
    rows = np.zeros(2, [("x", order + "f8"), ("red", "u1"), ("y", order + "f8"), ("green", "u1"), ("z", order + "f8"),
                        ("blue", "u1")])
    rows["x"], rows["y"], rows["z"], rows["green"] = [1, 2], [3, 4], [5, 6], [70, 80]
    names = "".join(f"property {'uchar' if rows.dtype[name] == np.uint8 else 'double'} {name}\n"
                    for name in rows.dtype.names)
    kind = "little" if order == "<" else "big"
    data = f"ply\nformat binary_{kind}_endian 1.0\nelement vertex 2\n{names}end_header\n".encode() + rows.tobytes()
    path = _write(photos, [_frame()], fl_x=50, ply_file_path="p.ply")
    for length in (len(data), len(data) - 1, 20):
        (photos / "p.ply").write_bytes(data[:length])
        if length == len(data):
            points = read_transforms_json(path).points
            assert points.positions.tolist() == [[1, 3, 5], [2, 4, 6]]
            assert points.colours.tolist() == [[0, 70, 0], [0, 80, 0]]
        else:
            with pytest.raises(InputError):
                read_transforms_json(path)


def test_small_rotation_errors_are_mended_larger_ones_refused(photos) -> None:
    exact = np.array(LOOKING_ALONG_X)
    for error, accepted in ((1e-5, True), (2e-4, True), (5e-3, False)):
        pose = exact.copy()
        pose[:3, :3] *= 1 + error
        path = _write(photos, [_frame(transform_matrix=pose.tolist())], fl_x=50)
        if accepted:
            camera = read_transforms_json(path).views[0].camera
            rotation = camera.camera_from_world[:3, :3]
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
            np.testing.assert_allclose(camera.centre, [1, 2, 3], atol=1e-14)
        else:
            with pytest.raises(InputError) as caught:
                read_transforms_json(path)
            assert caught.value.code == "pose-not-rigid"


@pytest.mark.parametrize(("frame", "shared", "code"), [
    ({}, {}, "focal-missing"),
    ({"fl_x": 0}, {}, "focal-not-positive"),
    ({"fl_x": "50"}, {}, "json-value"),
    ({"fl_x": True}, {}, "json-value"),
    ({"camera_angle_x": 4.0}, {}, "focal-not-positive"),
    ({"fl_x": 50, "camera_model": "EQUIRECTANGULAR"}, {}, "camera-model-unknown"),
    ({"fl_x": 50, "k4": 0.1}, {}, "camera-model-unknown"),
    ({"fl_x": 50, "k1": float("nan")}, {}, "camera-not-finite"),
    ({"fl_x": 50, "w": 0, "h": 10}, {}, "camera-size"),
    ({"fl_x": 50, "w": 30, "h": 30}, {}, "image-size-mismatch"),
    ({"fl_x": 50, "transform_matrix": [[1, 2], [3, 4]]}, {}, "json-value"),
    ({"fl_x": 50, "transform_matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1]]}, {}, "json-value"),
    ({"fl_x": 50, "transform_matrix": "no"}, {}, "json-value"),
    ({"fl_x": 50, "transform_matrix": None}, {}, "json-value"),
    ({"fl_x": 50, "transform_matrix": np.diag([1.0, 1, -1, 1]).tolist()}, {}, "pose-not-rigid"),
    ({"fl_x": 50, "transform_matrix": np.diag([1.0, 1, 1, 2]).tolist()}, {}, "pose-not-rigid"),
    ({"fl_x": 50, "transform_matrix": np.full((4, 4), np.inf).tolist()}, {}, "camera-not-finite"),
    ({"fl_x": 50, "transform_matrix": [[1, 0, 0, 10 ** 400], [0, 1, 0, 0], [0, 0, 1, 0]]}, {}, "json-value"),
    ({"fl_x": 50, "file_path": None}, {}, "json-value"),
    ({"fl_x": 50, "file_path": "a\0b"}, {}, "json-value"),
    ({"fl_x": 50, "file_path": "x" * 5000}, {}, "image-missing"),
    ({"fl_x": 50, "mask_path": "none.png"}, {}, "file-missing"),
    ({"fl_x": 50}, {"ply_file_path": "none.ply"}, "splat-unreadable"),
])
def test_broken_frames(photos, frame, shared, code) -> None:
    with pytest.raises(InputError) as caught:
        read_transforms_json(_write(photos, [_frame(**{"fl_y": None, **frame})], **shared))
    assert caught.value.code == code
    assert caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"frames": {}}', '{"frames": []}', '{"frames": [3]}', "{}",
                                  "[" * 100_000, '{"frames": [{}], "frames": '])
def test_broken_json(tmp_path, text) -> None:
    path = tmp_path / "transforms.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"transforms\.json"):
        read_transforms_json(path)
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_transforms_json(path)


def test_missing_images_are_counted_and_other_extensions_found(photos) -> None:
    frames = [_frame("images/a.jpg"), _frame("images/b.jpg"), *(_frame(f"images/{i}.jpg") for i in range(9))]
    with pytest.raises(InputError, match="11 of 11 frames") as caught:
        read_transforms_json(_write(photos, frames, fl_x=50))
    assert "images/a.jpg" in caught.value.cause
    assert "6 more" in caught.value.cause
    assert "2 of them exist under another extension (such as a.png)" in caught.value.remedy
    with pytest.raises(InputError, match="twice"):
        read_transforms_json(_write(photos, [_frame(), _frame()], fl_x=50))


def test_writer_and_reader_agree(photos, ring_of_cameras) -> None:
    cameras = dict(zip(["images/a.png", "images/b.png"], ring_of_cameras(2), strict=True))
    write_transforms_json(photos / "out.json", cameras)
    for view in read_transforms_json(photos / "out.json").views:
        np.testing.assert_allclose(view.camera.camera_from_world, cameras[view.name].camera_from_world, atol=1e-13)
        np.testing.assert_array_equal(view.camera.K, cameras[view.name].K)
