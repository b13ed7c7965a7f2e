# SPDX-License-Identifier: GPL-3.0-or-later
"""Render splats by the backend, and merge them with Blender's own render."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy

from ..scene.compositor import merge_by_depth
from ..scene.final_frames import plan_render, rendered_splats
from ..session.display import object_name
from ..session.render_files import new_render
from ..session.session import session
from ..session.state import session_state
from .guarded import GuardedOperator


class INTERNGS_OT_render_splats(GuardedOperator, bpy.types.Operator):
    """Render the splats from the scene's camera by the backend, to EXR files of linear colour, alpha and depth"""

    bl_idname = "interngs.render_splats"
    bl_label = "Render Splats"

    @classmethod
    def poll(cls, context):
        """A connection, a camera, a splat, and no render on its way."""
        if not session_state().link.is_up:
            cls.poll_message_set("Connect to a backend first")
            return False
        if context.scene is None or context.scene.camera is None:
            cls.poll_message_set("The scene has no camera")
            return False
        if not rendered_splats(context.scene, context.view_layer):
            cls.poll_message_set("No splat is rendered by Render Splats")
            return False
        if session().renders.current is not None:
            cls.poll_message_set("A render is on its way")
            return False
        return True

    def run(self, context):
        """Read camera and splats of every frame, hand them to the session."""
        scene = context.scene
        plan = plan_render(scene, context.view_layer, scene.interngs_render.frames == "ANIMATION")
        session().renders.start(new_render(scene, plan.parts, f"Render of {object_name(scene)}"))
        return {"FINISHED"}


class INTERNGS_OT_cancel_render(GuardedOperator, bpy.types.Operator):
    """Stop rendering splats; frames that have arrived stay"""

    bl_idname = "interngs.cancel_render"
    bl_label = "Cancel Render"

    @classmethod
    def poll(cls, _context):
        """A render on its way."""
        return session().renders.current is not None

    def run(self, _context):
        """Tell the backend."""
        session().renders.cancel()
        return {"FINISHED"}


class INTERNGS_OT_merge_render(GuardedOperator, bpy.types.Operator):
    """Merge the rendered splats with Blender's own render by depth, in the scene's compositing nodes"""

    bl_idname = "interngs.merge_render"
    bl_label = "Set Up Compositing"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        """Rendered frames."""
        if context.scene is None or not context.scene.interngs_render.first_file:
            cls.poll_message_set("Render the splats first")
            return False
        return True

    def run(self, context):
        """Make the nodes."""
        settings = context.scene.interngs_render
        merge_by_depth(context.scene, Path(bpy.path.abspath(settings.first_file)), settings.first_frame,
                       settings.last_frame)
        self.report({"INFO"}, "F12 now shows both, merged by depth")
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_render_splats, INTERNGS_OT_cancel_render, INTERNGS_OT_merge_render)
