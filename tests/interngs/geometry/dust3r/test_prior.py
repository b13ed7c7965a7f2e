# SPDX-License-Identifier: GPL-3.0-or-later
"""DUSt3R as a geometry: a tiny checkpoint in both official layouts, from photos to depth, cameras and seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.geometry.dust3r.preprocess import framing_for
from interngs.geometry.dust3r.prior import Dust3r
from interngs.geometry.dust3r.resample import to_photo_pixels
from interngs.geometry.similarity import fit_camera_similarity, rotation_angle_deg
from interngs.scene.capture import Capture


def quiet(done: int, total: int) -> None:
    pass


@pytest.mark.parametrize("layout", ["pth", "folder"])
def test_given_poses_are_kept_and_depth_is_right(tiny_checkpoint, layout: str) -> None:
    scene = tiny_checkpoint.scene
    geometry = Dust3r.from_weights(getattr(tiny_checkpoint, layout)).estimate(scene.capture(), quiet)
    assert geometry.method == "dust3r" and geometry.report["poses"] == "given"
    for view, camera, depth in zip(geometry.views, scene.cameras, scene.depths, strict=True):
        assert np.array_equal(view.camera.camera_from_world, camera.camera_from_world)
        assert view.depth.shape == view.confidence.shape == depth.shape
        assert np.median(np.abs(view.depth / depth - 1)) < 1e-3
        assert np.median(view.confidence) == pytest.approx(12.0, rel=0.01)
    json.dumps(geometry.report, allow_nan=False)


def test_missing_poses_are_estimated(tiny_checkpoint) -> None:
    scene = tiny_checkpoint.scene
    told = []
    geometry = Dust3r.from_weights(tiny_checkpoint.pth).estimate(
        scene.capture(posed=False), lambda done, total: told.append(done / total))
    poses = [view.camera.world_from_camera for view in geometry.views]
    truth = [camera.world_from_camera for camera in scene.cameras]
    onto = fit_camera_similarity(poses, truth)
    for view, pose, true, depth in zip(geometry.views, poses, truth, scene.depths, strict=True):
        moved = onto.apply_to_pose(pose)
        assert rotation_angle_deg(moved[:3, :3], true[:3, :3]) < 0.2
        assert np.linalg.norm(moved[:3, 3] - true[:3, 3]) < 0.02
        assert view.camera.K[0, 0] == pytest.approx(60.0, rel=0.01) and view.camera.K[0, 0] == view.camera.K[1, 1]
        assert np.median(np.abs(onto.scale * view.depth / depth - 1)) < 0.01
    assert np.median(np.concatenate([view.depth.ravel() for view in geometry.views])) == pytest.approx(4.0, rel=0.01)
    assert told == sorted(told) and told[-1] == 1.0
    assert geometry.report["poses"] == "estimated" and "up_axis" in geometry.report["world"]
    json.dumps(geometry.report, allow_nan=False)


def test_two_views_need_no_optimisation(tiny_checkpoint) -> None:
    scene = tiny_checkpoint.scene
    geometry = Dust3r.from_weights(tiny_checkpoint.pth).estimate(
        scene.capture(posed=False).subset([0, 1]), quiet)
    relative = geometry.views[1].camera.camera_from_world @ geometry.views[0].camera.world_from_camera
    true = scene.cameras[1].camera_from_world @ scene.cameras[0].world_from_camera
    assert rotation_angle_deg(relative[:3, :3], true[:3, :3]) < 0.1


def test_masks_take_depth_away(tiny_checkpoint) -> None:
    capture = tiny_checkpoint.scene.capture()
    mask = np.ones((48, 64), np.float32)
    mask[:, :20] = 0
    masked = replace(capture, views=(replace(capture.views[0], mask=mask), *capture.views[1:]))
    view = Dust3r.from_weights(tiny_checkpoint.pth).estimate(masked, quiet).views[0]
    assert (view.depth[:, :20] == 0).all() and (view.confidence[:, :20] == 0).all() and (view.depth[:, 20:] > 0).all()


def test_photos_larger_than_the_network(tiny_checkpoint) -> None:
    """Photos of twice the size with the same camera: depth comes back at the photos' own size."""
    scene = tiny_checkpoint.scene
    views = []
    for view in scene.capture().views:
        image = view.image.repeat(2, axis=0).repeat(2, axis=1)
        views.append(replace(view, image=image, camera=view.posed_camera.resized(128, 96)))
    geometry = Dust3r.from_weights(tiny_checkpoint.pth).estimate(Capture(tuple(views)), quiet)
    for view, depth in zip(geometry.views, scene.depths, strict=True):
        assert view.depth.shape == (96, 128)
        reference = depth.repeat(2, axis=0).repeat(2, axis=1)
        # Shrinking does not undo doubling bit for bit, and this network knows nothing but its own scene.
        assert np.median(np.abs(view.depth / reference - 1)) < 0.05


