# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading views: turn, undistortion, size, masks, alpha and depth together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from interngs.errors import InputError
from interngs.formats.detect import find_capture
from interngs.images.load import load_capture
from interngs.scene.cameras import Camera
from interngs.scene.capture import CaptureFiles, Distortion, ViewFile

SMOOTH = np.stack([np.linspace(0, 255, 40)[None].repeat(30, 0), np.linspace(255, 0, 30)[:, None].repeat(40, 1),
                   np.full((30, 40), 128.0)], axis=-1).round().astype(np.uint8)


def _camera(width: int = 40, height: int = 30) -> Camera:
    return Camera(np.array([[50.0, 0, width / 2 + 1], [0, 45.0, height / 2 - 2], [0, 0, 1]]), np.eye(4), width, height)


def _photo(tmp_path: Path, pixels: np.ndarray, orientation: int = 1, name: str = "photo.png") -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    return tmp_path / name


def _load(*files: ViewFile, **options):
    return load_capture(CaptureFiles(files, "test"), **options)


def test_plain_photo(tmp_path) -> None:
    view = _load(ViewFile("a", _photo(tmp_path, SMOOTH), _camera())).views[0]
    np.testing.assert_array_equal(view.image, (SMOOTH / np.float32(255)).astype(np.float32))
    assert (view.image.dtype, view.mask, view.depth, view.name) == (np.float32, None, None, "a")
    np.testing.assert_array_equal(view.camera.K, _camera().K)


def test_smaller_by_area_and_camera_with_it(tmp_path) -> None:
    file = ViewFile("a", _photo(tmp_path, SMOOTH), _camera())
    view = _load(file, max_side_px=20).views[0]
    blocks = SMOOTH.reshape(15, 2, 20, 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(view.image, blocks, atol=1e-6)
    np.testing.assert_allclose(view.camera.K, [[25, 0, 10.5], [0, 22.5, 6.5], [0, 0, 1]])
    odd = _load(file, max_side_px=13).views[0]
    assert odd.image.shape == (10, 13, 3)
    assert odd.camera.K[0, 0] == pytest.approx(50 * 13 / 40)
    assert odd.camera.K[1, 1] == pytest.approx(45 * 10 / 30)
    assert _load(file, max_side_px=1000).views[0].image.shape == (30, 40, 3)


def test_only_the_requested_views_are_read(tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    photo = ViewFile("b", _photo(tmp_path, SMOOTH))
    files = (ViewFile("a", tmp_path / "broken.png"), photo, ViewFile("c", tmp_path / "x"))
    capture = load_capture(CaptureFiles(files, "test"), [1, 1])
    assert [view.name for view in capture.views] == ["b", "b"]
    with pytest.raises(InputError, match=r"broken\.png"):
        load_capture(CaptureFiles(files, "test"), [0])
    for wrong in ([3], [-1]):
        with pytest.raises(InputError, match="There is no view"):
            load_capture(CaptureFiles(files, "test"), wrong)
    with pytest.raises(InputError):
        load_capture(CaptureFiles(files, "test"), [1], max_side_px=0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn_without_camera_or_with_one_of_the_upright_photo(tmp_path, orientation) -> None:
    path = _photo(tmp_path, SMOOTH, orientation)
    cameras = [_camera(30, 40), None] if orientation >= 5 else [None]
    capture = _load(*(ViewFile("a", path, camera) for camera in cameras))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path))) / np.float32(255)
    for view in capture.views:
        np.testing.assert_allclose(view.image, expected, atol=1e-6)
        assert view.camera is None or (view.camera.camera_from_world == np.eye(4)).all()
    assert bool(capture.notes) == (orientation > 1)


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("distortion", [Distortion(), Distortion("OPENCV", (-0.08, 0.01, 0.004, 0.006))])
def test_exif_turn_with_a_camera_of_the_stored_pixels(tmp_path, orientation, distortion) -> None:
    """The same world point has the same colour whether photo and camera are turned or neither is."""
    still = _load(ViewFile("a", _photo(tmp_path, SMOOTH), _camera(), distortion)).views[0]
    turned = _load(ViewFile("b", _photo(tmp_path, SMOOTH, orientation), _camera(), distortion)).views[0]
    assert turned.image.shape == ((30, 40, 3) if orientation == 3 else (40, 30, 3))
    assert (turned.camera.width_px, turned.camera.height_px) == turned.image.shape[1::-1]
    points = still.camera.unproject(np.full((30, 40), 2.0)).reshape(-1, 3)
    pixels, _ = turned.camera.project(points)
    where = np.floor(pixels).astype(int)
    np.testing.assert_array_equal(turned.image[where[:, 1], where[:, 0]], still.image.reshape(-1, 3))
    with pytest.raises(InputError, match="mirrors"):
        _load(ViewFile("b", _photo(tmp_path, SMOOTH, 5), _camera()))


