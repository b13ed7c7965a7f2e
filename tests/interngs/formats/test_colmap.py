# SPDX-License-Identifier: GPL-3.0-or-later
"""COLMAP models: held to pycolmap as independent writer and reader, and broken in every way."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from interngs.errors import InputError
from interngs.formats.camera_models import CAMERA_MODELS
from interngs.formats.colmap import read_colmap, write_colmap_text
from interngs.formats.colmap_binary import read_binary
from interngs.formats.colmap_text import read_text
from interngs.scene.capture import SparsePoints


def _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras, text=False, **model):
    cameras = ring_of_cameras(3)
    names = write_photos(tmp_path / "images", ["c.png", "a.jpg", "b.png"])
    poses = [camera.camera_from_world for camera in cameras]
    write_colmap_model(tmp_path / "sparse/0", names, poses, text=text, **model)
    return cameras


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("given", [".", "sparse/0", "sparse/0/model.ini"])
def test_reads_what_pycolmap_wrote(tmp_path, write_photos, write_colmap_model, ring_of_cameras, text, given) -> None:
    cameras = _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras, text)
    (tmp_path / "sparse/0/model.ini").touch()
    capture = read_colmap(tmp_path / given)
    assert [view.name for view in capture.views] == ["a.jpg", "b.png", "c.png"]
    for view, expected in zip(capture.views, [cameras[1], cameras[2], cameras[0]], strict=True):
        assert view.image_path == tmp_path / "images" / view.name
        np.testing.assert_allclose(view.camera.camera_from_world, expected.camera_from_world, atol=1e-12)
        np.testing.assert_allclose(view.camera.K, expected.K, atol=1e-12)
        assert (view.camera.width_px, view.camera.height_px) == (40, 30)
        assert view.distortion.parameters == ()
    assert sorted(capture.points.positions.tolist()) == [[-1.0, 2.0, 3.5], [0.25, -0.5, 0.75]]
    assert sorted(capture.points.colours.tolist()) == [[10, 20, 30], [255, 0, 7]]


def test_table_of_models_agrees_with_pycolmap() -> None:
    for model in CAMERA_MODELS:
        camera = pycolmap.Camera.create_from_model_name(1, model.name, 50.0, 40, 30)
        assert int(camera.model.value) == model.number
        assert len(camera.params) == model.parameters
        assert list(camera.principal_point_idxs()) == [model.focals, model.focals + 1]
        assert len(camera.focal_length_idxs()) == model.focals


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("model", CAMERA_MODELS, ids=lambda model: model.name)
def test_every_camera_model(tmp_path, write_photos, write_colmap_model, ring_of_cameras, model, text) -> None:
    parameters = [51.0, 48.0][:model.focals] + [21.5, 12.75] + [0.01 * (i + 1) for i in range(model.coefficients)]
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras, text, model=model.name, parameters=parameters)
    view = read_colmap(tmp_path).views[0]
    assert view.camera.K[0, 0] == 51.0
    assert view.camera.K[1, 1] == (48.0 if model.focals == 2 else 51.0)
    assert view.camera.K[:2, 2].tolist() == [21.5, 12.75]
    assert view.distortion.parameters == pytest.approx(parameters[model.focals + 2:], abs=0)
    assert view.distortion.model == ("PINHOLE" if model.name == "SIMPLE_PINHOLE" else model.name)


def test_intrinsics_follow_smaller_images(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    cameras = ring_of_cameras(2, (4032, 3024))
    names = write_photos(tmp_path / "images_8", ["x.png", "y.png"], (504, 378))
    write_colmap_model(tmp_path / "sparse/0", names, [camera.camera_from_world for camera in cameras],
                       parameters=(3000.0, 2900.0, 2000.0, 1500.0), size=(4032, 3024))
    view = read_colmap(tmp_path).views[0]
    np.testing.assert_allclose(view.camera.K, [[375.0, 0, 250.0], [0, 362.5, 187.5], [0, 0, 1]])
    assert (view.camera.width_px, view.camera.height_px) == (504, 378)


def test_full_size_goes_before_smaller_copies(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    write_photos(tmp_path / "images_4", ["a.jpg", "b.png", "c.png"], (10, 8))
    assert read_colmap(tmp_path).views[0].image_path.parent.name == "images"
    small = read_colmap(tmp_path, image_folder=tmp_path / "images_4").views[0]
    assert (small.image_path.parent.name, small.camera.width_px, small.camera.height_px) == ("images_4", 10, 8)


def test_other_extension_and_llff_numbering(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    poses = [camera.camera_from_world for camera in ring_of_cameras(2)]
    write_colmap_model(tmp_path / "sparse/0", ["IMG_1.JPG", "IMG_2.JPG"], poses)
    write_photos(tmp_path / "png", ["IMG_1.png", "IMG_2.png"])
    write_photos(tmp_path / "numbered", ["image000.png", "image001.png"])
    by_stem = read_colmap(tmp_path, tmp_path / "png").views
    by_order = read_colmap(tmp_path, tmp_path / "numbered").views
    assert [view.image_path.name for view in by_stem] == ["IMG_1.png", "IMG_2.png"]
    assert [view.image_path.name for view in by_order] == ["image000.png", "image001.png"]
    assert [view.name for view in by_order] == ["IMG_1.JPG", "IMG_2.JPG"]


def test_masks_in_the_same_subfolders(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    names = write_photos(tmp_path / "images", ["left/1.png", "right/1.png", "right/2.jpg"])
    write_colmap_model(tmp_path / "sparse", names, [camera.camera_from_world for camera in ring_of_cameras(3)])
    write_photos(tmp_path / "masks", ["right/1.png", "right/2.jpg.png"])
    masks = [view.mask_path for view in read_colmap(tmp_path).views]
    assert masks == [None, tmp_path / "masks/right/1.png", tmp_path / "masks/right/2.jpg.png"]


@pytest.mark.parametrize("broken", ["cameras.bin", "images.bin", "points3D.bin"])
def test_cut_at_every_byte(tmp_path, write_photos, write_colmap_model, ring_of_cameras, broken) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    path = tmp_path / "sparse/0" / broken
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=broken.replace(".", r"\.")):
            read_binary(path.parent)
    path.write_bytes(whole + b"\0")
    with pytest.raises(InputError, match="follow the last record"):
        read_binary(path.parent)


@pytest.mark.parametrize("broken", ["cameras.bin", "images.bin", "points3D.bin"])
def test_changed_bytes_never_crash(tmp_path, write_photos, write_colmap_model, ring_of_cameras, broken) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    path = tmp_path / "sparse/0" / broken
    whole = path.read_bytes()
    for position in range(len(whole)):
        for value in (0x00, 0x7F, 0xFF):
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1:])
            try:
                read_colmap(tmp_path)
            except InputError as error:
                assert error.cause and error.remedy


@pytest.mark.parametrize("name", ["cameras.txt", "images.txt", "points3D.txt"])
def test_text_cut_anywhere_is_refused_or_shorter(tmp_path, write_photos, write_colmap_model, ring_of_cameras, name
                                                 ) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras, text=True)
    path = tmp_path / "sparse/0" / name
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            model = read_text(path.parent)
        except InputError as error:
            assert name in error.cause
        else:
            assert len(model.images) <= 3
    path.write_bytes(b"\xff\xfe" + whole)
    with pytest.raises(InputError):
        read_text(path.parent)


def test_lying_counts_allocate_nothing(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    path = tmp_path / "sparse/0/points3D.bin"
    whole = path.read_bytes()
    tracemalloc.start()
    for count in (1 << 20, 1 << 40, (1 << 64) - 1):
        path.write_bytes(struct.pack("<Q", count) + whole[8:])
        with pytest.raises(InputError, match="do not fit"):
            read_binary(path.parent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_incomplete_model_is_named(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    (tmp_path / "sparse/0/images.bin").unlink()
    with pytest.raises(InputError, match=r"images\.bin") as caught:
        read_colmap(tmp_path)
    assert caught.value.code == "colmap-incomplete"


def test_missing_images_are_counted_and_named(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    (tmp_path / "images/b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 frames .* b\.png") as caught:
        read_colmap(tmp_path)
    assert caught.value.code == "image-missing"


@pytest.mark.parametrize(("parameters", "code"), [
    ((0.0, 47.0, 20.0, 15.0), "focal-not-positive"), ((50.0, -1.0, 20.0, 15.0), "focal-not-positive"),
    ((float("nan"), 47.0, 20.0, 15.0), "camera-not-finite"), ((50.0, 47.0, float("inf"), 15.0), "camera-not-finite"),
])
def test_impossible_intrinsics(tmp_path, write_photos, write_colmap_model, ring_of_cameras, parameters, code) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    path = tmp_path / "sparse/0/cameras.bin"
    path.write_bytes(path.read_bytes()[:-32] + struct.pack("<4d", *parameters))
    with pytest.raises(InputError) as caught:
        read_colmap(tmp_path)
    assert caught.value.code == code


def test_images_of_another_shape(tmp_path, write_photos, write_colmap_model, ring_of_cameras) -> None:
    _scene(tmp_path, write_photos, write_colmap_model, ring_of_cameras)
    write_photos(tmp_path / "images", ["b.png"], (30, 30))
    with pytest.raises(InputError, match="another shape") as caught:
        read_colmap(tmp_path)
    assert caught.value.code == "image-size-mismatch"


def test_text_writer_is_read_by_pycolmap_and_by_us(tmp_path, write_photos, ring_of_cameras) -> None:
    cameras = dict(zip(write_photos(tmp_path / "images", ["p.png", "q.png", "r.png"]), ring_of_cameras(3), strict=True))
    points = SparsePoints(np.array([[0.1, 0.2, 0.3], [1e-17, -5.0, 1e9]]), np.array([[1, 2, 3], [255, 0, 9]], np.uint8))
    write_colmap_text(tmp_path / "sparse/0", cameras, points)
    theirs = pycolmap.Reconstruction(str(tmp_path / "sparse/0"))
    for image in theirs.images.values():
        expected = cameras[image.name]
        np.testing.assert_allclose(image.cam_from_world().matrix(), expected.camera_from_world[:3], atol=1e-12)
        np.testing.assert_array_equal(theirs.cameras[image.camera_id].calibration_matrix(), expected.K)
    assert len(theirs.images) == 3
    ours = read_colmap(tmp_path)
    for view in ours.views:
        np.testing.assert_allclose(view.camera.camera_from_world, cameras[view.name].camera_from_world, atol=1e-12)
    np.testing.assert_array_equal(ours.points.positions, points.positions)
    np.testing.assert_array_equal(ours.points.colours, points.colours)


@pytest.mark.parametrize("rotation", [np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, 1.0, -1.0]), np.eye(3)])
def test_writer_knows_half_turns(tmp_path, ring_of_cameras, rotation) -> None:
    camera = ring_of_cameras(1)[0]
    camera.camera_from_world[:3, :3] = rotation
    write_colmap_text(tmp_path, {"a.png": camera})
    np.testing.assert_allclose(read_text(tmp_path).images[0].camera_from_world, camera.camera_from_world, atol=1e-15)


def test_writer_refuses_what_the_format_cannot_hold(tmp_path: Path, ring_of_cameras) -> None:
    camera = ring_of_cameras(1)[0]
    with pytest.raises(InputError, match="without spaces"):
        write_colmap_text(tmp_path, {"a b.png": camera})
    camera.K[0, 1] = 1.0
    with pytest.raises(InputError, match="skew"):
        write_colmap_text(tmp_path, {"a.png": camera})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("orientation", "recorded"), [(6, (40, 30)), (6, (30, 40)), (3, (40, 30))])
def test_camera_is_for_the_stored_pixels_unless_its_size_says_otherwise(
        tmp_path, write_photos, write_colmap_model, ring_of_cameras, orientation, recorded) -> None:
    names = write_photos(tmp_path / "images", ["a.jpg"])
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(tmp_path / "images/a.jpg").save(tmp_path / "images/a.jpg", exif=exif)
    poses = [camera.camera_from_world for camera in ring_of_cameras(1)]
    write_colmap_model(tmp_path / "sparse/0", names, poses, parameters=(50.0, 47.0, 16.0, 14.0), size=recorded)
    camera = read_colmap(tmp_path).views[0].camera
    assert (camera.width_px, camera.height_px) == recorded
    np.testing.assert_array_equal(camera.K, [[50, 0, 16], [0, 47, 14], [0, 0, 1]])
