# SPDX-License-Identifier: GPL-3.0-or-later
"""Large captures leave memory for a file, value by value the same; a full disk is told before anything is written."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from interngs.errors import InternGSError
from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.geometry.store import keep_geometry, load_geometry, save_geometry
from interngs.images.pixel_file import PIECE_BYTES, PixelFile
from interngs.scene.cameras import Camera
from interngs.scene.capture import View


def test_the_first_bytes_stay_in_memory_and_the_rest_goes_to_a_file_without_a_name(tmp_path):
    pixels = PixelFile(tmp_path / "out", in_memory_bytes=1000)
    small = np.arange(100, dtype=np.float32)
    assert pixels.keep(small) is small and pixels.pieces == 0
    arrays = [np.random.default_rng(seed).random((37, 41, 3)).astype(np.float32) for seed in range(4)]
    kept = [pixels.keep(array) for array in arrays]
    assert pixels.pieces == 1 and list((tmp_path / "out").iterdir()) == []
    for array, same in zip(arrays, kept, strict=True):
        assert same is not array and same.dtype == array.dtype
        np.testing.assert_array_equal(same, array)
        same[0, 0, 0] = 5.0
    assert all(same[0, 0, 0] == 5.0 for same in kept)


def test_every_array_of_a_view_is_kept_and_what_is_missing_stays_missing(tmp_path):
    view = View("a", np.full((5, 6, 3), 0.25, np.float32), mask=np.ones((5, 6), np.float32))
    kept = PixelFile(tmp_path, in_memory_bytes=0).keep_view(view)
    assert kept.depth is None and kept.alpha is None and kept.name == "a"
    np.testing.assert_array_equal(kept.image, view.image)
    np.testing.assert_array_equal(kept.mask, view.mask)


def test_an_array_larger_than_a_piece_gets_one_of_its_size(tmp_path):
    pixels = PixelFile(tmp_path, in_memory_bytes=0)
    array = np.zeros(PIECE_BYTES // 4 + 10, np.float32)
    array[-1] = 3.0
    assert pixels.keep(array)[-1] == 3.0
    assert pixels.keep(np.ones(3, np.float32)).sum() == 3.0


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="only on POSIX: space is reserved")
def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InternGSError, match="No space left") as caught:
        PixelFile(tmp_path, in_memory_bytes=0).keep(np.zeros(10, np.float32))
    assert caught.value.code == "disk-full"


def test_geometry_kept_in_a_file_is_the_same(tmp_path):
    camera = Camera(np.array([[5.0, 0, 3], [0, 5.0, 2], [0, 0, 1]]), np.eye(4), 6, 4)
    random = np.random.default_rng(0)
    geometry = Geometry(tuple(ViewGeometry(camera, random.random((4, 6)).astype(np.float32),
                                           random.random((4, 6)).astype(np.float32)) for _ in range(3)), "test")
    save_geometry(tmp_path / "geometry.npz", geometry)
    pixels = PixelFile(tmp_path, in_memory_bytes=0)
    for found in (keep_geometry(geometry, pixels), load_geometry(tmp_path / "geometry.npz", pixels)):
        for mine, theirs in zip(found.views, geometry.views, strict=True):
            np.testing.assert_array_equal(mine.depth, theirs.depth)
            np.testing.assert_array_equal(mine.confidence, theirs.confidence)
    assert pixels.pieces == 1
