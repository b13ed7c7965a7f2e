# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimate, reconstruct, and what can be done with a job."""

from __future__ import annotations

from typing import ClassVar

import bpy
from bpy.props import EnumProperty, StringProperty

from ..scene.photographs import capture_source, job_settings, used_rows
from ..scene.result_cameras import add_result_cameras
from ..scene.splat_facts import shown_splat
from ..session.display import object_name
from ..session.session import session
from ..session.state import session_state
from .guarded import GuardedOperator

COMMANDS = [("pause", "Pause", "Stop after a checkpoint and free the GPU"),
            ("resume", "Resume", "Go on from the last checkpoint"),
            ("cancel", "Cancel", "Stop, and keep the Gaussians that exist so far"),
            ("discard", "Discard", "Remove the job and everything it made from the backend")]


def can_send(cls, context) -> bool:
    """Whether a capture can be sent; sets the poll message if not."""
    if not session_state().link.is_up:
        cls.poll_message_set("Connect to a backend first")
        return False
    if context.scene is None or not used_rows(context.scene.interngs):
        cls.poll_message_set("Add photographs, or capture the scene's cameras")
        return False
    return True


class INTERNGS_OT_estimate(GuardedOperator, bpy.types.Operator):
    """Ask the backend what it thinks of these photographs, how long it will take and how much memory; sends no photo"""

    bl_idname = "interngs.estimate"
    bl_label = "Check and Estimate"

    @classmethod
    def poll(cls, context):
        """A connection and photographs."""
        return can_send(cls, context)

    def run(self, context):
        """Ask; the answer comes by the pump."""
        session().estimate(context.scene.name, capture_source(context.scene), job_settings(context.scene))
        return {"FINISHED"}


class INTERNGS_OT_reconstruct(GuardedOperator, bpy.types.Operator):
    """Send the photographs and turn them into Gaussians; Blender stays usable, and may be closed meanwhile"""

    bl_idname = "interngs.reconstruct"
    bl_label = "Reconstruct"

    @classmethod
    def poll(cls, context):
        """A connection, photographs, and no job of this scene on its way."""
        if not can_send(cls, context):
            return False
        job = session_state().job(context.scene.interngs.job.job_id)
        if job is not None and job.state in ("uploading", "queued", "preparing", "training", "finishing"):
            cls.poll_message_set("This scene's job is running; cancel it, or wait")
            return False
        if "submit" in session_state().waiting:
            cls.poll_message_set("The photographs are being read")
            return False
        return True

    def run(self, context):
        """Hand the capture to the link; it reads, hashes and sends in its own thread."""
        scene = context.scene
        session().submit(scene.name, capture_source(scene), job_settings(scene), object_name(scene),
                         scene.interngs.job.priority)
        return {"FINISHED"}


class INTERNGS_OT_command_job(GuardedOperator, bpy.types.Operator):
    """Tell the backend what to do with a job"""

    bl_idname = "interngs.command_job"
    bl_label = "Job Command"

    job_id: StringProperty(options={"HIDDEN", "SKIP_SAVE"})
    command: EnumProperty(name="Command", items=COMMANDS, options={"SKIP_SAVE"})

    @classmethod
    def description(cls, _context, properties):
        """The tooltip of each button."""
        return next(text for name, _, text in COMMANDS if name == properties.command)

    @classmethod
    def poll(cls, _context):
        """A connection."""
        if not session_state().link.is_up:
            cls.poll_message_set("Connect to a backend first")
            return False
        return True

    def invoke(self, context, event):
        """Discarding cannot be undone: ask first."""
        if self.command == "discard":
            return context.window_manager.invoke_confirm(self, event)
        return self.execute(context)

    def run(self, _context):
        """Send the command."""
        session().command(self.job_id, self.command)
        return {"FINISHED"}


class INTERNGS_OT_watch_job(GuardedOperator, bpy.types.Operator):
    """Show this job in the scene: live while it trains, the whole result when it is finished"""

    bl_idname = "interngs.watch_job"
    bl_label = "Show Job"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    job_id: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, _context):
        """A connection."""
        if not session_state().link.is_up:
            cls.poll_message_set("Connect to a backend first")
            return False
        return True

    def run(self, context):
        """Bind the scene to the job and attach."""
        session().bind(context.scene, self.job_id)
        return {"FINISHED"}


class INTERNGS_OT_refresh_jobs(GuardedOperator, bpy.types.Operator):
    """Ask the backend for its jobs again"""

    bl_idname = "interngs.refresh_jobs"
    bl_label = "Refresh"

    @classmethod
    def poll(cls, _context):
        """A connection."""
        if not session_state().link.is_up:
            cls.poll_message_set("Connect to a backend first")
            return False
        return True

    def run(self, _context):
        """Ask."""
        session().refresh()
        return {"FINISHED"}


class INTERNGS_OT_add_result_cameras(GuardedOperator, bpy.types.Operator):
    """Add the cameras that the backend estimated or refined, with their photographs, and give them to the list"""

    bl_idname = "interngs.add_result_cameras"
    bl_label = "Add Its Cameras"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        """A result must be shown."""
        splat = shown_splat(context)
        if splat is None or not splat.interngs_splat.report_json:
            cls.poll_message_set("Select a finished result")
            return False
        return True

    def run(self, context):
        """Add them."""
        made = add_result_cameras(context.scene, shown_splat(context))
        self.report({"INFO"}, f"{len(made)} cameras added")
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_estimate, INTERNGS_OT_reconstruct, INTERNGS_OT_command_job, INTERNGS_OT_watch_job,
           INTERNGS_OT_refresh_jobs, INTERNGS_OT_add_result_cameras)
