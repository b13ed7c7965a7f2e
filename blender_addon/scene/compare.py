# SPDX-License-Identifier: GPL-3.0-or-later
"""Which photograph a camera view is compared with, and its picture."""

from __future__ import annotations

import bpy

from .photographs import photo_path

HIDDEN = {"show_background_images": "interngs_background_hidden", "show_passepartout": "interngs_passepartout_hidden"}
"""What camera data shows over the splat, and the custom property that says it is hidden while it is compared with."""


def comparable_rows(scene: bpy.types.Scene) -> list[bpy.types.PropertyGroup]:
    """The photographs that have a camera object in the scene and their file."""
    return [row for row in scene.interngs.photos
            if row.camera is not None and row.camera.name in scene.objects and photo_path(row).is_file()]


def compared_row(scene: bpy.types.Scene) -> bpy.types.PropertyGroup | None:
    """The photograph of the scene's camera."""
    if scene.camera is None:
        return None
    return next((row for row in scene.interngs.photos if row.camera == scene.camera), None)


def photograph_image(row: bpy.types.PropertyGroup) -> bpy.types.Image | None:
    """The image data-block of a row's photograph, if it was loaded."""
    path = photo_path(row)
    return next((image for image in bpy.data.images if image.source == "FILE" and image.filepath
                 and bpy.path.abspath(image.filepath) == str(path)), None)


def show_row(scene: bpy.types.Scene, row: bpy.types.PropertyGroup) -> None:
    """Make a photograph's camera the scene's, load its picture, and hide what the camera shows over the splat."""
    restore_backgrounds()
    scene.camera = row.camera
    if photograph_image(row) is None:
        bpy.data.images.load(str(photo_path(row)), check_existing=True)
    for shown, hidden in HIDDEN.items():
        if getattr(row.camera.data, shown):
            setattr(row.camera.data, shown, False)
            row.camera.data[hidden] = True


def restore_backgrounds() -> None:
    """Show again what ``show_row`` hid."""
    for data in bpy.data.cameras:
        for shown, hidden in HIDDEN.items():
            if data.get(hidden):
                setattr(data, shown, True)
                del data[hidden]
