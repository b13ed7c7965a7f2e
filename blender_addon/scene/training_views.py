# SPDX-License-Identifier: GPL-3.0-or-later
"""The cameras and exact depth maps that a splat was made from, and the way from its space to theirs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from ...interngs.errors import InputError, InternGSError
from ...interngs.formats.npy_file import read_npy
from ...interngs.scene.cameras import Camera
from ...interngs.scene.capture import Distortion
from .photographs import camera_of_row, distortion_of_row, optional_path, photo_path, used_rows
from .result_cameras import cameras_of_report, splat_since_training


@dataclass(frozen=True, eq=False)
class TrainingViews:
    """Training cameras by name; depth files with their cameras; [4, 4] ``cameras_from_splat`` (both in one space)."""

    cameras: dict[str, Camera]
    depth_files: tuple[tuple[Camera, Path], ...]
    cameras_from_splat: NDArray[np.float64]

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal as long as the views are."""
        poses = tuple((name, camera.camera_from_world.tobytes(), camera.K.tobytes())
                      for name, camera in self.cameras.items())
        return poses, tuple(str(path) for _, path in self.depth_files), self.cameras_from_splat.tobytes()


_cameras_of_report = lru_cache(maxsize=4)(cameras_of_report)


def training_views(scene: bpy.types.Scene, splat: bpy.types.Object) -> TrainingViews:
    """What the splat's report says of its cameras; else the scene's photographs that are in use, where they stand.

    Depth maps come from the scene's photographs: of the same names where the report has cameras.
    """
    reported = _cameras_of_report(splat.interngs_splat.report_json)
    rows = used_rows(scene.interngs)
    depths = []
    if reported:
        given = '"origin": "given"' in splat.interngs_splat.report_json     # else depth is in the scene's unit alone
        for row in rows if given else ():
            path = optional_path(row.depth_path)
            if path is not None and row.name in reported:
                depths.append((reported[row.name], path))
        return TrainingViews(reported, tuple(depths), np.linalg.inv(splat_since_training(splat)))
    cameras = {}
    for row in rows:
        camera = _camera_or_none(scene, row)
        if camera is not None:
            cameras[row.name] = camera
            path = optional_path(row.depth_path)
            if path is not None:
                depths.append((camera, path))
    return TrainingViews(cameras, tuple(depths), np.array(splat.matrix_world, np.float64))


def _camera_or_none(scene: bpy.types.Scene, row: bpy.types.PropertyGroup) -> Camera | None:
    """A row's camera; one that is no pinhole camera is none here, and said so where photographs are sent."""
    try:
        return camera_of_row(scene, row)
    except InternGSError:
        return None


def load_depths(files: tuple[tuple[Camera, Path], ...]) -> list[tuple[Camera, NDArray[np.floating]]]:
    """Read depth maps; any thread.

    Raises:
        InternGSError: a file is missing or no depth map.
    """
    maps = [(camera, read_npy(path)) for camera, path in files]
    for (_, path), (_, depth) in zip(files, maps, strict=True):
        if depth.ndim != 2 or not depth.size:
            raise InputError("depth-shape", f"{path.name} is no depth map: its shape is {depth.shape}.",
                             "Capture the scene again, or remove the photograph's depth.")
    return maps


@dataclass(frozen=True, eq=False)
class PhotographView:
    """A photograph with the camera and lens that took it; ``cameras_from_splat`` [4, 4] as in ``TrainingViews``."""

    name: str
    path: Path
    camera: Camera
    distortion: Distortion
    cameras_from_splat: NDArray[np.float64]
    held_out: bool


def photograph_views(scene: bpy.types.Scene, splat: bpy.types.Object) -> list[PhotographView]:
    """The scene's photographs that have a camera and a file; those the splat was made without are held out.

    Poses that a result reports, and those that images were rendered at, belong to the space of the training; camera
    objects stand in the world.
    """
    reported = _cameras_of_report(splat.interngs_splat.report_json)
    from_training = np.linalg.inv(splat_since_training(splat))
    from_world = np.array(splat.matrix_world, np.float64)
    views = []
    for row in scene.interngs.photos:
        path = photo_path(row)
        in_training = row.name in reported or bool(row.fixed_camera)
        camera = reported.get(row.name) or _camera_or_none(scene, row)
        if camera is not None and path.is_file():
            held_out = row.name not in reported if reported else not row.use
            views.append(PhotographView(row.name, path, camera, distortion_of_row(scene, row),
                                        from_training if in_training else from_world, held_out))
    return views
