# SPDX-License-Identifier: GPL-3.0-or-later
"""How the add-on draws Gaussians in the 3D views, below the result."""

from __future__ import annotations

import bpy

from ..compat import has_native_splats
from ..scene.splat_facts import shown_splat
from .parts import TabPanel


class INTERNGS_PT_preview(TabPanel, bpy.types.Panel):
    """Draw true Gaussians in the 3D views."""

    bl_idname = "INTERNGS_PT_preview"
    bl_label = "Draw Gaussians"
    bl_parent_id = "INTERNGS_PT_result"
    bl_order = 0

    @classmethod
    def poll(cls, context):
        """Only where Blender does not draw splats itself, and there is one."""
        return not has_native_splats() and shown_splat(context) is not None

    def draw_header(self, context):
        """The switch."""
        self.layout.prop(context.window_manager.interngs, "show_preview", text="")

    def draw(self, context):
        """Mode and sliders."""
        layout, settings = self.layout, context.window_manager.interngs
        layout.active = settings.show_preview
        layout.row().prop(settings, "preview_mode", expand=True)
        row = layout.row(align=True)
        row.prop(settings, "preview_opacity", slider=True)
        row.prop(settings, "preview_size", slider=True)


CLASSES = (INTERNGS_PT_preview,)
