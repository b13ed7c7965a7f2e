# SPDX-License-Identifier: GPL-3.0-or-later
"""LLFF poses: axes, scaling, counts, and damaged arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.llff import read_llff


def _row(height: float = 300.0, width: float = 400.0, focal: float = 500.0) -> np.ndarray:
    """A camera at (1, 2, 3) that looks along +x with +z up, as LLFF writes it: down, right, backwards."""
    down, right, backwards, centre = [0, 0, -1], [0, -1, 0], [-1, 0, 0], [1, 2, 3]
    matrix = np.array([down, right, backwards, centre, [height, width, focal]], np.float64).T
    return np.concatenate([matrix.ravel(), [0.5, 9.0]])


@pytest.fixture
def scene(tmp_path, write_photos) -> Path:
    write_photos(tmp_path / "images_10", ["b.png", "a.png"], (40, 30))
    np.save(tmp_path / "poses_bounds.npy", np.stack([_row(), _row(focal=600.0)]))
    return tmp_path


def test_axes_and_scale(scene) -> None:
    for path in (scene, scene / "poses_bounds.npy"):
        first, second = read_llff(path).views
        assert [first.name, second.name] == ["a.png", "b.png"]
        np.testing.assert_allclose(first.camera.K, [[50, 0, 20], [0, 50, 15], [0, 0, 1]])
        assert second.camera.K[0, 0] == pytest.approx(60)
        np.testing.assert_allclose(first.camera.centre, [1, 2, 3])
        np.testing.assert_allclose(first.camera.forward, [1, 0, 0])
        pixels, _ = first.camera.project(np.array([[11.0, 2.0, 4.0]]))
        np.testing.assert_allclose(pixels, [[20.0, 10.0]])


def test_chosen_image_folder(scene, write_photos) -> None:
    write_photos(scene / "small", ["0.jpg", "1.jpg"], (20, 15))
    assert read_llff(scene, scene / "small").views[0].camera.K[0, 0] == pytest.approx(25)


def test_number_of_images_must_agree(scene, write_photos) -> None:
    write_photos(scene / "images_10", ["c.png"], (40, 30))
    with pytest.raises(InputError, match=r"2 poses, but .* 3 images") as caught:
        read_llff(scene)
    assert caught.value.code == "pose-count"


@pytest.mark.parametrize(("array", "code"), [
    (np.zeros((2, 16)), "llff-shape"), (np.zeros(17), "llff-shape"), (np.zeros((2, 17)), "camera-not-finite"),
    (np.stack([_row(), _row() * np.nan]), "camera-not-finite"),
    (np.stack([_row(), _row(focal=0.0)]), "focal-not-positive"),
    (np.stack([_row(), _row(height=1e300)]), "camera-not-finite"), (np.array([["a"] * 17] * 2), "npy-malformed"),
    (np.zeros((2, 17), np.complex128), "npy-malformed"),
    (np.stack([_row(), _row() * np.array([2.0] * 14 + [1.0] * 3)]), "image-size-mismatch"),
])
def test_impossible_arrays(scene, array, code) -> None:
    np.save(scene / "poses_bounds.npy", array)
    with pytest.raises(InputError) as caught:
        read_llff(scene)
    assert caught.value.code in (code, "pose-not-rigid")


def test_pickles_are_refused(scene) -> None:
    np.save(scene / "poses_bounds.npy", np.array([{"a": 1}] * 2, object), allow_pickle=True)
    with pytest.raises(InputError) as caught:
        read_llff(scene)
    assert caught.value.code == "npy-malformed"


def test_cut_at_every_byte_and_lying_shape(scene) -> None:
    path = scene / "poses_bounds.npy"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_llff(scene)
    for position in range(200):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x11]) + whole[position + 1:])
        try:
            read_llff(scene)
        except InputError as error:
            assert error.remedy
    for shape in ("(2000000000, 17)", "(2, 17000000000000000000000)", "(-2, 17)"):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (2, 17)})
        path.write_bytes(stream.getvalue().replace(b"(2, 17)", shape.encode()) + whole[128:])
        with pytest.raises(InputError):
            read_llff(scene)


def test_column_order_and_single_precision(scene) -> None:
    rows = np.stack([_row(), _row(focal=600.0)])
    np.save(scene / "poses_bounds.npy", np.asfortranarray(rows.astype(np.float32)))
    assert read_llff(scene).views[1].camera.K[0, 0] == pytest.approx(60)


def test_no_images(tmp_path) -> None:
    np.save(tmp_path / "poses_bounds.npy", _row()[None])
    with pytest.raises(InputError, match="images"):
        read_llff(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_llff(tmp_path / "other.npy")
