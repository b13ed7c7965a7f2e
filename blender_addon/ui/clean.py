# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 6, Clean: crops and filters of the active splat, each with its live count."""

from __future__ import annotations

from typing import ClassVar

import bpy

from ..compat import icon
from ..scene.splat_object import is_splat, point_count
from ..session.marking import marking
from ..session.wording import number
from .parts import TabPanel, draw_text

FILTER_ROWS = (("opacity", "use_opacity", ("min_opacity",)), ("size", "use_size", ("max_size",)),
               ("needles", "use_needles", ("max_needle",)), ("isolated", "use_isolated",
                                                             ("max_isolation", "max_sparsity")),
               ("support", "use_support", ("min_views",)), ("hull", "use_hull", ("hull_reach",)),
               ("depth", "use_depth", ("depth_tolerance",)))
FILTER_ICONS = {"box": "COLORSET_04_VEC", "sphere": "COLORSET_05_VEC", "opacity": "COLORSET_09_VEC",
                "size": "COLORSET_02_VEC", "needles": "COLORSET_06_VEC", "isolated": "COLORSET_01_VEC",
                "support": "COLORSET_03_VEC", "hull": "COLORSET_08_VEC", "depth": "COLORSET_07_VEC"}
"""Signs in the colours of the overlay."""


class INTERNGS_PT_clean(TabPanel, bpy.types.Panel):
    """Remove what does not belong to the splat."""

    bl_idname = "INTERNGS_PT_clean"
    bl_label = "Clean"
    bl_order = 6
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """Crops, filters, what they would remove together, and the buttons."""
        layout, active = self.layout, context.active_object
        layout.use_property_decorate = False
        if is_splat(active) and context.mode != "OBJECT":
            draw_text(layout, context, "Select with B, C or the lasso; delete with X; Tab leaves edit mode.",
                      "EDITMODE_HLT")
            return
        if not is_splat(active):
            draw_text(layout, context, "Select an object that holds Gaussians.", "INFO")
            return
        marked = marking().want(active)
        counts = marked.marks.counts if marked is not None and marked.marks is not None else {}
        settings = active.interngs_clean
        for shape in ("box", "sphere"):
            self._draw_crop(layout, settings, shape, counts)
        column = layout.column(align=True)
        for name, switch, numbers in FILTER_ROWS:
            self._draw_filter(column, settings, name, switch, numbers, counts)
        self._draw_sum(layout, context, active, marked)
        layout.prop(context.window_manager.interngs_finish, "show_marked", icon="OVERLAY", toggle=True)
        row = layout.row()
        row.scale_y = 1.4
        row.operator("interngs.clean", icon="TRASH")
        row = layout.row(align=True)
        row.operator("interngs.edit_points", icon="EDITMODE_HLT").select = "NONE"
        row.operator("interngs.edit_points", text="Edit Marked").select = "MARKED"

    @staticmethod
    def _draw_crop(layout, settings, shape, counts):
        row = layout.row(align=True)
        row.prop(settings, shape, icon="MESH_CUBE" if shape == "box" else "MESH_UVSPHERE")
        row.operator("interngs.add_crop", text="", icon="ADD").shape = shape
        if getattr(settings, shape) is not None:
            row = layout.row(align=True)
            row.prop(settings, f"{shape}_keep", text="")
            row.label(text=number(counts[shape]) if shape in counts else "", icon=icon(FILTER_ICONS[shape]))

    @staticmethod
    def _draw_filter(column, settings, name, switch, numbers, counts):
        is_on = getattr(settings, switch)
        split = column.split(factor=0.72, align=True)
        row = split.row(align=True)
        row.prop(settings, switch, text="")
        field = row.row(align=True)
        field.active = is_on
        field.prop(settings, numbers[0], text=settings.bl_rna.properties[switch].name)
        split.label(text=number(counts[name]) if is_on and name in counts else "",
                    icon=icon(FILTER_ICONS[name]) if is_on else "NONE")
        for extra in numbers[1:] if is_on else ():
            split = column.split(factor=0.72, align=True)
            row = split.row(align=True)
            row.label(text="", icon="BLANK1")
            row.prop(settings, extra)

    @staticmethod
    def _draw_sum(layout, context, splat, marked):
        if marked is None or (marked.marks is None and not marked.error):
            layout.label(text="Measuring ...", icon="SORTTIME")
        elif marked.error:
            draw_text(layout, context, marked.error, "ERROR", alert=True)
        else:
            words = f"{number(marked.marks.removed)} of {number(point_count(splat.data))} marked"
            layout.label(text=words if marked.is_current else f"{words} ...", icon="SORTTIME"
                         if not marked.is_current else "CHECKMARK")


CLASSES = (INTERNGS_PT_clean,)