def test_some_poses_are_no_poses(tiny_checkpoint) -> None:
    capture = tiny_checkpoint.scene.capture()
    partly = replace(capture, views=(*capture.views[:2], replace(capture.views[2], camera=None)))
    geometry = Dust3r.from_weights(tiny_checkpoint.pth).estimate(partly, quiet)
    assert geometry.report["poses"] == "estimated"
    assert any("2 of 3 photos have a pose" in warning for warning in geometry.warnings)


def test_a_wrong_pose_is_named(tiny_checkpoint) -> None:
    capture = tiny_checkpoint.scene.capture()
    camera = capture.views[1].posed_camera
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.5), 0, np.sin(0.5)], [0, 1, 0], [-np.sin(0.5), 0, np.cos(0.5)]]
    wrong = replace(camera, camera_from_world=turn @ camera.camera_from_world)
    spoiled = replace(capture, views=(capture.views[0], replace(capture.views[1], camera=wrong), capture.views[2]))
    geometry = Dust3r.from_weights(tiny_checkpoint.pth).estimate(spoiled, quiet)
    assert len(geometry.warnings) == 1 and "'view 1'" in geometry.warnings[0]
    assert (geometry.views[1].confidence == 0).all() and (geometry.views[0].confidence > 0).any()


def test_a_network_that_knows_nothing_is_told(golden: Path, tiny_checkpoint) -> None:
    with pytest.raises(InputError) as caught:
        Dust3r.from_weights(golden / "tiny_linear.pth").estimate(tiny_checkpoint.scene.capture(), quiet)
    assert caught.value.code in ("geometry-not-aligned", "view-not-aligned")


def test_one_photo_is_too_few(tiny_checkpoint) -> None:
    with pytest.raises(InputError) as caught:
        Dust3r.from_weights(tiny_checkpoint.pth).estimate(tiny_checkpoint.scene.capture().subset([0]), quiet)
    assert caught.value.code == "too-few-views"


def test_resampling_keeps_edges_and_marks_what_the_crop_left_out() -> None:
    framing = framing_for((200, 130), 128)
    depth = np.full((framing.height_px, framing.width_px), 2.0)
    depth[:, framing.width_px // 2:] = 5.0
    confidence = np.full_like(depth, 7.0)
    confidence[:4] = 0
    at_photo, trust = to_photo_pixels(depth, confidence, framing)
    assert at_photo.shape == (130, 200)
    assert set(np.unique(at_photo)) <= {0.0, 2.0, 5.0}
    assert ((at_photo == 0).mean() > 0) == (framing.crop_px[1] > 0)
    edge = np.flatnonzero(np.diff(at_photo[65]))
    assert edge.size == 1 and abs(edge[0] + 1 - 100) <= 1
    assert (trust[at_photo == 0] == 0).all() and trust.max() == 7.0


def test_resampling_a_slope_is_smooth() -> None:
    framing = framing_for((200, 150), 64)
    x = np.arange(framing.width_px) + 0.5
    depth = np.broadcast_to(3 + 0.01 * x, (framing.height_px, framing.width_px))
    at_photo, _ = to_photo_pixels(depth, np.ones_like(depth) * 5, framing)
    expected = 3 + 0.01 * ((np.arange(200) + 0.5) * 64 / 200 - framing.crop_px[0])
    assert np.abs(at_photo[75, 4:-4] - expected[4:-4]).max() < 1e-5
