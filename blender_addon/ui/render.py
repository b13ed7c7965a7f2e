# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel of final renders."""

from __future__ import annotations

import bpy

from ..compat import has_native_splats
from ..scene.splat_facts import shown_splat
from ..session.session import session
from .parts import TabPanel, draw_text


class INTERNGS_PT_render(TabPanel, bpy.types.Panel):
    """Splats in the final picture."""

    bl_idname = "INTERNGS_PT_render"
    bl_label = "Render"
    bl_order = 8

    @classmethod
    def poll(cls, context):
        """A splat."""
        return shown_splat(context) is not None

    def draw(self, context):
        """Who renders the active splat, frames, the button, merging."""
        layout, settings = self.layout, context.scene.interngs_render
        layout.use_property_split = True
        layout.use_property_decorate = False
        splat = shown_splat(context)
        if not has_native_splats():
            layout.prop(splat.interngs_render, "rendered_by")
            if splat.interngs_render.rendered_by == "SPLATS":
                draw_text(layout, context, "F12 leaves it out, until it is rendered here and merged.", "INFO")
        layout.row().prop(settings, "frames", expand=True)
        layout.prop(settings, "folder")
        render = session().renders.current
        if render is None:
            row = layout.row()
            row.scale_y = 1.4
            row.operator("interngs.render_splats", icon="RENDER_STILL")
        else:
            row = layout.row(align=True)
            row.progress(factor=render.fraction, text=f"{render.done} of {render.frames} frames")
            row.operator("interngs.cancel_render", text="", icon="X")
        layout.operator("interngs.merge_render", icon="NODE_COMPOSITING")


CLASSES = (INTERNGS_PT_render,)
