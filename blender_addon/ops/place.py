# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply a transform, lay a splat on the floor, scale it to a known distance, put its origin to its base."""

from __future__ import annotations

from typing import ClassVar

import bpy
import numpy as np
from bpy.props import BoolProperty, FloatProperty, FloatVectorProperty
from mathutils import Matrix

from ...interngs.errors import InputError
from ...interngs.scene.placement import Plane, floor_matrix, main_plane, plane_through, scale_matrix
from ..scene.placing import about, move_in_world, moved_object, origin_to_base, world_positions
from ..scene.splat_edit import is_uniform, keep_children, prepare_transform, show_transformed
from ..scene.splat_object import is_splat
from ..scene.training_views import training_views
from ..session.marking import marking
from .guarded import GuardedOperator
from .on_splat import OnSplat
from .picking import PickOperator
from .threaded import ThreadedOperator

WITH_CAMERAS = {
    "name": "With Its Cameras", "default": True,
    "description": "Move the empty that the splat and its cameras hang on; off moves the splat alone"}


class INTERNGS_OT_apply_transform(OnSplat, ThreadedOperator, bpy.types.Operator):
    """Apply location, rotation and scale of the selected splats to their Gaussians: positions, sizes, rotations and view-dependent colour together"""  # noqa: E501

    bl_idname = "interngs.apply_transform"
    bl_label = "Apply Transform to Gaussians"
    bl_options: ClassVar = {"REGISTER", "UNDO"}
    doing = "Turning the Gaussians"

    def prepare(self, context):
        """Read every selected splat that is not in place already."""
        splats = {each.name: each for each in (*context.selected_objects, context.active_object) if is_splat(each)}
        self._before = {name: np.array(each.matrix_basis, np.float64) for name, each in splats.items()}
        work = {name: prepare_transform(each, self._before[name]) for name, each in splats.items()
                if not np.array_equal(self._before[name], np.eye(4))}
        return lambda: {name: transform() for name, transform in work.items()}

    def finish(self, _context, outcome):
        """Write them back, and clear the objects' transforms."""
        if not outcome:
            self.report({"INFO"}, "There is no transform to apply")
            return {"CANCELLED"}
        for name in outcome:
            splat = bpy.data.objects.get(name)
            if splat is None or not np.array_equal(np.array(splat.matrix_basis, np.float64), self._before[name]):
                raise InputError("splat-changed", f"{name!r} was moved while its Gaussians were turned.",
                                 "Apply the transform again.")
        for name, transformed in outcome.items():
            splat = bpy.data.objects[name]
            show_transformed(splat, transformed)
            splat.matrix_basis = Matrix()
            keep_children(splat, transformed.new_from_old)
        marking().changed()
        stretched = [name for name, each in outcome.items() if not is_uniform(each.new_from_old)]
        if stretched:
            self.report({"WARNING"}, f"{', '.join(stretched)} had unequal scales: the shapes are exact, but colour "
                                     "that changes with the view is only turned")
        return {"FINISHED"}


def _lay_down(operator, context, plane: Plane) -> set[str]:
    splat = context.active_object
    views = training_views(context.scene, splat)
    above = np.array([camera.centre for camera in views.cameras.values()]).reshape(-1, 3)
    if len(above):      # cameras stand above the floor; they may be in another space than the world
        world = np.array(splat.matrix_world, np.float64) @ np.linalg.inv(views.cameras_from_splat)
        above = above @ world[:3, :3].T + world[:3, 3]
    else:
        above = world_positions(splat)
    move_in_world(moved_object(splat, operator.with_cameras), floor_matrix(plane, above))
    operator.report({"INFO"}, "The floor is level at height 0")
    return {"FINISHED"}


