# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 7, Place: where the splat stands, how large it is, and its origin."""

from __future__ import annotations

from typing import ClassVar

import bpy
import numpy as np

from ..scene.splat_object import is_splat
from .parts import TabPanel, draw_text


class INTERNGS_PT_place(TabPanel, bpy.types.Panel):
    """Put the splat where it belongs."""

    bl_idname = "INTERNGS_PT_place"
    bl_label = "Place"
    bl_order = 7
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """Floor, scale, origin, and applying the transform."""
        layout, active = self.layout, context.active_object
        if not is_splat(active):
            draw_text(layout, context, "Select an object that holds Gaussians.", "INFO")
            return
        layout.label(text="Size  " + " x ".join(f"{side:.3g}" for side in active.dimensions), icon="CUBE")
        column = layout.column(align=True)
        column.operator("interngs.pick_floor", icon="EYEDROPPER")
        column.operator("interngs.fit_floor", icon="MESH_PLANE")
        layout.operator("interngs.pick_distance", icon="DRIVER_DISTANCE")
        layout.operator("interngs.origin_to_base", icon="OBJECT_ORIGIN")
        layout.operator("interngs.apply_transform", icon="CON_TRANSFORM_CACHE")
        scales = np.abs(np.array(active.scale))
        if scales.max() - scales.min() > 1e-4 * scales.max():
            draw_text(layout, context, "Its scales are not equal: applied, the shapes are exact, but colour that "
                                       "changes with the view is only turned.", "INFO")


CLASSES = (INTERNGS_PT_place,)
