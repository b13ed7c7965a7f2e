# SPDX-License-Identifier: GPL-3.0-or-later
"""EXR files of the library, read by the add-on's reader, which was written for Blender's files."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def exr_bytes(addon_module):
    return addon_module("interngs.formats.exr_writer").exr_bytes


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 7), (37, 50)])
def test_every_channel_is_read_back(addon_module, exr_bytes, tmp_path, height, width):
    read_channel = addon_module("blender_addon.scene.exr").read_channel
    random = np.random.default_rng(height)
    smooth = np.linspace(0, 4, height * width).reshape(height, width)
    image = {"Splats.Combined.R": smooth.astype(np.float16), "Splats.Combined.A": np.zeros_like(smooth, np.float16),
             "Splats.Combined.G": random.normal(size=smooth.shape).astype(np.float16),
             "Splats.Depth.Z": random.normal(size=smooth.shape).astype(np.float32)}
    path = tmp_path / "image.exr"
    path.write_bytes(exr_bytes(image, pixel_aspect=1.5))
    for name, values in image.items():
        assert np.array_equal(read_channel(path, name), values.astype(np.float32))


def test_smooth_pictures_shrink(exr_bytes):
    smooth = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (64, 1))
    assert len(exr_bytes({"Y": smooth})) < 0.2 * smooth.nbytes


@pytest.mark.parametrize("channels", [{}, {"R": np.zeros((2, 2))}, {"R": np.zeros(4, np.float32)},
                                      {"R": np.zeros((2, 2), np.float32), "G": np.zeros((2, 3), np.float32)}])
def test_what_is_no_image_is_refused(exr_bytes, channels):
    with pytest.raises(ValueError, match="channels"):
        exr_bytes(channels)