def test_camera_of_another_size(tmp_path) -> None:
    with pytest.raises(InputError) as caught:
        _load(ViewFile("a", _photo(tmp_path, SMOOTH), _camera(41, 30)))
    assert caught.value.code == "image-size-mismatch"


def test_undistortion_masks_the_border(tmp_path) -> None:
    file = ViewFile("a", _photo(tmp_path, SMOOTH), _camera(), Distortion("SIMPLE_RADIAL", (0.6,)))
    capture = _load(file)
    view = capture.views[0]
    assert view.mask[0, 0] == 0
    assert view.mask[15, 20] == 1
    assert not view.masked
    assert "SIMPLE_RADIAL" in capture.notes[0]
    np.testing.assert_array_equal(view.camera.K, _camera().K)
    small = _load(file, max_side_px=20).views[0]
    assert small.mask.shape == (15, 20)
    assert small.mask[0, 0] == 0
    np.testing.assert_allclose(small.image[6:9, 8:12], cv2.resize(view.image, (20, 15), interpolation=cv2.INTER_AREA)
                               [6:9, 8:12], atol=0.01)


def test_mask_file_of_any_size_and_turn(tmp_path) -> None:
    left = np.zeros((30, 40), np.uint8)
    left[:, :20] = 255
    photo = _photo(tmp_path, SMOOTH)
    for size in ((40, 30), (80, 60), (20, 15)):
        Image.fromarray(left).resize(size, Image.Resampling.NEAREST).save(tmp_path / "mask.png")
        view = _load(ViewFile("a", photo, _camera(), mask_path=tmp_path / "mask.png")).views[0]
        np.testing.assert_allclose(view.mask[:, [0, 18, 21, 39]], [[1, 1, 0, 0]] * 30, atol=1e-6)
        assert view.masked
    turned = _photo(tmp_path, SMOOTH, 6, "turned.png")
    stored_mask, upright_mask = tmp_path / "stored.png", tmp_path / "upright.png"
    Image.fromarray(left).save(stored_mask)
    Image.fromarray(np.rot90(left, 3)).save(upright_mask)
    for mask in (stored_mask, upright_mask):
        for camera in (_camera(30, 40), _camera(40, 30), None):
            view = _load(ViewFile("a", turned, camera, mask_path=mask)).views[0]
            np.testing.assert_array_equal(view.mask, np.rot90(left, 3) / 255)
    Image.fromarray(left[:, :30]).save(tmp_path / "square.png")
    with pytest.raises(InputError, match="another shape"):
        _load(ViewFile("a", photo, _camera(), mask_path=tmp_path / "square.png"))


def test_white_mask_is_no_mask(tmp_path) -> None:
    Image.new("L", (40, 30), 255).save(tmp_path / "mask.png")
    file = ViewFile("a", _photo(tmp_path, SMOOTH), mask_path=tmp_path / "mask.png")
    assert _load(file).views[0].mask is None
    capture = _load(file, replace(file, mask_path=None))
    assert "Only 1 of 2" in capture.notes[0]


def test_alpha_becomes_mask_and_colours_stay_straight(tmp_path) -> None:
    """Half the pixels are transparent and green below; nothing of the green may bleed when the photo is reduced."""
    pixels = np.zeros((30, 40, 4), np.uint8)
    pixels[..., 1] = 255
    pixels[:, 0::4] = (200, 0, 100, 255)
    pixels[:, 1::4] = (200, 0, 100, 128)
    path = _photo(tmp_path, pixels)
    full = _load(ViewFile("a", path)).views[0]
    np.testing.assert_allclose(full.mask[0, :4], [1, 128 / 255, 0, 0], atol=1e-6)
    np.testing.assert_allclose(full.image[0, :2] * 255, [[200, 0, 100]] * 2, atol=1e-3)
    assert (full.image[0, 2:4] == 0).all()
    small = _load(ViewFile("a", path), max_side_px=10).views[0]
    colour = np.broadcast_to([200, 0, 100], (*small.image.shape[:2], 3))
    np.testing.assert_allclose(small.image * 255, colour, atol=1e-2)
    np.testing.assert_allclose(small.mask[:7], (1 + 128 / 255) / 4, atol=1e-5)


