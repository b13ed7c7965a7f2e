# SPDX-License-Identifier: GPL-3.0-or-later
"""The orbit path: aimed at the focus, inside the cameras' spread, rigid."""

import numpy as np
import pytest

from interngs.evaluate.orbit import common_focus, orbit_cameras
from interngs.scene.cameras import Camera, look_at

K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
UP = np.array([0.0, -1.0, 0.0])


def ring(focus: np.ndarray, count: int = 5) -> list[Camera]:
    centres = [np.array([np.sin(a) * 4, 0.3 * i, -np.cos(a) * 4]) for i, a in enumerate(np.linspace(-0.5, 0.5, count))]
    return [Camera(K, look_at(centre, focus, UP), 640, 480) for centre in centres]


def test_look_at_puts_the_target_on_the_axis_and_up_upwards() -> None:
    camera = Camera(K, look_at(np.array([1.0, 2, 3]), np.array([0.0, 0, 10]), UP), 640, 480)
    pixel, depth = camera.project(np.array([[0.0, 0, 10]]))
    assert np.allclose(pixel, [[320, 240]])
    assert depth[0] > 0
    higher, _ = camera.project(np.array([[0.0, -1, 10]]))
    assert higher[0, 1] < 240
    assert np.isclose(np.linalg.det(camera.camera_from_world[:3, :3]), 1)


def test_focus_of_aimed_cameras_is_where_they_aim() -> None:
    focus = np.array([0.2, 0.1, 0.3])
    assert np.allclose(common_focus(ring(focus)), focus, atol=0.05)


def test_parallel_cameras_get_a_focus_ahead() -> None:
    cameras = []
    for x in (0.0, 1.0, 2.0):
        pose = np.eye(4)
        pose[0, 3] = -x
        cameras.append(Camera(K, pose, 640, 480))
    assert common_focus(cameras)[2] > 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_loop_stays_near_the_cameras_and_sees_the_focus(count: int) -> None:
    cameras = ring(np.zeros(3), count)
    centres = np.stack([camera.centre for camera in cameras])
    reach = max(float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()), 0.6)
    focus = common_focus(cameras)
    for camera in orbit_cameras(cameras, 12, 320, 240):
        assert (camera.width_px, camera.height_px) == (320, 240)
        assert np.linalg.norm(camera.centre - centres.mean(axis=0)) < reach
        pixel, depth = camera.project(focus[None])
        assert np.allclose(pixel, [[160, 120]])
        assert depth[0] > 0
