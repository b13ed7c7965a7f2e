# SPDX-License-Identifier: GPL-3.0-or-later
"""Lenses, rigs and the upright world by closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def lens(addon_module):
    return addon_module("blender_addon.scene.lens")


@pytest.fixture(scope="module")
def rig(addon_module):
    return addon_module("blender_addon.scene.rig")


def test_a_full_frame_lens(lens):
    K = lens.intrinsics(lens.Lens(36.0), 400, 300)
    assert np.allclose(K, [[400, 0, 200], [0, 400, 150], [0, 0, 1]])


def test_shift_is_a_share_of_the_fitted_side(lens):
    K = lens.intrinsics(lens.Lens(36.0, shift_x=0.1, shift_y=0.1), 300, 400)
    assert K[0, 2] == pytest.approx(150 - 40) and K[1, 2] == pytest.approx(200 + 40)


def test_k_to_lens_and_back(lens):
    @given(st.floats(50, 5000), st.floats(0.3, 3.0), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4),
           st.integers(16, 4000), st.integers(16, 4000))
    def holds(focal, ratio, x, y, width, height):
        K = np.array([[focal, 0, width * (0.5 + x)], [0, focal * ratio, height * (0.5 + y)], [0, 0, 1]])
        made, aspect = lens.lens_from_intrinsics(K, width, height)
        assert made.focal_mm >= 1.0 - 1e-9 and min(aspect) == pytest.approx(1.0)
        assert np.allclose(lens.intrinsics(made, width, height, aspect), K, rtol=1e-9, atol=1e-6)

    holds()


def test_the_nearest_edge_decides_what_fits(lens):
    assert lens.half_angle_rad(lens.Lens(36.0), 400, 300) == pytest.approx(np.arctan(150 / 400))
    shifted = lens.half_angle_rad(lens.Lens(36.0, shift_x=0.25), 400, 300)
    assert shifted == pytest.approx(np.arctan(100 / 400))


@pytest.mark.parametrize("kind", ["ARC", "RING", "DOME"])
@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_every_rig_looks_at_its_target_upright(rig, kind, count):
    layout = rig.RigLayout(kind, count, np.radians(15.0), np.radians(90.0), np.radians(-90.0))
    found = rig.directions(layout)
    assert found.shape == (count, 3) and np.allclose(np.linalg.norm(found, axis=1), 1.0)
    target = np.array([1.0, 2.0, 3.0])
    for direction in found:
        matrix = rig.world_from_blender_camera(target + 5.0 * direction, target)
        assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3)) and np.linalg.det(matrix[:3, :3]) > 0
        assert np.allclose(matrix[:3, 3] - 5.0 * matrix[:3, 2], target)
        assert matrix[2, 0] == pytest.approx(0.0, abs=1e-12) and matrix[2, 1] > 0


def test_an_arc_spans_its_angle_around_its_heading(rig):
    found = rig.directions(rig.RigLayout("ARC", 5, 0.0, np.radians(80.0), 0.0))
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    assert np.allclose(angles, [-40, -20, 0, 20, 40])


def test_a_ring_is_even_and_a_dome_stays_above_its_lowest_height(rig):
    ring = rig.directions(rig.RigLayout("RING", 4, 0.0, 1.0, 0.0))
    assert np.allclose(ring, [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    dome = rig.directions(rig.RigLayout("DOME", 50, np.radians(10.0), 1.0, 0.0))
    assert dome[:, 2].min() > np.sin(np.radians(10.0)) and dome[:, 2].max() < 1.0
    closest = np.sort(dome @ dome.T, axis=1)[:, -2]
    assert np.degrees(np.arccos(closest)).min() > 8.0


def test_straight_down_has_an_up_direction_too(rig):
    matrix = rig.world_from_blender_camera(np.array([0.0, 0.0, 5.0]), np.zeros(3))
    assert np.isfinite(matrix).all() and np.allclose(matrix[:3, 2], [0, 0, 1])


def test_a_tilted_world_is_turned_upright(addon_module):
    frame = addon_module("blender_addon.scene.world_frame")
    camera_type = addon_module("interngs.scene.cameras").Camera
    cameras = []
    for angle in (-0.4, 0.0, 0.4):
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        cameras.append(camera_type(np.eye(3), pose, 10, 10))
    turned = frame.upright_world(cameras)
    assert np.allclose(turned[:3, :3] @ np.array([0, -1, 0]), [0, 0, 1], atol=1e-9)
    assert np.linalg.det(turned[:3, :3]) == pytest.approx(1.0)
    for start in (np.array([0, 0, -1.0]), np.array([0, 0, 1.0]), np.array([0.6, 0.0, 0.8])):
        assert np.allclose(frame.rotation_between(start, np.array([0, 0, 1.0])) @ start, [0, 0, 1])
