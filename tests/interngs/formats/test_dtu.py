# SPDX-License-Identifier: GPL-3.0-or-later
"""DTU's cameras.npz: projections taken apart, image sizes found out, damaged archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.formats.dtu import decompose_projection, read_dtu


def _world_mat(camera, K=None, factor: float = 1.0) -> np.ndarray:
    projection = np.eye(4)
    projection[:3] = factor * (camera.K if K is None else K) @ camera.camera_from_world[:3]
    return projection


@pytest.mark.parametrize("factor", [1.0, -3.0, 1e-4])
def test_projection_is_taken_apart(ring_of_cameras, factor) -> None:
    for camera in ring_of_cameras(5):
        camera.K[0, 1] = 0.25
        K, pose = decompose_projection(_world_mat(camera, factor=factor), "x")
        np.testing.assert_allclose(K, camera.K, atol=1e-9)
        np.testing.assert_allclose(pose, camera.camera_from_world, atol=1e-10)


def _write(folder: Path, cameras, K=None) -> Path:
    matrices = {f"world_mat_{i}": _world_mat(camera, K).astype(np.float32) for i, camera in enumerate(cameras)}
    np.savez(folder / "cameras.npz", **matrices, **{f"scale_mat_{i}": np.eye(4) * 7 for i in range(len(cameras))})
    return folder / "cameras.npz"


def test_reads_folder_and_file(tmp_path, write_photos, ring_of_cameras) -> None:
    cameras = ring_of_cameras(12)
    write_photos(tmp_path / "image", [f"{i:06d}.png" for i in range(12)])
    path = _write(tmp_path, cameras)
    for given in (tmp_path, path):
        views = read_dtu(given).views
        assert [view.name for view in views] == [f"{i:06d}.png" for i in range(12)]
        for view, camera in zip(views, cameras, strict=True):
            np.testing.assert_allclose(view.camera.K, camera.K, atol=1e-3)
            np.testing.assert_allclose(view.camera.centre, camera.centre, atol=1e-5)


@pytest.mark.parametrize(("size", "expected"), [
    ((160, 120), [[290, 0, 82.3], [0, 289, 61.9], [0, 0, 1]]),
    ((120, 120), [[290, 0, 62.3], [0, 289, 61.9], [0, 0, 1]]),
])
def test_smaller_and_cropped_images(tmp_path, write_photos, ring_of_cameras, size, expected) -> None:
    write_photos(tmp_path / "images", ["0.png"], size)
    _write(tmp_path, ring_of_cameras(1), np.array([[2900.0, 0, 823], [0, 2890, 619], [0, 0, 1]]))
    np.testing.assert_allclose(read_dtu(tmp_path).views[0].camera.K, expected, atol=1e-3)


def test_images_of_unknown_size_are_refused(tmp_path, write_photos, ring_of_cameras) -> None:
    write_photos(tmp_path / "images", ["0.png"], (100, 40))
    _write(tmp_path, ring_of_cameras(1), np.array([[2900.0, 0, 823], [0, 2890, 619], [0, 0, 1]]))
    with pytest.raises(InputError) as caught:
        read_dtu(tmp_path)
    assert caught.value.code == "image-size-mismatch"


def test_counts_gaps_and_shapes(tmp_path, write_photos, ring_of_cameras) -> None:
    write_photos(tmp_path / "images", ["0.png", "1.png", "2.png"])
    _write(tmp_path, ring_of_cameras(2))
    with pytest.raises(InputError, match=r"2 poses, but .* 3 images"):
        read_dtu(tmp_path)
    bad = ({"world_mat_0": np.eye(4), "world_mat_2": np.eye(4)}, {"other": np.eye(4)}, {"world_mat_0": np.eye(3)},
           {"world_mat_0": np.zeros((100, 100))}, {"world_mat_0": np.array([{}], object)},
           {f"world_mat_{i}": np.zeros((4, 4)) for i in range(3)},
           {f"world_mat_{i}": np.full((4, 4), np.nan) for i in range(3)})
    for matrices in bad:
        np.savez(tmp_path / "cameras.npz", **matrices)
        with pytest.raises(InputError):
            read_dtu(tmp_path)


def test_damaged_archives(tmp_path, write_photos, ring_of_cameras) -> None:
    write_photos(tmp_path / "images", ["0.png"])
    path = _write(tmp_path, ring_of_cameras(1))
    np.savez_compressed(tmp_path / "small.npz", world_mat_0=_world_mat(ring_of_cameras(1)[0]))
    for whole in (path.read_bytes(), (tmp_path / "small.npz").read_bytes()):
        for length in range(0, len(whole), 3):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError):
                read_dtu(tmp_path)
        for position in range(0, len(whole), 2):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1:])
            try:
                read_dtu(tmp_path)
            except InputError as error:
                assert error.remedy
