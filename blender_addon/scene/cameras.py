# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender camera objects to and from ``interngs`` cameras: pose, lens shift, sensor fit, pixel aspect."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...interngs.errors import InputError
from ...interngs.scene.cameras import ORTHONORMAL_TOLERANCE, Camera
from .lens import CV_FROM_BLENDER, Lens, intrinsics, lens_from_intrinsics

PIXEL_ASPECT = "interngs_pixel_aspect"
"""Custom property of camera data: the pixel aspect of the photograph, which Blender keeps per scene only."""


def lens_of(data: bpy.types.Camera, name: str) -> Lens:
    """The lens of camera data.

    Raises:
        InputError: for orthographic, panoramic and custom cameras.
    """
    if data.type != "PERSP":
        kind = {"ORTHO": "orthographic", "PANO": "panoramic"}.get(data.type, "custom")
        raise InputError("camera-not-perspective", f"Camera {name!r} is {kind}.",
                         "Set its lens type to Perspective, or leave it out.")
    return Lens(data.lens, data.sensor_width, data.sensor_height, data.sensor_fit, data.shift_x, data.shift_y)


def rigid_pose(matrix: Matrix, name: str) -> NDArray[np.float64]:
    """[4, 4] pose of a camera's world matrix without its scale, as Blender renders it.

    Raises:
        InputError: when the camera is mirrored or sheared by its own or a parent's scale.
    """
    pose = np.array(matrix, np.float64)
    lengths = np.linalg.norm(pose[:3, :3], axis=0)
    if lengths.min() < 1e-12:
        raise InputError("camera-no-scale", f"Camera {name!r} has a scale of zero.", "Clear its scale (Alt+S).")
    pose[:3, :3] /= lengths
    error = np.abs(pose[:3, :3].T @ pose[:3, :3] - np.eye(3)).max()
    if error > ORTHONORMAL_TOLERANCE or np.linalg.det(pose[:3, :3]) < 0:
        raise InputError("camera-sheared", f"Camera {name!r} is mirrored or sheared by a scale.",
                         "Clear its scale (Alt+S), or unparent it with Alt+P, Clear and Keep Transformation.")
    u, _, vt = np.linalg.svd(pose[:3, :3])
    pose[:3, :3] = u @ vt
    pose[3] = (0.0, 0.0, 0.0, 1.0)
    return pose


def camera_from_blender(world_from_blender: NDArray[np.float64], K: NDArray[np.float64],
                        width_px: int, height_px: int) -> Camera:
    """The record of a camera given in Blender's axes."""
    return Camera(K, np.linalg.inv(world_from_blender @ CV_FROM_BLENDER), width_px, height_px)


def world_from_blender(camera: Camera) -> NDArray[np.float64]:
    """[4, 4] matrix for a camera object that stands where ``camera`` stands."""
    return camera.world_from_camera @ CV_FROM_BLENDER


def pixel_aspect_of(scene: bpy.types.Scene) -> tuple[float, float]:
    """Width and height of a pixel in a scene's renders."""
    return scene.render.pixel_aspect_x, scene.render.pixel_aspect_y


def camera_of_object(camera_object: bpy.types.Object, width_px: int, height_px: int,
                     pixel_aspect: tuple[float, float]) -> Camera:
    """The camera of an object (constraints, parents and animation included) for an image size.

    A pixel aspect stored on the camera data (an imported photograph's) goes before ``pixel_aspect``.

    Raises:
        InputError: for a lens or transform that no pinhole camera can have.
    """
    evaluated = camera_object.evaluated_get(bpy.context.evaluated_depsgraph_get())
    lens = lens_of(evaluated.data, camera_object.name)
    stored = camera_object.data.get(PIXEL_ASPECT)
    aspect = (float(stored[0]), float(stored[1])) if stored is not None else pixel_aspect
    pose = rigid_pose(evaluated.matrix_world, camera_object.name)
    return camera_from_blender(pose, intrinsics(lens, width_px, height_px, aspect), width_px, height_px)


def place_camera(camera_object: bpy.types.Object, camera: Camera) -> None:
    """Give an existing camera object the lens and pose of ``camera``."""
    lens, aspect = lens_from_intrinsics(camera.K, camera.width_px, camera.height_px)
    data = camera_object.data
    data.type = "PERSP"
    data.lens_unit = "MILLIMETERS"
    data.sensor_fit = lens.sensor_fit
    data.sensor_width, data.sensor_height = lens.sensor_width_mm, lens.sensor_height_mm
    data.lens, data.shift_x, data.shift_y = lens.focal_mm, lens.shift_x, lens.shift_y
    data[PIXEL_ASPECT] = list(aspect)
    camera_object.matrix_world = Matrix(world_from_blender(camera).tolist())


def new_camera_object(name: str, camera: Camera, collection: bpy.types.Collection, *,
                      display_size: float = 1.0, image_path: Path | None = None) -> bpy.types.Object:
    """A new camera object in ``collection`` that stands and looks like ``camera``, with its photograph behind it."""
    data = bpy.data.cameras.new(name)
    camera_object = bpy.data.objects.new(name, data)
    collection.objects.link(camera_object)
    data.display_size = display_size
    place_camera(camera_object, camera)
    if image_path is not None:
        show_photograph(camera_object, image_path)
    return camera_object


def show_photograph(camera_object: bpy.types.Object, image_path: Path) -> None:
    """Show a photograph as the camera's background image, so that an artist sees whether it fits."""
    data = camera_object.data
    image = bpy.data.images.load(str(image_path), check_existing=True)
    background = data.background_images[0] if len(data.background_images) else data.background_images.new()
    background.image = image
    background.alpha = 0.7
    background.frame_method = "FIT"
    data.show_background_images = True
