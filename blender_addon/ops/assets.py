# SPDX-License-Identifier: GPL-3.0-or-later
"""Mark splats as assets, with a picture of the splat itself."""

from __future__ import annotations

from typing import ClassVar

import bpy
import numpy as np
from bpy.props import BoolProperty

from ...interngs.scene.thumbnail import good_viewpoint, render_thumbnail
from ..scene.cameras import camera_of_object
from ..scene.splat_files import read_object
from ..scene.splat_object import is_splat
from .on_splat import OnSplat
from .threaded import ThreadedOperator

THUMBNAIL_PX = 256


class INTERNGS_OT_mark_asset(OnSplat, ThreadedOperator, bpy.types.Operator):
    """Mark the selected splats as assets, with a rendered thumbnail for the asset browser"""

    bl_idname = "interngs.mark_asset"
    bl_label = "Mark as Asset"
    bl_options: ClassVar = {"REGISTER", "UNDO"}
    doing = "Rendering thumbnails"

    from_camera: BoolProperty(
        name="From the Scene's Camera", default=False,
        description="Take the thumbnail from the scene's camera in place of a view of the whole splat")

    def prepare(self, context):
        """Read the selected splats."""
        splats = {each.name: each for each in (*context.selected_objects, context.active_object) if is_splat(each)}
        found = [read_object(each) for each in splats.values()]
        camera = self._scene_camera(context) if self.from_camera else None

        def work():
            pictures = {}
            for each in found:
                gaussians = each.in_world()
                seen_by = camera or good_viewpoint(gaussians.means, THUMBNAIL_PX)
                pictures[each.name] = render_thumbnail(gaussians, seen_by)
            return pictures

        return work

    def finish(self, _context, outcome):
        """Mark them and give each its picture."""
        for name, picture in outcome.items():
            splat = bpy.data.objects.get(name)
            if splat is None:
                continue
            splat.asset_mark()
            preview = splat.preview_ensure()
            preview.image_size = (THUMBNAIL_PX, THUMBNAIL_PX)
            preview.image_pixels_float.foreach_set(np.ascontiguousarray(picture[::-1]).reshape(-1))
            if not splat.asset_data.description:
                splat.asset_data.description = "Gaussian splat"
        self.report({"INFO"}, f"{len(outcome)} assets marked")
        return {"FINISHED"}

    @staticmethod
    def _scene_camera(context):
        found = context.scene.camera
        return None if found is None else camera_of_object(found, THUMBNAIL_PX, THUMBNAIL_PX, (1.0, 1.0))


CLASSES = (INTERNGS_OT_mark_asset,)
