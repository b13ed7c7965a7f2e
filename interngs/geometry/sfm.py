# SPDX-License-Identifier: GPL-3.0-or-later
"""Structure from motion: cameras of photos without poses, from matched features (pycolmap)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..scene.cameras import Camera
from ..scene.capture import Capture, SparsePoints, View
from .prior import Geometry, GeometryPrior, ReportProgress
from .world_frame import choose_world_frame

PEAK_THRESHOLD = 0.002
"""A third of the usual contrast threshold of features: with few small photos every match counts."""
GUESSED_FOCAL = 1.2
"""Focal length over the longer side that the search starts from when the photo does not tell its own."""
MIN_POINTS = 30
FEW_POINTS_PER_PHOTO = 60
LARGE_ERROR_PX = 1.5
INITIAL_ANGLES_DEG = (4.0, 16.0, 1.5)
"""Least angles between the rays of the first pair, tried in this order until all photos are placed."""


@dataclass(frozen=True, eq=False)
class EstimatedCameras:
    """Cameras of a capture that had none.

    Attributes:
        cameras: one per view, in the capture's order; ``None`` for a photo that could not be placed.
        points: sparse points in the same world.
        report: facts and figures (JSON-ready): focal lengths, reprojection error, scale and up-axis.
        warnings: sentences for the artist; unplaced photos are named.
    """

    cameras: tuple[Camera | None, ...]
    points: SparsePoints
    report: dict[str, Any]
    warnings: tuple[str, ...]

    def posed(self, capture: Capture) -> Capture:
        """``capture`` with these cameras and points; photos that could not be placed are left out."""
        views = tuple(replace(view, camera=camera)
                      for view, camera in zip(capture.views, self.cameras, strict=True) if camera is not None)
        return replace(capture, views=views, points=self.points, notes=(*capture.notes, *self.warnings))


class StructureFromMotion:
    """Cameras by structure from motion, then depth by another geometry (see ``GeometryPrior``)."""

    def __init__(self, dense: GeometryPrior, threads: int = -1) -> None:
        """``threads`` CPU threads for the cameras; -1 takes all."""
        self._dense = dense
        self._threads = threads
        self.name = f"structure-from-motion, {dense.name}"

    def estimate(self, capture: Capture, report_progress: ReportProgress) -> Geometry:
        """Dense geometry of every view at its estimated camera.

        Raises:
            InputError: a photo cannot be placed, or the dense geometry fails.
        """
        estimated = estimate_cameras(
            capture, lambda done, total: report_progress(_HALF * done // total, 2 * _HALF), self._threads)
        unplaced = [view.name for view, camera in zip(capture.views, estimated.cameras, strict=True) if camera is None]
        if unplaced:
            names = ", ".join(repr(name) for name in unplaced)
            raise InputError("photo-not-placed", f"The pose of {names} could not be found from matching features.",
                             f"Leave it out, or add photos between it and the others. {_WAYS_OUT}")
        geometry = self._dense.estimate(
            estimated.posed(capture),
            lambda done, total: report_progress(_HALF + _HALF * done // total, 2 * _HALF))
        return replace(
            geometry, method=self.name, report={"poses": "estimated", "cameras": estimated.report, **geometry.report},
            warnings=(*estimated.warnings, *geometry.warnings))


_HALF = 500
_WAYS_OUT = ("Or give the poses (COLMAP, transforms.json, Blender cameras), or install the DUSt3R weights, which need "
             "less overlap: interngs weights download dust3r-512-dpt")


def estimate_cameras(capture: Capture, report_progress: ReportProgress, threads: int = -1) -> EstimatedCameras:
    """Cameras and sparse points of photos without poses.

    SIFT features, exhaustive matching and incremental mapping (Schönberger and Frahm, Structure-from-
    Motion Revisited, CVPR 2016) with thresholds loosened for few photos.  Photos of one size share one
    focal length, principal point in the centre, no lens distortion.  The world is stood upright and
    sized by ``choose_world_frame``.

    Args:
        threads: CPU threads; -1 takes all.

    Raises:
        InputError: fewer than two photos, or the photos do not match; names what else can be done.
    """
    count = len(capture.views)
    if count < 2:
        raise InputError("too-few-views", f"Poses can only be estimated from two photos or more, there is {count}.",
                         "Add photos that overlap.")
    steps = count + 3
    # Windows keeps the database file locked for a moment after it is closed.
    with tempfile.TemporaryDirectory(prefix="interngs-sfm-", ignore_cleanup_errors=True) as folder, _quiet():
        work = Path(folder)
        try:
            for done in _extract_features(capture, work, threads):
                report_progress(done, steps)
            _match(work, threads)
            report_progress(count + 1, steps)
            model = _map(work, count, threads)
        except RuntimeError as error:
            raise _failure(f"matching their features failed ({error})") from error
        report_progress(count + 2, steps)
        if model is None or model.num_points3D() < MIN_POINTS:
            raise _failure("too few features were recognised from photo to photo")
        result = _result(capture, model)
    report_progress(steps, steps)
    return result


def _failure(why: str) -> InputError:
    return InputError("poses-not-found", f"The poses of these photos could not be estimated: {why}.",
                      f"Take photos that overlap by more than half and show texture. {_WAYS_OUT}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own log out of the terminal; what matters becomes errors and warnings here."""
    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = 3
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = level


