# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the splat with its photographs, in the 3D view, by a wipe."""

from __future__ import annotations

from typing import ClassVar

import bpy
from bpy.props import IntProperty

from ...interngs.errors import InputError
from ..scene.compare import comparable_rows, compared_row, restore_backgrounds, show_row
from ..session.session import redraw_views
from .guarded import GuardedOperator


class INTERNGS_OT_compare(GuardedOperator, bpy.types.Operator):
    """Look through a photograph's camera, with the photograph over the left part of the view"""

    bl_idname = "interngs.compare"
    bl_label = "Compare with Photographs"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    step: IntProperty(
        name="Step", default=0, options={"SKIP_SAVE"},
        description="0 begins with the scene's camera or the first photograph; 1 is the next, -1 the one before")

    @classmethod
    def poll(cls, context):
        """Photographs with cameras."""
        if not any(row.camera is not None for row in context.scene.interngs.photos):
            cls.poll_message_set("No photograph has a camera object")
            return False
        return True

    def run(self, context):
        """Choose the photograph, switch the view."""
        rows = comparable_rows(context.scene)
        if not rows:
            raise InputError("no-posed-photos", "No photograph has both its file and a camera object in this scene.",
                             "Give the photographs cameras, or restore their files.")
        now = compared_row(context.scene)
        place = next((index for index, row in enumerate(rows) if row == now), None)
        row = rows[((0 if place is None else place) + self.step) % len(rows)]
        show_row(context.scene, row)
        context.window_manager.interngs_finish.compare = True
        if context.space_data is not None and context.space_data.type == "VIEW_3D":
            context.space_data.region_3d.view_perspective = "CAMERA"
        redraw_views()
        return {"FINISHED"}


class INTERNGS_OT_end_compare(GuardedOperator, bpy.types.Operator):
    """Show the whole splat again"""

    bl_idname = "interngs.end_compare"
    bl_label = "End Comparison"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context):
        """Switch off."""
        context.window_manager.interngs_finish.compare = False
        restore_backgrounds()
        redraw_views()
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_compare, INTERNGS_OT_end_compare)
