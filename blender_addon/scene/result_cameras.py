# SPDX-License-Identifier: GPL-3.0-or-later
"""The cameras of a result (estimated or refined by the backend) as camera objects with their photographs."""

from __future__ import annotations

import json
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...interngs.errors import InputError
from ...interngs.scene.cameras import Camera, validate_camera
from .cameras import new_camera_object
from .photographs import photo_path


def cameras_of_report(report_json: str) -> dict[str, Camera]:
    """Cameras by view name in a result's report; empty when it names none.

    Raises:
        InputError: the report's cameras are no cameras.
    """
    report: Any = json.loads(report_json) if report_json else {}
    frames = (report.get("cameras") or {}).get("frames") or ()
    cameras = {}
    for frame in frames:
        camera = Camera(np.array(frame["K"], np.float64).reshape(3, 3),
                        np.array(frame["camera_from_world"], np.float64).reshape(4, 4),
                        int(frame["width_px"]), int(frame["height_px"]))
        validate_camera(camera, str(frame["name"]))
        cameras[str(frame["name"])] = camera
    return cameras


def splat_since_training(splat: bpy.types.Object) -> NDArray[np.float64]:
    """[4, 4] from the space that the splat was trained in to its own: what transforms were applied since."""
    return np.array(splat.interngs_place.splat_from_training, np.float64).reshape(4, 4)


def add_result_cameras(scene: bpy.types.Scene, splat: bpy.types.Object) -> list[bpy.types.Object]:
    """Add a result's cameras beside its splat, under the splat's parent or a new empty, and give them to the rows.

    Rows that have a camera already keep it.

    Raises:
        InputError: the report has no cameras.
    """
    cameras = cameras_of_report(splat.interngs_splat.report_json)
    if not cameras:
        raise InputError("no-result-cameras", f"The result {splat.name!r} tells no cameras.", "Reconstruct it again.")
    collection = bpy.data.collections.new(f"Cameras ({splat.name})")
    scene.collection.children.link(collection)
    centres = np.array([camera.centre for camera in cameras.values()])
    reach = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()) or 1.0
    rows = {row.name: row for row in scene.interngs.photos}
    parent = splat.parent
    if parent is None:
        parent = bpy.data.objects.new(f"{splat.name} and cameras", None)
        parent.empty_display_size = 0.3 * reach
        collection.objects.link(parent)
        splat.parent = parent
    made, since = [], splat.matrix_basis @ Matrix(splat_since_training(splat).tolist())
    for name, camera in cameras.items():
        row = rows.get(name)
        fitted = camera
        if row is not None and row.width_px and row.height_px:
            fitted = camera.resized(row.width_px, row.height_px)
        image = photo_path(row) if row is not None and photo_path(row).is_file() else None
        added = new_camera_object(name, fitted, collection, display_size=0.15 * reach, image_path=image)
        local = added.matrix_world.copy()
        added.parent = parent
        added.matrix_parent_inverse = splat.matrix_parent_inverse
        added.matrix_basis = since @ local
        if row is not None and row.camera is None:
            row.camera = added
        made.append(added)
    return made