def _file_name(index: int) -> str:
    # Names of people's photos are never used as paths.
    return f"{index:05d}.png"


def _extract_features(capture: Capture, work: Path, threads: int) -> Iterator[int]:
    """Write the photos, find their features; yields the number of photos done."""
    images, masks = work / "images", work / "masks"
    images.mkdir()
    masks.mkdir()
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads = threads
    extraction.sift.peak_threshold = PEAK_THRESHOLD
    camera_ids: dict[tuple[int, int, float | None], int] = {}
    for index, view in enumerate(capture.views):
        name = _file_name(index)
        height, width = view.image.shape[:2]
        Image.fromarray(np.round(np.clip(view.image, 0, 1) * 255).astype(np.uint8)).save(images / name)
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_PINHOLE"
        reader.default_focal_length_factor = GUESSED_FOCAL
        if view.mask is not None:
            Image.fromarray(np.where(view.mask >= 0.5, 255, 0).astype(np.uint8)).save(masks / f"{name}.png")
            reader.mask_path = masks
        # Photos of one size and focal length are taken for one lens; turned phones have two sizes.
        lens = (width, height, None if view.focal_px is None else round(view.focal_px, 1))
        if lens in camera_ids:
            reader.existing_camera_id = camera_ids[lens]
        elif view.focal_px is not None:
            reader.camera_params = f"{view.focal_px},{width / 2},{height / 2}"
        pycolmap.extract_features(
            work / "database.db", images, image_names=[name], camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader, extraction_options=extraction, device=pycolmap.Device.cpu)
        if lens not in camera_ids:
            with pycolmap.Database.open(work / "database.db") as database:
                stored = database.read_image_with_name(name)
            if stored is None:
                raise RuntimeError(f"{view.name!r} could not be read back")
            camera_ids[lens] = stored.camera_id
        yield index + 1


def _match(work: Path, threads: int) -> None:
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = threads
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = 0
    pycolmap.match_exhaustive(work / "database.db", matching_options=matching, verification_options=verification,
                              device=pycolmap.Device.cpu)


