# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of photographs: add, remove, reorder, mask, match with cameras, check."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import CollectionProperty, EnumProperty, StringProperty

from ...interngs.errors import InputError
from ..scene.photographs import add_photograph, match_cameras, photo_path
from ..session.photo_check_run import PhotoCheckRun
from .guarded import GuardedOperator

IMAGE_FILTER = "*.jpg;*.jpeg;*.png;*.webp"


class INTERNGS_OT_add_photos(GuardedOperator, bpy.types.Operator):
    """Add photographs to the list (several at once; JPEG, PNG or WebP)"""

    bl_idname = "interngs.add_photos"
    bl_label = "Add Photographs"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})
    filter_glob: StringProperty(default=IMAGE_FILTER, options={"HIDDEN"})

    @classmethod
    def poll(cls, context):
        """Photographs belong to a scene."""
        return context.scene is not None

    def invoke(self, context, _event):
        """Open the file browser, unless files were dropped."""
        if self.files and self.directory:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context):
        """Add each file; one that is no photograph is named and left out."""
        names = [each.name for each in self.files if each.name]
        if not names:
            raise InputError("no-photos", "No file was chosen.", "Select one or more images in the file browser.")
        problems = []
        added = 0
        for name in names:
            try:
                path = Path(bpy.path.abspath(self.directory)) / name
                added += add_photograph(context.scene.interngs, path) is not None
            except InputError as error:
                problems.append(error)
        if problems and not added:
            raise problems[0]
        for error in problems:
            self.report({"WARNING"}, str(error))
        self.report({"INFO"}, f"{added} photographs added")
        return {"FINISHED"}


class INTERNGS_FH_photos(bpy.types.FileHandler):
    """Images dropped on the sidebar are added to the photographs."""

    bl_idname = "INTERNGS_FH_photos"
    bl_label = "Intern-GS Photographs"
    bl_import_operator = "interngs.add_photos"
    bl_file_extensions = ".jpg;.jpeg;.png;.webp"

    @classmethod
    def poll_drop(cls, context):
        """Only over the sidebar: elsewhere a dropped image stays what Blender makes of it."""
        return context.area is not None and context.area.type == "VIEW_3D" and context.region.type == "UI"


def has_photo(context) -> bool:
    """Whether a photograph of the list is active."""
    settings = context.scene.interngs if context.scene else None
    return settings is not None and 0 <= settings.active_photo < len(settings.photos)


class _PhotoOperator(GuardedOperator):
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        """A photograph must be active."""
        if not has_photo(context):
            cls.poll_message_set("There is no photograph in the list")
            return False
        return True


class INTERNGS_OT_remove_photo(_PhotoOperator, bpy.types.Operator):
    """Take the active photograph off the list (its file and its camera stay)"""

    bl_idname = "interngs.remove_photo"
    bl_label = "Remove Photograph"

    def run(self, context):
        """Remove the active row."""
        settings = context.scene.interngs
        settings.photos.remove(settings.active_photo)
        settings.active_photo = min(settings.active_photo, max(len(settings.photos) - 1, 0))
        return {"FINISHED"}


class INTERNGS_OT_clear_photos(_PhotoOperator, bpy.types.Operator):
    """Take all photographs off the list (their files and cameras stay)"""

    bl_idname = "interngs.clear_photos"
    bl_label = "Clear Photographs"

    def invoke(self, context, event):
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def run(self, context):
        """Remove every row."""
        context.scene.interngs.photos.clear()
        return {"FINISHED"}


class INTERNGS_OT_move_photo(_PhotoOperator, bpy.types.Operator):
    """Move the active photograph up or down in the list"""

    bl_idname = "interngs.move_photo"
    bl_label = "Move Photograph"

    direction: EnumProperty(
        name="Direction", items=[("UP", "Up", "Towards the start"), ("DOWN", "Down", "Towards the end")])

    def run(self, context):
        """Swap the active row with its neighbour."""
        settings = context.scene.interngs
        target = settings.active_photo + (-1 if self.direction == "UP" else 1)
        if not 0 <= target < len(settings.photos):
            return {"CANCELLED"}
        settings.photos.move(settings.active_photo, target)
        settings.active_photo = target
        return {"FINISHED"}


