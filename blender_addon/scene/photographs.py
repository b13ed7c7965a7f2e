# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the photograph list: files in, cameras matched and imported, and out again as the capture that is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ...interngs.errors import InputError
from ...interngs.formats.image_header import read_image_header
from ...interngs.link.sources import CaptureSource, ViewSource
from ...interngs.scene.cameras import Camera
from ...interngs.scene.capture import CaptureFiles, Distortion
from .cameras import camera_of_object, new_camera_object, pixel_aspect_of
from .capture import CapturedView
from .world_frame import upright_world

SMALLEST_SIDE_PX = 64


def photo_path(row: bpy.types.PropertyGroup) -> Path:
    """The absolute path of a row's photograph."""
    return Path(bpy.path.abspath(row.path))


def optional_path(text: str) -> Path | None:
    """An absolute path, or None for an empty property."""
    return Path(bpy.path.abspath(text)) if text else None


def stored_path(path: Path) -> str:
    """How a path is kept: relative to a saved .blend on the same drive, else absolute."""
    if not bpy.data.filepath:
        return str(path)
    try:
        return bpy.path.relpath(str(path))
    except ValueError:
        return str(path)


def find_row(settings: bpy.types.PropertyGroup, path: Path) -> bpy.types.PropertyGroup | None:
    """The row that shows a file."""
    return next((row for row in settings.photos if photo_path(row) == path), None)


def add_photograph(settings: bpy.types.PropertyGroup, path: Path) -> bpy.types.PropertyGroup | None:
    """Add a file to the list; None when it is there already.

    Raises:
        InputError: the file is missing, no photograph, or too large.
    """
    header = read_image_header(path)
    if header.animated:
        raise InputError("image-type", f"{path.name} is an animation.", "Export single pictures from it.")
    if find_row(settings, path) is not None:
        return None
    row = settings.photos.add()
    row.name = path.stem
    row.path = stored_path(path)
    row.width_px, row.height_px = header.upright_size_px
    settings.active_photo = len(settings.photos) - 1
    return row


def match_cameras(scene: bpy.types.Scene) -> int:
    """Give each row without a camera the scene's camera of the same name; returns how many got one."""
    cameras = {each.name.lower(): each for each in scene.objects if each.type == "CAMERA"}
    cameras |= {Path(name).stem: each for name, each in cameras.items()}
    matched = 0
    for row in scene.interngs.photos:
        path = photo_path(row)
        found = cameras.get(path.stem.lower()) or cameras.get(path.name.lower())
        if row.camera is None and found is not None:
            row.camera = found
            matched += 1
    return matched


def camera_to_json(camera: Camera) -> str:
    """A camera as text for a property (float64, nothing lost)."""
    return json.dumps({"K": camera.K.tolist(), "camera_from_world": camera.camera_from_world.tolist(),
                       "size_px": [camera.width_px, camera.height_px]})


def camera_from_json(text: str) -> Camera:
    """The camera of ``camera_to_json``."""
    values = json.loads(text)
    return Camera(np.array(values["K"], np.float64), np.array(values["camera_from_world"], np.float64),
                  *map(int, values["size_px"]))


def camera_of_row(scene: bpy.types.Scene, row: bpy.types.PropertyGroup, *, captured: bool = True) -> Camera | None:
    """The camera of a photograph: the pose it was captured with (if ``captured``), else its camera object's, else None.

    Raises:
        InputError: the camera object is no pinhole camera.
    """
    if row.fixed_camera and captured:
        return camera_from_json(row.fixed_camera)
    if row.camera is None:
        return None
    return camera_of_object(row.camera, row.width_px, row.height_px, pixel_aspect_of(scene))


def distortion_of_row(scene: bpy.types.Scene, row: bpy.types.PropertyGroup) -> Distortion:
    """The lens of a photograph: what came with its pose; none where poses are estimated (for ideal lenses)."""
    if not row.distortion or scene.interngs.job.poses == "ESTIMATE":
        return Distortion()
    values = json.loads(row.distortion)
    return Distortion(values["model"], tuple(values["parameters"]))


def used_rows(settings: bpy.types.PropertyGroup) -> list[bpy.types.PropertyGroup]:
    """The rows that are switched on."""
    return [row for row in settings.photos if row.use]


