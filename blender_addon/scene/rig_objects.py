# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a camera rig around the selection as ordinary camera objects."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from .cameras import pixel_aspect_of
from .lens import Lens, half_angle_rad
from .rig import RigLayout, directions, fitting_distance, world_from_blender_camera

RIG_COLLECTION = "Intern-GS Rig"
WITHOUT_SURFACE = {"CAMERA", "LIGHT", "LIGHT_PROBE", "SPEAKER", "EMPTY", "LATTICE", "ARMATURE"}


def bounding_sphere(objects: list[bpy.types.Object]) -> tuple[NDArray[np.float64], float]:
    """(centre [3], radius) of the world bounding box of evaluated objects, modifiers included."""
    graph = bpy.context.evaluated_depsgraph_get()
    corners = []
    for each in objects:
        evaluated = each.evaluated_get(graph)
        corners += [evaluated.matrix_world @ Vector(corner) for corner in evaluated.bound_box]
    points = np.array(corners, np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2.0, max(float(np.linalg.norm(high - low)) / 2.0, 1e-4)


def rig_target(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The objects that a rig is made around: the selected ones with a surface."""
    return [each for each in context.selected_objects if each.type not in WITHOUT_SURFACE]


def heading_of_view(context: bpy.types.Context) -> float:
    """Direction from the target to the viewer, radians from +X; the front (-Y) when no 3D view is at hand."""
    space = context.space_data
    if space is not None and space.type == "VIEW_3D" and space.region_3d is not None:
        backward = space.region_3d.view_rotation @ Vector((0.0, 0.0, 1.0))
        if abs(backward.z) < 0.95:
            return float(np.arctan2(backward.y, backward.x))
    return -float(np.pi) / 2.0


def add_rig(context: bpy.types.Context) -> list[bpy.types.Object]:
    """Add the cameras that the scene's rig settings describe, select them, and return them."""
    scene = context.scene
    settings, capture = scene.interngs.rig, scene.interngs.capture
    centre, radius = bounding_sphere(rig_target(context))
    lens = Lens(settings.focal_mm)
    angle = half_angle_rad(lens, capture.width_px, capture.height_px, pixel_aspect_of(scene))
    distance = fitting_distance(radius, angle) * settings.distance_factor
    layout = RigLayout(settings.kind, settings.count, settings.elevation, settings.span, heading_of_view(context))
    collection = bpy.data.collections.new(RIG_COLLECTION)
    scene.collection.children.link(collection)
    made = []
    for number, direction in enumerate(directions(layout), start=1):
        data = bpy.data.cameras.new(f"{settings.kind.title()} {number:02d}")
        data.lens = settings.focal_mm
        data.display_size = 0.1 * distance
        data.clip_start, data.clip_end = min(0.1, distance / 100.0), max(1000.0, distance * 100.0)
        camera = bpy.data.objects.new(data.name, data)
        camera.matrix_world = Matrix(world_from_blender_camera(centre + distance * direction, centre).tolist())
        collection.objects.link(camera)
        made.append(camera)
    settings.collection = collection
    for each in context.selected_objects:
        each.select_set(False)
    for camera in made:
        camera.select_set(True)
    context.view_layer.objects.active = made[0]
    return made