class INTERNGS_OT_fit_floor(OnSplat, ThreadedOperator, bpy.types.Operator):
    """Find the plane that most of the splat lies on, and lay it level at height 0"""

    bl_idname = "interngs.fit_floor"
    bl_label = "Lay Main Plane Down"
    bl_options: ClassVar = {"REGISTER", "UNDO"}
    doing = "Looking for the floor"

    with_cameras: BoolProperty(**WITH_CAMERAS)

    def prepare(self, context):
        """Read the opaque Gaussians' centres."""
        points = world_positions(context.active_object, opaque_only=True)
        return lambda: main_plane(points)

    def finish(self, context, outcome):
        """Move the splat."""
        if not type(self).poll(context):
            raise InputError("splat-changed", "Another object was selected meanwhile.", "Select the splat, try again.")
        result = _lay_down(self, context, outcome)
        self.report({"INFO"}, f"{outcome.share:.0%} of the Gaussians lie on the plane that is the floor now")
        return result


class INTERNGS_OT_pick_floor(OnSplat, PickOperator, bpy.types.Operator):
    """Click three points of the floor; it is laid level at height 0"""

    bl_idname = "interngs.pick_floor"
    bl_label = "Pick Floor"
    bl_options: ClassVar = {"REGISTER", "UNDO"}
    wanted, asking = 3, "Click three points of the floor that span a wide triangle"

    points: FloatVectorProperty(
        name="Points", size=9, options={"HIDDEN", "SKIP_SAVE"}, description="Three points of the floor, world space")
    with_cameras: BoolProperty(**WITH_CAMERAS)

    def picked(self, context, points):
        """All three."""
        self.points = [coordinate for point in points for coordinate in point]
        return self.execute(context)

    def run(self, context):
        """Move the splat."""
        return _lay_down(self, context, plane_through(np.array(self.points).reshape(3, 3)))


class INTERNGS_OT_pick_distance(OnSplat, PickOperator, bpy.types.Operator):
    """Click two points whose true distance you know, then type it; the splat is scaled to it"""

    bl_idname = "interngs.pick_distance"
    bl_label = "Scale by Known Distance"
    wanted, asking = 2, "Click two points whose distance you know"

    def picked(self, _context, points):
        """Both: ask for the distance."""
        first, second = points
        bpy.ops.interngs.scale_by_distance("INVOKE_DEFAULT", first=first, second=second)
        return {"FINISHED"}


class INTERNGS_OT_scale_by_distance(OnSplat, GuardedOperator, bpy.types.Operator):
    """Scale the splat so that two points lie as far apart as they do in truth"""

    bl_idname = "interngs.scale_by_distance"
    bl_label = "Scale to Distance"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    first: FloatVectorProperty(name="First Point", subtype="XYZ", options={"HIDDEN", "SKIP_SAVE"})
    second: FloatVectorProperty(name="Second Point", subtype="XYZ", options={"HIDDEN", "SKIP_SAVE"})
    distance: FloatProperty(
        name="True Distance", default=1.0, min=0.0, unit="LENGTH", description="How far apart the two points truly are")
    with_cameras: BoolProperty(**WITH_CAMERAS)

    def invoke(self, context, _event):
        """Ask for the distance; what was measured is the proposal."""
        self.distance = float(np.linalg.norm(np.subtract(self.second, self.first)))
        return context.window_manager.invoke_props_dialog(self)

    def run(self, context):
        """Scale about the origin of what is moved, so that it stays in place."""
        moved = moved_object(context.active_object, self.with_cameras)
        matrix = scale_matrix(np.array(self.first), np.array(self.second), self.distance)
        move_in_world(moved, about(np.array(moved.matrix_world.translation, np.float64), matrix))
        self.report({"INFO"}, f"Scaled by {matrix[0, 0]:.4g}")
        return {"FINISHED"}


class INTERNGS_OT_origin_to_base(OnSplat, GuardedOperator, bpy.types.Operator):
    """Put the origin to the middle of the splat's base, so that it stands on things; nothing moves"""

    bl_idname = "interngs.origin_to_base"
    bl_label = "Origin to Base"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context):
        """Move the origin."""
        origin_to_base(context.active_object)
        marking().changed()
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_apply_transform, INTERNGS_OT_fit_floor, INTERNGS_OT_pick_floor, INTERNGS_OT_pick_distance,
           INTERNGS_OT_scale_by_distance, INTERNGS_OT_origin_to_base)