def capture_source(scene: bpy.types.Scene) -> CaptureSource:
    """What is sent to the backend.

    Raises:
        InputError: no photographs, missing files, or missing poses.
    """
    settings = scene.interngs
    rows = used_rows(settings)
    if not rows:
        raise InputError("no-photos", "No photograph is in use.", "Add photographs, or capture the scene's cameras.")
    estimate = settings.job.poses == "ESTIMATE"
    views, without = [], []
    for row in rows:
        path = photo_path(row)
        if not path.is_file():
            raise InputError("image-missing", f"{path} does not exist.", "Restore it, or remove it from the list.")
        camera = None if estimate else camera_of_row(scene, row)
        if camera is None and not estimate:
            without.append(row.name)
        views.append(ViewSource(
            row.name, path, camera, distortion_of_row(scene, row),
            optional_path(row.mask_path), None if estimate else optional_path(row.depth_path)))
    if without:
        shown = ", ".join(without[:4]) + (f" and {len(without) - 4} more" if len(without) > 4 else "")
        raise InputError("pose-missing", f"No camera is known for {shown}.",
                         "Give each photograph a camera, import a pose file, or set Poses to Estimate.")
    return CaptureSource(tuple(views), "poses to be estimated" if estimate else "Blender cameras")


def job_settings(scene: bpy.types.Scene) -> dict[str, Any]:
    """The reconstruction's settings as the service takes them: what differs from the preset."""
    chosen = scene.interngs.job
    settings: dict[str, Any] = {"preset": chosen.preset, "geometry": chosen.geometry, "seed": chosen.seed}
    if chosen.depth_prior != "auto":
        settings["depth_prior"] = chosen.depth_prior
    if chosen.appearance_prior != "none":
        settings["appearance_prior"] = chosen.appearance_prior
    if chosen.max_side_px:
        settings["max_side_px"] = max(chosen.max_side_px, SMALLEST_SIDE_PX)
    return settings


def capture_signature(scene: bpy.types.Scene) -> str:
    """A text that changes when what would be sent changes (poses of camera objects left out)."""
    rows = [(row.path, row.use, row.mask_path, row.camera.name if row.camera else "", bool(row.fixed_camera))
            for row in scene.interngs.photos]
    return repr((rows, job_settings(scene), scene.interngs.job.poses))


def common_parent(rows: list[bpy.types.PropertyGroup]) -> bpy.types.Object | None:
    """The object that the cameras of all rows hang on, if there is one; the Gaussians then follow it too."""
    parents = {row.camera.parent if row.camera is not None else None for row in rows}
    return parents.pop() if len(parents) == 1 else None


def take_captured(scene: bpy.types.Scene, views: list[CapturedView]) -> None:
    """Put what a scene capture rendered into the list, with the poses at which it was rendered."""
    settings = scene.interngs
    for view in views:
        row = find_row(settings, view.image_path) or add_photograph(settings, view.image_path)
        if row is None:
            continue
        row.name = view.name
        row.width_px, row.height_px = view.camera.width_px, view.camera.height_px
        row.camera = bpy.data.objects.get(view.name)
        row.fixed_camera, row.distortion = camera_to_json(view.camera), ""
        row.depth_path = stored_path(view.depth_path) if view.depth_path else ""
        row.mask_path = stored_path(view.mask_path) if view.mask_path else ""
        row.warning = ""


def import_cameras(scene: bpy.types.Scene, capture: CaptureFiles, *, upright: bool,
                   background_images: bool) -> bpy.types.Object | None:
    """Add a pose file's photographs to the list and its cameras to the scene, under one empty.

    Args:
        scene: the scene.
        capture: the pose file's content.
        upright: turn the cameras' world so that the mean camera stands upright (Z up).
        background_images: show each photograph behind its camera.

    Returns:
        The empty, or None when no view has a camera.
    """
    posed = [view.camera for view in capture.views if view.camera is not None]
    empty = None
    if posed:
        collection = bpy.data.collections.new(f"Cameras ({capture.source.split(' ')[0]})")
        scene.collection.children.link(collection)
        empty = bpy.data.objects.new(collection.name, None)
        collection.objects.link(empty)
        centres = np.array([camera.centre for camera in posed])
        reach = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()) or 1.0
        empty.empty_display_size = 0.3 * reach
        if upright:
            empty.matrix_world = Matrix(upright_world(posed).tolist())
    for view in capture.views:
        row = find_row(scene.interngs, view.image_path) or add_photograph(scene.interngs, view.image_path)
        row.mask_path = stored_path(view.mask_path) if view.mask_path else row.mask_path
        row.depth_path = stored_path(view.depth_path) if view.depth_path else row.depth_path
        row.fixed_camera = ""
        row.distortion = "" if view.distortion.model == "PINHOLE" else json.dumps(
            {"model": view.distortion.model, "parameters": list(view.distortion.parameters)})
        if view.camera is not None and empty is not None:
            row.width_px, row.height_px = view.camera.width_px, view.camera.height_px
            made = new_camera_object(row.name, view.camera, empty.users_collection[0], display_size=0.15 * reach,
                                     image_path=view.image_path if background_images else None)
            local = made.matrix_world.copy()
            made.parent = empty
            made.matrix_basis = local
            row.camera = made
    return empty
