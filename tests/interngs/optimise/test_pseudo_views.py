# SPDX-License-Identifier: GPL-3.0-or-later
"""Pseudo views: where their cameras stand, and what warped photographs show."""

import numpy as np
import pytest

from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.optimise.camera_ring import fit_ring
from interngs.optimise.pseudo_views import (
    FILL_TRUST,
    GUESS_TRUST,
    interpolate_cameras,
    prepare_pseudo_views,
    pseudo_cameras,
    warp_photographs,
)
from interngs.scene.cameras import Camera, look_at
from interngs.scene.capture import Capture, View
from interngs.stopping import Stopped, stop_check

WIDTH, HEIGHT, FOCAL_PX, DEPTH = 64, 48, 80.0, 4.0


def camera(x: float) -> Camera:
    pose = np.eye(4)
    pose[0, 3] = -x
    return Camera(np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1.0]]), pose, WIDTH, HEIGHT)


def wall_colour(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth texture on the wall z = DEPTH."""
    return np.stack([0.5 + 0.4 * np.sin(2 * x), 0.5 + 0.4 * np.cos(3 * y), 0.5 + 0.3 * np.sin(x + y)], axis=-1)


def wall_view(cam: Camera, confidence: float = 5.0) -> tuple[View, ViewGeometry]:
    depth = np.full((HEIGHT, WIDTH), DEPTH, np.float32)
    points = cam.unproject(depth)
    view = View("wall", wall_colour(points[..., 0], points[..., 1]).astype(np.float32), cam)
    return view, ViewGeometry(cam, depth, np.full((HEIGHT, WIDTH), confidence, np.float32))


def test_same_seed_same_cameras_and_they_are_rigid() -> None:
    given = [camera(x) for x in (0.0, 0.5, 1.0)]
    first, again = (pseudo_cameras(given, DEPTH, 12, seed=3) for _ in range(2))
    other = pseudo_cameras(given, DEPTH, 12, seed=4)
    assert all(np.array_equal(a.camera_from_world, b.camera_from_world) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].camera_from_world, other[0].camera_from_world)
    for cam in first:
        rotation = cam.camera_from_world[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3))


def test_pseudo_cameras_are_graded_from_near_to_far_and_stay_near_the_capture() -> None:
    given = [camera(x) for x in (0.0, 1.0)]
    cameras = pseudo_cameras(given, DEPTH, 400, seed=0)
    distance = [min(np.linalg.norm(c.centre - g.centre) for g in given) for c in cameras]
    assert np.mean(distance[:100]) < 0.7 * np.mean(distance[-100:])
    assert max(distance) < 0.5 * DEPTH
    for cam in cameras:
        assert cam.forward[2] > 0.8


def ring(count: int, radius: float = 3.0, span: float = 2 * np.pi, inward: float = 1.0) -> list[Camera]:
    """Cameras on a circle about the z axis, one above it, which look at the origin (or away from it)."""
    K = camera(0.0).K
    result = []
    for angle in np.linspace(0, span, count, endpoint=span < 6):
        centre = np.array([radius * np.cos(angle), radius * np.sin(angle), 1.0])
        target = centre + inward * (np.array([0, 0, 0.5]) - centre)
        result.append(Camera(K, look_at(centre, target, np.array([0, 0, 1.0])), WIDTH, HEIGHT))
    return result


def distance_from_axis(cam: Camera) -> float:
    return float(np.hypot(*cam.centre[:2]))


def test_cameras_around_a_thing_are_joined_along_their_ring() -> None:
    cameras = ring(5)
    fitted = fit_ring(cameras)
    assert fitted is not None and np.allclose(fitted.middle, [0, 0, 1])
    middle = fitted.between(cameras[0], cameras[1], 0.5)
    assert distance_from_axis(middle) == pytest.approx(3.0)
    assert middle.centre[2] == pytest.approx(1.0)
    aim = np.array([0, 0, 0.5]) - middle.centre
    assert middle.forward @ aim / np.linalg.norm(aim) > 0.995
    assert distance_from_axis(interpolate_cameras(cameras[0], cameras[1], 0.5)) == pytest.approx(3 * np.cos(np.pi / 5))
    # The short way over the seam, where angles jump.
    seam = fitted.between(cameras[0], cameras[-1], 0.5)
    assert np.arctan2(seam.centre[1], seam.centre[0]) == pytest.approx(-np.pi / 5)
    for share, end in ((0.0, cameras[0]), (1.0, cameras[1])):
        assert np.allclose(fitted.between(cameras[0], cameras[1], share).camera_from_world, end.camera_from_world)
    kept = [distance_from_axis(cam) for cam in pseudo_cameras(cameras, near_depth=0.01, count=60, seed=0)]
    assert max(abs(distance - 3.0) for distance in kept) < 0.02
    assert fit_ring(ring(4, span=np.radians(150))) is not None


@pytest.mark.parametrize("cameras", [
    ring(2), ring(5, span=np.radians(60)), ring(6, inward=-1.0), [camera(x) for x in (0.0, 0.5, 1.0)],
    [*ring(4), *ring(4, radius=6.0)], [camera(0.0)] * 3])
def test_other_cameras_are_no_ring(cameras: list[Camera]) -> None:
    assert fit_ring(cameras) is None


def test_a_single_camera_gets_jittered_views() -> None:
    assert len(pseudo_cameras([camera(0.0)], DEPTH, 5, seed=0)) == 5


def test_interpolation_is_halfway_in_centre_and_turn() -> None:
    a = camera(0.0)
    angle = 0.4
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    pose[:3, 3] = -pose[:3, :3] @ np.array([1.0, 0, 0])
    middle = interpolate_cameras(a, Camera(a.K, pose, WIDTH, HEIGHT), 0.5)
    assert np.allclose(middle.centre, [0.5, 0, 0])
    assert np.isclose(np.arccos((np.trace(middle.camera_from_world[:3, :3]) - 1) / 2), angle / 2)


def test_warped_photographs_show_the_wall_as_the_camera_would_see_it() -> None:
    views, shapes = zip(*(wall_view(camera(x)) for x in (0.0, 0.6)), strict=True)
    between = camera(0.27)
    warped = warp_photographs(Capture(views), Geometry(shapes, "test"), between)
    expected, _ = wall_view(between)
    trusted = warped.weight > 0.9
    assert trusted.mean() > 0.7
    assert np.abs(warped.image - expected.image)[trusted].max() < 0.02
    assert np.allclose(warped.depth[trusted], DEPTH, atol=1e-4)


def test_what_only_one_photograph_sees_counts_half() -> None:
    view, shape = wall_view(camera(0.0))
    warped = warp_photographs(Capture((view,)), Geometry((shape,), "test"), camera(0.1))
    assert warped.weight.max() == pytest.approx(0.5)


def test_photographs_that_disagree_are_not_trusted() -> None:
    (first, shape), (_, other_shape) = wall_view(camera(0.0)), wall_view(camera(0.3))
    inverted = View("other", (1 - first.image), camera(0.3))
    warped = warp_photographs(Capture((first, inverted)), Geometry((shape, other_shape), "test"), camera(0.15))
    assert np.median(warped.weight[warped.depth > 0]) < 0.4


def test_a_surface_hidden_behind_another_is_not_looked_up_through_it() -> None:
    """A near strip hides part of the wall from the second photograph: those pixels must take the first one's colour."""
    (first, shape), (second, second_shape) = wall_view(camera(0.0)), wall_view(camera(0.6))
    blocked = second_shape.depth.copy()
    blocked[:, 20:30] = 1.0
    red = second.image.copy()
    red[:, 20:30] = (1, 0, 0)
    capture = Capture((first, View("blocked", red, second.camera)))
    geometry = Geometry((shape, ViewGeometry(second_shape.camera, blocked, second_shape.confidence)), "test")
    warped = warp_photographs(capture, geometry, camera(0.0))
    wall = np.isclose(warped.depth, DEPTH, atol=1e-3) & (warped.weight > 0)
    assert np.abs(warped.image - first.image)[wall].max() < 0.05


def test_guessed_depth_counts_little() -> None:
    view, shape = wall_view(camera(0.0), confidence=1.0)
    warped = warp_photographs(Capture((view,)), Geometry((shape,), "test"), camera(0.1))
    assert 0 < warped.weight.max() <= 0.5 * GUESS_TRUST


def test_without_any_sure_depth_there_are_no_pseudo_views() -> None:
    view, shape = wall_view(camera(0.0), confidence=1.0)
    assert prepare_pseudo_views(Capture((view,)), Geometry((shape,), "test"), 5, seed=0) == []


def test_a_stop_is_heard_between_two_views() -> None:
    view, shape = wall_view(camera(0.0))
    asked = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Stopped):
        prepare_pseudo_views(Capture((view,)), Geometry((shape,), "test"), 40, 0, stop_check(should_stop))
    assert len(prepare_pseudo_views(Capture((view,)), Geometry((shape,), "test"), 3, 0)) == 3


def test_what_no_photograph_shows_is_continued_from_the_far_side() -> None:
    """A near strip hides a part of the wall that a camera further right looks at."""
    view, shape = wall_view(camera(0.0))
    shape.depth[:, 20:30] = 1.0
    warped = warp_photographs(Capture((view,)), Geometry((shape,), "test"), camera(0.2))
    assert warped.gaps.any()
    assert np.allclose(warped.depth[warped.gaps], DEPTH, rtol=0.02)
    assert warped.weight[warped.gaps].max() <= FILL_TRUST
