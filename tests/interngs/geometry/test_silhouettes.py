# SPDX-License-Identifier: GPL-3.0-or-later
"""Space that a photograph's alpha shows to be empty."""

from dataclasses import replace

import numpy as np

from interngs.geometry.matching_cost import COST_SCALE, SweptView, cost_volume
from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.geometry.silhouettes import MARGIN_PX, Silhouettes, carve
from interngs.scene.cameras import Camera, look_at
from interngs.scene.capture import Capture, View

SIZE, FOCAL_PX, DISTANCE, RADIUS = 64, 60.0, 4.0, 1.0


def camera(angle: float) -> Camera:
    """On a circle around the origin, looking at it."""
    centre = DISTANCE * np.array([np.sin(angle), 0.0, -np.cos(angle)])
    K = np.array([[FOCAL_PX, 0, SIZE / 2], [0, FOCAL_PX, SIZE / 2], [0, 0, 1.0]])
    return Camera(K, look_at(centre, np.zeros(3), np.array([0.0, 1.0, 0.0])), SIZE, SIZE)


def ball(angle: float) -> tuple[View, ViewGeometry]:
    """A grey ball of ``RADIUS`` at the origin before nothing, and its true depth."""
    cam = camera(angle)
    rays = cam.pixel_rays()
    squared = (rays**2).sum(axis=-1)
    along = rays @ (cam.camera_from_world[:3, 3])
    root = along**2 - squared * (DISTANCE**2 - RADIUS**2)
    hit = root > 0
    depth = np.where(hit, (along - np.sqrt(np.maximum(root, 0))) / squared, 0).astype(np.float32)
    alpha = hit.astype(np.float32)
    view = View(f"ball{angle}", np.full((SIZE, SIZE, 3), 0.5, np.float32) * alpha[..., None], cam, mask=alpha,
                alpha=alpha)
    return view, ViewGeometry(cam, depth, np.where(hit, 6.0, 0.0).astype(np.float32))


def capture() -> tuple[Capture, Geometry]:
    views, shapes = zip(*(ball(angle) for angle in (0.0, 1.2, 2.5)), strict=True)
    return Capture(views), Geometry(shapes, "test")


def test_points_outside_any_silhouette_are_empty() -> None:
    views, geometry = capture()
    silhouettes = Silhouettes(views, [view.camera for view in geometry.views])
    margin = 2 * MARGIN_PX * DISTANCE / FOCAL_PX
    generator = np.random.default_rng(0)
    direction = generator.normal(size=(500, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    assert not silhouettes.outside(0.99 * RADIUS * direction).any()
    in_plane = direction * (1, 0, 1)            # all three cameras stand in the plane y = 0, so they see round it there
    in_plane *= (RADIUS + margin + 1.0) / np.linalg.norm(in_plane, axis=1, keepdims=True)
    assert silhouettes.outside(in_plane).all()


def test_beyond_a_frame_whose_edge_is_empty_there_is_nothing() -> None:
    views, geometry = capture()
    silhouettes = Silhouettes(views, [view.camera for view in geometry.views])
    assert silhouettes.outside(np.array([[0.0, 50.0, 0.0], [0.0, -50.0, 1.0]])).all()
    cut = np.ones((SIZE, SIZE), np.float32)
    cut[: SIZE // 2] = 0                        # the thing goes on below the frame
    below = Silhouettes(Capture((replace(views.views[0], alpha=cut, mask=cut),)), [geometry.views[0].camera])
    assert list(below.outside(np.array([[0.0, -50.0, 0.0], [0.0, 50.0, 0.0]]))) == [False, True]


def test_a_mask_is_no_silhouette_unless_it_is_taken_for_one() -> None:
    views, geometry = capture()
    masked = Capture(tuple(replace(view, alpha=None, masked=True) for view in views.views))
    unreached = Capture(tuple(replace(view, alpha=None) for view in views.views))      # say, by undistortion
    cameras = [view.camera for view in geometry.views]
    beside = np.array([[0.0, 2.0 * RADIUS, 0.0]])
    assert not Silhouettes(masked, cameras).outside(beside).any()
    assert Silhouettes(masked, cameras, by_mask=True).outside(beside).all()
    assert not Silhouettes(unreached, cameras, by_mask=True)
    assert Silhouettes(views, cameras, by_mask=True).outside(beside).all(), "alpha counts either way"


def test_wrong_depth_is_carved_away_and_counted() -> None:
    views, geometry = capture()
    shape = geometry.views[0]
    wrong = shape.depth > 0
    wrong[: SIZE // 2] = False
    depth = np.where(wrong, np.float32(0.3 * DISTANCE), shape.depth)        # floats between the camera and the ball
    carved = carve(replace(geometry, views=(replace(shape, depth=depth), *geometry.views[1:])), views)
    assert not carved.views[0].depth[wrong].any() and not carved.views[0].confidence[wrong].any()
    np.testing.assert_array_equal(carved.views[0].depth[~wrong], shape.depth[~wrong])
    np.testing.assert_array_equal(carved.views[1].depth, geometry.views[1].depth)
    assert carved.report["carved"] == wrong.sum()


def test_without_alpha_nothing_is_touched() -> None:
    views, geometry = capture()
    opaque = Capture(tuple(replace(view, alpha=None) for view in views.views))
    assert carve(geometry, opaque) is geometry
    assert not Silhouettes(opaque, [view.camera for view in geometry.views])


def test_the_sweep_rejects_hypotheses_in_empty_space() -> None:
    """Two flat grey pictures match at any depth; where the source shows nothing, they must not."""
    grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    mask = np.ones((SIZE, SIZE), np.uint8)
    empty = np.zeros((SIZE, SIZE), np.uint8)
    empty[:, SIZE // 2:] = 1
    moved = camera(0.0)
    pose = moved.camera_from_world.copy()
    pose[0, 3] += 0.5
    source = SweptView(grey, Camera(moved.K, pose, SIZE, SIZE), mask, empty=empty)
    inverse_depths = np.array([1 / DISTANCE, 2 / DISTANCE])
    volume = cost_volume(SweptView(grey, moved, mask), [source], inverse_depths, 1)
    for label, inverse_depth in enumerate(inverse_depths):
        shift = round(FOCAL_PX * 0.5 * inverse_depth)
        refuted = np.arange(SIZE) + shift >= SIZE // 2
        away = np.abs(np.arange(SIZE) + shift - SIZE // 2) > 1          # rounding decides at the border
        assert (volume[:, refuted & away, label] == COST_SCALE).all()
        assert (volume[:, ~refuted & away, label] < COST_SCALE).all()