class INTERNGS_OT_match_cameras(_PhotoOperator, bpy.types.Operator):
    """Give each photograph the camera object of the same name (IMG_0012 for IMG_0012.jpg)"""

    bl_idname = "interngs.match_cameras"
    bl_label = "Match Cameras by Name"

    def run(self, context):
        """Match, and say how many."""
        matched = match_cameras(context.scene)
        self.report({"INFO"} if matched else {"WARNING"},
                    f"{matched} photographs got a camera" if matched else "No camera has the name of a photograph")
        return {"FINISHED"}


class INTERNGS_OT_view_through(_PhotoOperator, bpy.types.Operator):
    """Look through the active photograph's camera, to see whether the picture fits the scene"""

    bl_idname = "interngs.view_through"
    bl_label = "Look Through Its Camera"

    @classmethod
    def poll(cls, context):
        """The photograph needs a camera, and there must be a 3D view."""
        if not super().poll(context):
            return False
        settings = context.scene.interngs
        if settings.photos[settings.active_photo].camera is None:
            cls.poll_message_set("This photograph has no camera object")
            return False
        return context.space_data is not None and context.space_data.type == "VIEW_3D"

    def run(self, context):
        """Make it the scene's camera and switch the view."""
        settings = context.scene.interngs
        context.scene.camera = settings.photos[settings.active_photo].camera
        context.space_data.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class INTERNGS_OT_check_photos(_PhotoOperator, bpy.types.Operator):
    """Look for missing files and poses, blurred photographs and exposure jumps"""

    bl_idname = "interngs.check_photos"
    bl_label = "Check Photographs"
    bl_options: ClassVar = {"REGISTER"}

    _timer = None

    def invoke(self, context, _event):
        """Check one photograph after the other, without stopping the interface."""
        self._check = PhotoCheckRun(context.scene)
        self._timer = context.window_manager.event_timer_add(0.02, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        """One photograph for each tick."""
        if event.type == "ESC":
            return self._end(context, {"CANCELLED"})
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        outcome = self.guard(lambda: {"RUNNING_MODAL"} if self._check.step() else {"FINISHED"})
        return outcome if outcome == {"RUNNING_MODAL"} else self._end(context, outcome)

    def _end(self, context, outcome):
        context.window_manager.event_timer_remove(self._timer)
        for area in context.screen.areas:
            area.tag_redraw()
        return outcome

    def run(self, context):
        """Check all at once (background mode)."""
        check = PhotoCheckRun(context.scene)
        while check.step():
            pass
        return {"FINISHED"}


class INTERNGS_OT_open_folder(_PhotoOperator, bpy.types.Operator):
    """Show the active photograph's folder in the system's file browser"""

    bl_idname = "interngs.open_photo_folder"
    bl_label = "Show in Folder"
    bl_options: ClassVar = {"REGISTER"}

    def run(self, context):
        """Open the folder."""
        settings = context.scene.interngs
        bpy.ops.wm.path_open(filepath=str(photo_path(settings.photos[settings.active_photo]).parent))
        return {"FINISHED"}


class INTERNGS_OT_release_pose(_PhotoOperator, bpy.types.Operator):
    """Use the camera object's pose from now on, in place of the one at which this image was rendered"""

    bl_idname = "interngs.release_pose"
    bl_label = "Follow the Camera Object"

    @classmethod
    def poll(cls, context):
        """The photograph must have a captured pose."""
        if not super().poll(context):
            return False
        settings = context.scene.interngs
        if not settings.photos[settings.active_photo].fixed_camera:
            cls.poll_message_set("This photograph has no captured pose")
            return False
        return True

    def run(self, context):
        """Forget the captured pose; exact depth belongs to it and goes too."""
        settings = context.scene.interngs
        row = settings.photos[settings.active_photo]
        row.fixed_camera = row.depth_path = ""
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_add_photos, INTERNGS_FH_photos, INTERNGS_OT_remove_photo, INTERNGS_OT_clear_photos,
           INTERNGS_OT_move_photo, INTERNGS_OT_match_cameras, INTERNGS_OT_view_through, INTERNGS_OT_check_photos,
           INTERNGS_OT_open_folder, INTERNGS_OT_release_pose)
