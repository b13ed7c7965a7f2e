# SPDX-License-Identifier: GPL-3.0-or-later
"""Poses from features: on rendered photos whose cameras are known, and where it must fail."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from interngs.errors import InputError
from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.geometry.sfm import StructureFromMotion, estimate_cameras
from interngs.geometry.similarity import fit_camera_similarity, inverse_rigid, rotation_angle_deg
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0


def quiet(done: int, total: int) -> None:
    pass


def noise_texture(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    image = np.zeros((512, 512))
    for size in (16, 32, 64, 128, 256):
        image += cv2.resize(random.normal(size=(size, size)), (512, 512), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * image, 0, 255).astype(np.uint8)


def cameras() -> list[Camera]:
    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    result = []
    for x in (-0.9, 0.0, 1.0):
        centre = np.array([x, -0.2 * x * x, -4.0])
        forward = np.array([0.0, 0.0, 0.3]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = centre
        result.append(Camera(K, inverse_rigid(pose), WIDTH, HEIGHT))
    return result


def photos() -> list[np.ndarray]:
    """Two textured walls that meet in a corner, so that no plane holds everything."""
    walls = [np.array([[-3, -2, 1.5], [0.2, -2, 0], [0.2, 2, 0], [-3, 2, 1.5]], float),
             np.array([[0.2, -2, 0], [3, -2, 1.8], [3, 2, 1.8], [0.2, 2, 0]], float)]
    corners = np.array([[0, 0], [512, 0], [512, 512], [0, 512]], np.float32)
    images = []
    for camera in cameras():
        image = np.zeros((HEIGHT, WIDTH), np.uint8)
        for seed, wall in enumerate(walls):
            # OpenCV counts from pixel centres.
            pixels = (camera.project(wall)[0] - 0.5).astype(np.float32)
            warped = cv2.warpPerspective(noise_texture(seed), cv2.getPerspectiveTransform(corners, pixels),
                                         (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderValue=0)
            image = np.where(warped > 0, warped, image)
        images.append(np.repeat(image[..., None], 3, axis=2))
    return images


def capture(focal_px: float | None = None) -> Capture:
    return Capture(tuple(View(f"photo {index}", (image / 255).astype(np.float32), focal_px=focal_px)
                         for index, image in enumerate(photos())))


def errors(found: list[Camera]) -> tuple[float, float]:
    """Worst rotation (degrees) and centre (relative to the baseline) after a similarity."""
    truth = [camera.world_from_camera for camera in cameras()]
    onto = fit_camera_similarity([camera.world_from_camera for camera in found], truth)
    moved = [onto.apply_to_pose(camera.world_from_camera) for camera in found]
    return (max(rotation_angle_deg(a[:3, :3], b[:3, :3]) for a, b in zip(moved, truth, strict=True)),
            max(np.linalg.norm(a[:3, 3] - b[:3, 3]) for a, b in zip(moved, truth, strict=True)) / 1.9)


class Flat:
    """A dense geometry that only records what it was given."""

    name = "flat"

    def estimate(self, given: Capture, report_progress) -> Geometry:
        report_progress(1, 1)
        return Geometry(tuple(
            ViewGeometry(view.posed_camera, np.ones((HEIGHT, WIDTH), np.float32), np.ones((HEIGHT, WIDTH), np.float32))
            for view in given.views), "flat", {"points": len(given.points.positions)})


def test_cameras_of_rendered_photos() -> None:
    told = []
    estimated = estimate_cameras(capture(focal_px=FOCAL), lambda done, total: told.append(done / total), threads=2)
    assert all(camera is not None for camera in estimated.cameras) and not estimated.warnings
    rotation_deg, centre = errors(list(estimated.cameras))
    assert rotation_deg < 0.5 and centre < 0.02
    assert estimated.cameras[0].K[0, 0] == pytest.approx(FOCAL, rel=0.05)
    assert estimated.cameras[0].K[0, 2] == WIDTH / 2
    assert told == sorted(told) and told[-1] == 1.0
    assert len(estimated.points.positions) == len(estimated.points.colours) >= 100
    depth = np.concatenate([camera.project(estimated.points.positions)[1] for camera in estimated.cameras])
    assert np.median(depth) == pytest.approx(4.0, rel=0.1)
    up = np.mean([-camera.camera_from_world[1, :3] for camera in estimated.cameras], axis=0)
    assert up[2] > 0.95
    assert {"placed", "mean_reprojection_error_px", "world", "focal_px"} <= estimated.report.keys()


def test_as_a_geometry_and_without_a_focal_length() -> None:
    geometry = StructureFromMotion(Flat()).estimate(capture(), quiet)
    rotation_deg, centre = errors([view.camera for view in geometry.views])
    assert rotation_deg < 2.0 and centre < 0.1
    assert geometry.method == "structure-from-motion, flat" and geometry.report["points"] > 100


def test_a_photo_of_something_else_is_named() -> None:
    stranger = np.repeat(noise_texture(9)[:HEIGHT, :WIDTH, None], 3, axis=2)
    whole = capture(focal_px=FOCAL)
    mixed = replace(whole, views=(*whole.views, View("stranger", (stranger / 255).astype(np.float32), focal_px=FOCAL)))
    estimated = estimate_cameras(mixed, quiet, threads=2)
    assert estimated.cameras[3] is None and "'stranger'" in estimated.warnings[0]
    posed = estimated.posed(mixed)
    assert [view.name for view in posed.views] == ["photo 0", "photo 1", "photo 2"]
    assert posed.points is estimated.points and estimated.warnings[0] in posed.notes


@pytest.mark.parametrize("images", [
    [np.zeros((60, 80, 3))] * 3,
    [np.random.default_rng(seed).random((120, 160, 3)) for seed in range(3)]], ids=["black", "unrelated"])
def test_photos_that_do_not_match_end_in_an_error_with_both_ways_out(images) -> None:
    views = tuple(View(f"p{index}", image.astype(np.float32)) for index, image in enumerate(images))
    with pytest.raises(InputError) as caught:
        estimate_cameras(Capture(views), quiet, threads=2)
    assert caught.value.code == "poses-not-found"
    assert "give the poses" in caught.value.remedy and "interngs weights download" in caught.value.remedy


def test_one_photo_is_too_few() -> None:
    with pytest.raises(InputError) as caught:
        estimate_cameras(capture().subset([0]), quiet)
    assert caught.value.code == "too-few-views"