def _map(work: Path, count: int, threads: int) -> pycolmap.Reconstruction | None:
    """The reconstruction that places most photos."""
    best: pycolmap.Reconstruction | None = None
    for attempt, angle_deg in enumerate(INITIAL_ANGLES_DEG):
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads = threads
        options.random_seed = 0
        options.min_model_size = 2
        options.multiple_models = False
        options.mapper.init_min_tri_angle = angle_deg
        options.mapper.init_min_num_inliers = 30
        options.mapper.abs_pose_min_num_inliers = 15
        # Points of two photos only are most of what a handful of photos has.
        options.triangulation.ignore_two_view_tracks = False
        output = work / f"model-{attempt}"
        output.mkdir()
        models = pycolmap.incremental_mapping(work / "database.db", work / "images", output, options)
        for model in models.values():
            if best is None or _merit(model) > _merit(best):
                best = model
        if best is not None and best.num_reg_images() == count:
            break
    return best


def _merit(model: pycolmap.Reconstruction) -> tuple[int, int]:
    return model.num_reg_images(), model.num_points3D()


def _result(capture: Capture, model: pycolmap.Reconstruction) -> EstimatedCameras:
    placed = {image.name: image for image in model.images.values() if image.has_pose}
    cameras: list[Camera | None] = []
    for index, view in enumerate(capture.views):
        image = placed.get(_file_name(index))
        cameras.append(None if image is None else _camera(view, image, model.cameras[image.camera_id]))
    positions = np.stack([point.xyz for point in model.points3D.values()])
    colours = np.stack([point.color for point in model.points3D.values()]).astype(np.uint8)
    found = [camera for camera in cameras if camera is not None]
    depth = _median_depth(model, found, placed)
    frame = choose_world_frame(found, positions, depth)
    cameras = [None if camera is None else frame.apply_to_camera(camera) for camera in cameras]
    error_px = float(model.compute_mean_reprojection_error())
    report = {
        "method": "structure-from-motion", "photos": len(capture.views), "placed": len(found),
        "points": len(positions), "mean_reprojection_error_px": error_px,
        "focal_from": ["exif" if view.focal_px else "guessed, then refined" for view in capture.views],
        "focal_px": [None if camera is None else float(camera.K[0, 0]) for camera in cameras],
        "world": frame.description}
    points = SparsePoints(frame.new_from_old.apply(positions), colours)
    return EstimatedCameras(tuple(cameras), points, report, _warnings(capture, cameras, len(positions), error_px))


def _camera(view: View, image: pycolmap.Image, lens: pycolmap.Camera) -> Camera:
    pose = np.eye(4)
    pose[:3] = image.cam_from_world().matrix()
    height, width = view.image.shape[:2]
    return Camera(np.asarray(lens.calibration_matrix(), dtype=np.float64), pose, width, height)


def _median_depth(
    model: pycolmap.Reconstruction, cameras: list[Camera], placed: dict[str, pycolmap.Image]
) -> float:
    """Median over all sightings of the depth of a point in the photo that shows it."""
    depths: list[NDArray[np.float64]] = []
    for image in placed.values():
        pose = image.cam_from_world().matrix()
        seen = [model.points3D[point.point3D_id].xyz for point in image.points2D if point.has_point3D()]
        if seen:
            depths.append(np.stack(seen) @ pose[2, :3] + pose[2, 3])
    return float(np.median(np.concatenate(depths)))


def _warnings(
    capture: Capture, cameras: list[Camera | None], points: int, error_px: float
) -> tuple[str, ...]:
    warnings = []
    unplaced = [view.name for view, camera in zip(capture.views, cameras, strict=True) if camera is None]
    placed = len(cameras) - len(unplaced)
    if unplaced:
        names = ", ".join(repr(name) for name in unplaced)
        warnings.append(f"{len(unplaced)} of {len(cameras)} photos could not be placed and are left out: {names}.")
    if points < FEW_POINTS_PER_PHOTO * placed:
        warnings.append(f"The poses rest on only {points} matched points; more overlap would make them surer.")
    if error_px > LARGE_ERROR_PX:
        warnings.append(f"The estimated poses leave {error_px:.1f} px of error on average; strong lens distortion or "
                        "movement in the scene does that.")
    return tuple(warnings)
