# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 3, Scene Capture: a camera rig, and rendering cameras into photographs with depth and mask."""

from __future__ import annotations

from typing import ClassVar

import bpy

from ..session.state import session_state
from .parts import TabPanel


class INTERNGS_PT_capture(TabPanel, bpy.types.Panel):
    """Render the scene's own cameras instead of taking photographs."""

    bl_idname = "INTERNGS_PT_capture"
    bl_label = "Scene Capture"
    bl_order = 3
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """Which cameras, how, and go."""
        layout, settings = self.layout, context.scene.interngs.capture
        layout.use_property_split = True
        layout.use_property_decorate = False
        row = layout.row(align=True)
        row.use_property_split = False
        row.prop(settings, "source", expand=True)
        layout.prop(settings, "engine")
        column = layout.column(align=True)
        column.prop(settings, "width_px")
        column.prop(settings, "height_px")
        if settings.engine == "SCENE" and context.scene.render.engine == "CYCLES":
            layout.prop(settings, "samples")
        layout.prop(settings, "depth")
        layout.prop(settings, "mask")
        if settings.mask:
            layout.prop(settings, "subject")
        layout.prop(settings, "folder")
        progress = session_state().capture
        if progress is None:
            row = layout.row()
            row.scale_y = 1.4
            row.operator("interngs.capture", icon="RENDER_STILL")
            return
        layout.progress(factor=progress.done / max(progress.total, 1),
                        text=f"{progress.camera}: {progress.done} of {progress.total}")
        layout.operator("interngs.cancel_capture", icon="CANCEL")


class INTERNGS_PT_rig(TabPanel, bpy.types.Panel):
    """Cameras around the selection in one click."""

    bl_idname = "INTERNGS_PT_rig"
    bl_label = "Camera Rig"
    bl_parent_id = "INTERNGS_PT_capture"

    def draw(self, context):
        """Shape and size, and the button."""
        layout, settings = self.layout, context.scene.interngs.rig
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.row().prop(settings, "kind", expand=True)
        layout.prop(settings, "count")
        layout.prop(settings, "elevation")
        if settings.kind == "ARC":
            layout.prop(settings, "span")
        layout.prop(settings, "focal_mm")
        layout.prop(settings, "distance_factor")
        layout.operator("interngs.add_rig", icon="CAMERA_DATA")


CLASSES = (INTERNGS_PT_capture, INTERNGS_PT_rig)
