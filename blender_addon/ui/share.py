# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 10, Import and Export: splat files, and the asset browser."""

from __future__ import annotations

from typing import ClassVar

import bpy

from ..scene.splat_object import is_splat
from .parts import TabPanel, draw_text


class INTERNGS_PT_share(TabPanel, bpy.types.Panel):
    """Splats from and for other programs."""

    bl_idname = "INTERNGS_PT_share"
    bl_label = "Import and Export"
    bl_order = 10
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """Import, export, asset."""
        layout = self.layout
        row = layout.row(align=True)
        row.operator("interngs.import_splats", text="Import ...", icon="IMPORT")
        row.operator("interngs.export_splats", text="Export ...", icon="EXPORT")
        draw_text(layout, context, "Files can be dropped into the 3D view as well.")
        if is_splat(context.active_object):
            is_asset = context.active_object.asset_data is not None
            layout.operator("interngs.mark_asset", text="Renew Asset's Thumbnail" if is_asset else "Mark as Asset",
                            icon="ASSET_MANAGER")


CLASSES = (INTERNGS_PT_share,)
