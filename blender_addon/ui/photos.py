# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 2, Photos and Poses: the list of photographs and where their cameras come from."""

from __future__ import annotations

import bpy

from ..session.thumbnails import thumbnails
from .parts import TabPanel, draw_text


class INTERNGS_UL_photos(bpy.types.UIList):
    """Photographs with thumbnail, pose and warning."""

    bl_idname = "INTERNGS_UL_photos"

    def draw_item(self, context, layout, _data, item, _icon, _active_data, _active_property, *_rest):
        """One photograph."""
        row = layout.row(align=True)
        row.prop(item, "use", text="")
        thumbnail = thumbnails().icon_of(item.path)
        row.label(text=item.name, **({"icon_value": thumbnail} if thumbnail else {"icon": "IMAGE_DATA"}))
        if item.mask_path:
            row.label(text="", icon="MOD_MASK")
        if item.depth_path:
            row.label(text="", icon="MOD_DISPLACE")
        if item.warning:
            row.label(text="", icon="ERROR" if item.warning_is_error else "INFO")
        posed = item.camera is not None or item.fixed_camera
        estimate = context.scene.interngs.job.poses == "ESTIMATE"
        row.label(text="", icon="OUTLINER_DATA_CAMERA" if posed else ("QUESTION" if estimate else "ERROR"))


class INTERNGS_PT_photos(TabPanel, bpy.types.Panel):
    """The photographs to reconstruct from, and their camera poses."""

    bl_idname = "INTERNGS_PT_photos"
    bl_label = "Photos and Poses"
    bl_order = 2

    def draw(self, context):
        """The list and its buttons, poses, then the active photograph."""
        layout, settings = self.layout, context.scene.interngs
        row = layout.row()
        row.template_list("INTERNGS_UL_photos", "", settings, "photos", settings, "active_photo", rows=5)
        column = row.column(align=True)
        column.operator("interngs.add_photos", text="", icon="ADD")
        column.operator("interngs.remove_photo", text="", icon="REMOVE")
        column.separator()
        column.operator("interngs.move_photo", text="", icon="TRIA_UP").direction = "UP"
        column.operator("interngs.move_photo", text="", icon="TRIA_DOWN").direction = "DOWN"
        column.separator()
        column.operator("interngs.clear_photos", text="", icon="TRASH")
        if not settings.photos:
            draw_text(layout, context, "Add 3 to 12 photographs, import a pose file with its photographs, "
                                       "or capture the scene's own cameras below.", "INFO")
        layout.row(align=True).prop(settings.job, "poses", expand=True)
        row = layout.row(align=True)
        row.operator("interngs.import_poses", icon="IMPORT")
        row.operator("interngs.match_cameras", text="Match by Name", icon="CAMERA_DATA")
        layout.operator("interngs.check_photos", icon="VIEWZOOM")


class INTERNGS_PT_photo(TabPanel, bpy.types.Panel):
    """The active photograph."""

    bl_idname = "INTERNGS_PT_photo"
    bl_label = "Active Photograph"
    bl_parent_id = "INTERNGS_PT_photos"

    @classmethod
    def poll(cls, context):
        """Only with a photograph."""
        settings = context.scene.interngs
        return 0 <= settings.active_photo < len(settings.photos)

    def draw(self, context):
        """Thumbnail, camera, mask, depth, warning."""
        layout, settings = self.layout, context.scene.interngs
        row = settings.photos[settings.active_photo]
        thumbnail = thumbnails().icon_of(row.path)
        if thumbnail:
            layout.template_icon(icon_value=thumbnail, scale=7.0)
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.label(text=f"{row.width_px} x {row.height_px} px")
        if row.warning:
            draw_text(layout, context, row.warning, "ERROR" if row.warning_is_error else "INFO", row.warning_is_error)
        if row.fixed_camera:
            layout.label(text="Pose: as captured", icon="LOCKED")
            layout.operator("interngs.release_pose", icon="UNLOCKED")
        else:
            layout.prop(row, "camera")
        layout.operator("interngs.view_through", icon="VIEW_CAMERA")
        layout.prop(row, "mask_path")
        if row.depth_path:
            layout.prop(row, "depth_path")
        layout.operator("interngs.open_photo_folder", icon="FILE_FOLDER")


CLASSES = (INTERNGS_UL_photos, INTERNGS_PT_photos, INTERNGS_PT_photo)