def test_mask_alpha_and_border_multiply(tmp_path) -> None:
    pixels = np.dstack([SMOOTH, np.full((30, 40), 128, np.uint8)])
    Image.fromarray(np.full((30, 40), 127, np.uint8)).save(tmp_path / "mask.png")
    bent = Distortion("SIMPLE_RADIAL", (0.6,))
    view = _load(ViewFile("a", _photo(tmp_path, pixels), _camera(), bent, tmp_path / "mask.png")).views[0]
    assert view.mask[15, 20] == pytest.approx(128 / 255 * 127 / 255, abs=1e-5)
    assert view.mask[0, 0] == 0


def test_depth_is_not_blended(tmp_path) -> None:
    depth = np.where(np.arange(40)[None] < 20, 1.0, 5.0).repeat(30, 0).reshape(30, 40)
    depth[3, 3], depth[4, 4], depth[5, 5] = np.nan, -2.0, np.inf
    np.save(tmp_path / "depth.npy", depth)
    file = ViewFile("a", _photo(tmp_path, SMOOTH), _camera(), depth_path=tmp_path / "depth.npy")
    view = _load(file).views[0]
    expected = depth.copy()
    expected[[3, 4, 5], [3, 4, 5]] = 0
    np.testing.assert_array_equal(view.depth, expected.astype(np.float32))
    for options in ({"max_side_px": 20}, {"max_side_px": 13}):
        assert set(np.unique(_load(file, **options).views[0].depth)) <= {0.0, 1.0, 5.0}
    bent = _load(replace(file, distortion=Distortion("SIMPLE_RADIAL", (0.6,)))).views[0]
    assert set(np.unique(bent.depth)) == {0.0, 1.0, 5.0}
    assert bent.depth[0, 0] == 0
    np.save(tmp_path / "depth.npy", depth[None])
    with pytest.raises(InputError, match="shape"):
        _load(file)


def test_depth_png_counts_thousandths(tmp_path) -> None:
    depth = np.random.default_rng(0).integers(0, 65536, (30, 40), dtype=np.uint16)
    Image.fromarray(depth).save(tmp_path / "depth.png")
    file = ViewFile("a", _photo(tmp_path, SMOOTH), depth_path=tmp_path / "depth.png")
    np.testing.assert_allclose(_load(file).views[0].depth, depth / 1000, rtol=1e-6)
    Image.new("L", (40, 30)).save(tmp_path / "depth.png")
    with pytest.raises(InputError, match="16-bit"):
        _load(file)


def test_missing_and_cut_images(tmp_path) -> None:
    path = _photo(tmp_path, np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8), name="a.jpg")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="cut short") as caught:
        _load(ViewFile("a", path))
    assert caught.value.code == "image-unreadable"
    with pytest.raises(InputError, match="does not exist"):
        _load(ViewFile("a", tmp_path / "none.jpg"))


def test_real_photos(shared_data) -> None:
    scene = shared_data / "data/fox"
    if not scene.is_dir():
        pytest.skip(f"shared data absent: no folder {scene}")
    files = find_capture(scene)
    capture = load_capture(files, [1, 5])
    view = capture.views[0]
    assert view.image.shape == (672, 378, 3)
    assert 0.97 < view.mask.mean() < 1
    np.testing.assert_array_equal(view.camera.K, files.views[1].camera.K)
    photo = cv2.imread(str(files.views[1].image_path))
    K = view.camera.K.copy()
    K[:2, 2] -= 0.5
    theirs = cv2.undistort(photo, K, np.array(files.views[1].distortion.parameters))[..., ::-1] / 255
    inner = cv2.erode((view.mask == 1).astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(view.image - theirs)[inner].mean() < 0.004
    lego = load_capture(find_capture(shared_data / "data/nerf_lego"), [0])
    assert 0.1 < lego.views[0].mask.mean() < 0.5
