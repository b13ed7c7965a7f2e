# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 9, Compare: the splat beside its photographs, in the view and as a page."""

from __future__ import annotations

from typing import ClassVar

import bpy

from ..scene.compare import compared_row
from .parts import TabPanel


class INTERNGS_PT_compare(TabPanel, bpy.types.Panel):
    """See how near the splat comes to its photographs."""

    bl_idname = "INTERNGS_PT_compare"
    bl_label = "Compare"
    bl_order = 9
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """The wipe and its photograph, and the report page."""
        layout, settings = self.layout, context.window_manager.interngs_finish
        if settings.compare:
            row = layout.row(align=True)
            row.operator("interngs.compare", text="", icon="TRIA_LEFT").step = -1
            shown = compared_row(context.scene)
            row.label(text=shown.name if shown is not None else "No photograph has this camera")
            row.operator("interngs.compare", text="", icon="TRIA_RIGHT").step = 1
            layout.prop(settings, "wipe", slider=True)
            layout.operator("interngs.end_compare", icon="X")
        else:
            layout.operator("interngs.compare", icon="ARROW_LEFTRIGHT").step = 0
        layout.operator("interngs.report_page", icon="URL")


CLASSES = (INTERNGS_PT_compare,)
