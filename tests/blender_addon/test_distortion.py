# SPDX-License-Identifier: GPL-3.0-or-later
"""Lens models in numpy: each as COLMAP has it, and photographs undistorted as the backend undistorts them."""

import numpy as np
import pycolmap
import pytest

from interngs.formats.camera_models import CAMERA_MODELS
from interngs.images import undistort
from interngs.scene.cameras import Camera
from interngs.scene.capture import Distortion

K = np.array([[90.0, 0, 50], [0, 88, 35], [0, 0, 1]])
CAMERA = Camera(K, np.eye(4), 96, 72)


@pytest.fixture
def lens(addon_module):
    return addon_module("blender_addon.scene.distortion")


@pytest.mark.parametrize("model", [each for each in CAMERA_MODELS if "PINHOLE" not in each.name],
                         ids=lambda model: model.name)
def test_every_model_bends_rays_as_colmap_does(lens, model):
    random = np.random.default_rng(model.number)
    coefficients = random.uniform(0.02, 0.06, model.coefficients) if model.name != "EUCM" else [0.4, 1.2]
    points = random.uniform(-0.7, 0.7, (50, 2))
    points[0] = 0
    camera = pycolmap.Camera.create_from_model_name(0, model.name, 1.0, 1, 1)
    camera.params = [1.0] * model.focals + [0.0, 0.0, *coefficients]
    wanted = camera.img_from_cam(np.column_stack([points, np.ones(50)]))
    np.testing.assert_allclose(lens.bend(points, Distortion(model.name, tuple(coefficients))), wanted, atol=1e-9)


def test_a_photograph_is_undistorted_as_the_backend_does_it(lens):
    distortion = Distortion("OPENCV", (-0.25, 0.08, 0.004, -0.003))
    u, v = np.meshgrid(np.linspace(0, 5, 96), np.linspace(0, 4, 72))
    photo = np.stack([np.sin(u), np.cos(v), np.sin(u + v)], axis=-1).astype(np.float32) * 0.4 + 0.5
    pixel_map = undistort.pinhole_map(CAMERA, distortion, "photo")
    ours, seen = lens.undistorted(photo, CAMERA, distortion)
    assert (seen == pixel_map.valid).mean() > 0.999
    both = seen & pixel_map.valid
    assert np.abs(ours - undistort.remap(photo, pixel_map))[both].max() < 4e-3, "bicubic against linear"
    assert np.abs(photo - ours)[both].max() > 0.05, "the lens does bend"


def test_what_the_photograph_does_not_show_is_not_seen(lens):
    ours, seen = lens.undistorted(np.ones((72, 96, 3)), CAMERA, Distortion("SIMPLE_RADIAL", (0.4,)))
    assert not seen[0, 0] and seen[36, 48] and ours[0, 0].max() == 0
    folded = lens.photograph_pixels(CAMERA, Distortion("SIMPLE_RADIAL", (-2.0,)), np.array([[50.0, 35], [96, 72]]))
    np.testing.assert_allclose(folded[0], (50, 35))
    assert np.isnan(folded[1]).all(), "beyond the radius where the model turns back"


def test_a_pinhole_photograph_stays_as_it_is(lens):
    photo = np.random.default_rng(0).random((72, 96, 3), np.float32)
    for plain in (Distortion(), Distortion("OPENCV", (0.0,) * 4)):
        assert not lens.is_distorted(plain)
        same, seen = lens.undistorted(photo, CAMERA, plain)
        assert seen.all()
        np.testing.assert_allclose(same, photo, atol=1e-6)


def test_an_unknown_lens_is_refused(lens, addon_module):
    error = addon_module("interngs.errors").InputError
    for unknown in (Distortion("MIRROR", (1.0,)), Distortion("OPENCV", (1.0,))):
        with pytest.raises(error):
            lens.bend(np.zeros((1, 2)), unknown)
