# SPDX-License-Identifier: GPL-3.0-or-later
"""A splat tidied and compared in a real window; look at the pictures in ``out/gui``."""

import numpy as np
import pytest
from PIL import Image

from interngs.formats.registry import write_splat
from interngs.scene.gaussians import Gaussians

pytestmark = [pytest.mark.gui, pytest.mark.timeout(1000)]
PHOTO_COLOUR = (200, 100, 50)


def ball(count=600):
    """Small discs on a unit ball, the first 50 far away, the next 20 huge."""
    random = np.random.default_rng(0)
    means = random.normal(size=(count, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    log_scales = np.full((count, 3), -2.4)
    means[:50] *= random.uniform(1.6, 2.2, (50, 1))
    log_scales[50:70] = -0.5
    sh = np.tile([-1.2, 0.3, 1.4], (count, 1, 1)) + means[:, None] * 0.6
    return Gaussians(*(np.float32(each) for each in (
        means, np.tile([1.0, 0, 0, 0], (count, 1)), log_scales, np.full(count, 3.0), sh)))


@pytest.mark.parametrize("graphics", ["opengl", "vulkan"])
def test_tidied_and_compared_in_a_window(window, graphics, tmp_path):
    write_splat(tmp_path / "ball.ply", ball(), "blender")
    Image.new("RGB", (96, 64), PHOTO_COLOUR).save(tmp_path / "photo.png")
    result = window("finishing.py", "/w/ball.ply", "/w/photo.png", options=("--gpu-backend", graphics),
                    files=(tmp_path / "ball.ply", tmp_path / "photo.png"))
    assert result["imported"] == result["undone"] == 600
    assert result["cleaned"] == 600 - result["marked"] and result["counts"]["box"] > 50
    assert result["edit_mode"].startswith("EDIT")
    assert abs(result["floor_height"]) > 0.3, "the picked plane lies above the ball's middle"
    assert np.abs(np.subtract(result["wipe"]["photograph"], PHOTO_COLOUR)).max() < 4
    assert np.abs(np.subtract(result["wipe"]["splat"], PHOTO_COLOUR)).max() > 20
