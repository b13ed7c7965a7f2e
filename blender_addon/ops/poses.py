# SPDX-License-Identifier: GPL-3.0-or-later
"""Import poses: COLMAP, transforms.json, LLFF and the other pose files, as camera objects with their photographs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import BoolProperty, StringProperty

from ...interngs.formats.detect import find_capture, require_poses
from ..scene.photographs import import_cameras
from .guarded import GuardedOperator


class INTERNGS_OT_import_poses(GuardedOperator, bpy.types.Operator):
    """Import photographs with their poses: COLMAP, transforms.json, LLFF, DTU or cameras.json (file or folder)"""

    bl_idname = "interngs.import_poses"
    bl_label = "Import Poses"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})
    filter_glob: StringProperty(default="*.json;*.bin;*.txt;*.npy;*.npz", options={"HIDDEN"})
    upright: BoolProperty(
        name="Stand Upright", default=True,
        description="Turn the imported cameras so that their mean up direction is Blender's Z; pose files know no up")
    background_images: BoolProperty(
        name="Background Images", default=True, description="Show each photograph behind its camera")

    @classmethod
    def poll(cls, context):
        """Cameras can be added in object mode only."""
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave edit mode first")
            return False
        return True

    def invoke(self, context, _event):
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context):
        """Read the poses, make the cameras."""
        path = Path(bpy.path.abspath(self.filepath))
        capture = find_capture(path if path.exists() else path.parent)
        require_poses(capture)
        import_cameras(context.scene, capture, upright=self.upright, background_images=self.background_images)
        context.scene.interngs.job.poses = "CAMERAS"
        self.report({"INFO"}, f"{len(capture.views)} cameras from {capture.source}")
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_import_poses,)
