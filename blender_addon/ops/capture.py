# SPDX-License-Identifier: GPL-3.0-or-later
"""Camera rigs, and rendering the scene's own cameras into the list of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy

from ...interngs.errors import InputError
from ..package import ROOT
from ..scene.capture import CaptureSettings, SceneCapture, capture_now
from ..scene.photographs import take_captured
from ..scene.rig_objects import add_rig, rig_target
from ..session.state import CaptureProgress, session_state
from .guarded import GuardedOperator


class INTERNGS_OT_add_rig(GuardedOperator, bpy.types.Operator):
    """Add cameras in an arc, ring or dome around the selected objects, aimed at them, as ordinary cameras"""

    bl_idname = "interngs.add_rig"
    bl_label = "Add Camera Rig"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        """Something with a surface must be selected, in object mode."""
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave edit mode first")
            return False
        if not rig_target(context):
            cls.poll_message_set("Select the objects that the cameras shall look at")
            return False
        return True

    def run(self, context):
        """Add the rig, and take its cameras for the capture."""
        made = add_rig(context)
        context.scene.interngs.capture.source = "RIG"
        self.report({"INFO"}, f"{len(made)} cameras added to the collection {made[0].users_collection[0].name!r}")
        return {"FINISHED"}


def capture_cameras(context) -> list[bpy.types.Object]:
    """The cameras that the capture settings name, in order of their names."""
    settings = context.scene.interngs
    if settings.capture.source == "SELECTED":
        found = [each for each in context.selected_objects if each.type == "CAMERA"]
    elif settings.capture.source == "RIG":
        found = [each for each in settings.rig.collection.all_objects if each.type == "CAMERA"] if (
            settings.rig.collection) else []
    else:
        found = [each for each in context.scene.objects if each.type == "CAMERA"]
    return sorted(found, key=lambda each: each.name)


def capture_folder(context) -> Path:
    """Where captures are written: as chosen, else beside the .blend, else in the extension's own folder."""
    chosen = context.scene.interngs.capture.folder
    if chosen:
        return Path(bpy.path.abspath(chosen))
    if bpy.data.filepath:
        blend = Path(bpy.data.filepath)
        return blend.with_name(f"{blend.stem}_capture")
    if ROOT.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(ROOT, path="captures", create=True))
    return Path(bpy.app.tempdir) / "interngs_capture"


def capture_settings(context) -> CaptureSettings:
    """The scene's capture settings as the record that the capture takes.

    Raises:
        InputError: the subject's collection holds nothing that can be rendered.
    """
    chosen = context.scene.interngs.capture
    subject: tuple[str, ...] = ()
    if chosen.mask and chosen.subject is not None:
        subject = tuple(each.name for each in chosen.subject.all_objects if each.type not in {"CAMERA", "LIGHT"})
        if not subject:
            raise InputError("subject-empty", f"The collection {chosen.subject.name!r} holds no object to keep.",
                             "Choose another subject, or leave it empty to keep everything but the background.")
    return CaptureSettings(chosen.width_px, chosen.height_px, chosen.engine, chosen.samples, chosen.depth,
                           chosen.mask, subject)


class INTERNGS_OT_capture(GuardedOperator, bpy.types.Operator):
    """Render the chosen cameras with colour, depth and object mask, and add them to the photographs; Esc cancels"""

    bl_idname = "interngs.capture"
    bl_label = "Capture"
    bl_options: ClassVar = {"REGISTER"}

    _timer = None

    @classmethod
    def poll(cls, context):
        """There must be cameras, and no other capture or render."""
        if session_state().capture is not None or bpy.app.is_job_running("RENDER"):
            cls.poll_message_set("A render is running")
            return False
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave edit mode first")
            return False
        if not capture_cameras(context):
            cls.poll_message_set("Select cameras, or add a camera rig")
            return False
        return True

    def invoke(self, context, _event):
        """Start in Blender's own render job, so that the interface goes on."""
        return self.guard(lambda: self._begin(context))

    def _begin(self, context):
        self._run = SceneCapture(context.scene, context.view_layer.name, capture_cameras(context),
                                 capture_settings(context), capture_folder(context))
        self._scene_name = context.scene.name
        self._display_type = context.preferences.view.render_display_type
        context.preferences.view.render_display_type = "NONE"
        session_state().capture = CaptureProgress(0, self._run.total, self._run.current_name)
        self._started = self._cancelled = False
        bpy.app.handlers.render_cancel.append(self._on_cancel)
        self._timer = context.window_manager.event_timer_add(0.05, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def _on_cancel(self, *_arguments):
        self._cancelled = True

    def modal(self, context, event):
        """Take over a finished render and start the next one."""
        progress = session_state().capture
        if event.type == "ESC" or progress is None or progress.cancel_wanted:
            self._cancelled = True
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if bpy.app.is_job_running("RENDER"):
            return {"PASS_THROUGH"}
        outcome = self.guard(lambda: self._advance(context))
        return {"RUNNING_MODAL"} if outcome == {"RUNNING_MODAL"} else self._end(context, outcome)

    def _advance(self, context):
        if self._cancelled:
            self.report({"INFO"}, "Capture cancelled; nothing was changed")
            return {"CANCELLED"}
        if self._started:
            self._started = False
            self._run.finish_current()
        if not self._run.remaining:
            if not self._run.is_written:
                return {"RUNNING_MODAL"}
            self._finish()
            return {"FINISHED"}
        session_state().capture = CaptureProgress(self._run.done, self._run.total, self._run.current_name)
        self._run.begin_next(
            lambda scene: bpy.ops.render.render("INVOKE_DEFAULT", write_still=True, scene=scene.name))
        self._started = True
        for area in context.screen.areas:
            area.tag_redraw()
        return {"RUNNING_MODAL"}

    def _finish(self):
        scene = bpy.data.scenes.get(self._scene_name)
        if scene is not None:
            views = self._run.views()
            self._run.close()
            take_captured(scene, views)
            bpy.ops.ed.undo_push(message="Capture")
            self.report({"INFO"}, f"{len(views)} images captured")

    def _end(self, context, outcome):
        self._run.close()
        context.preferences.view.render_display_type = self._display_type
        if self._on_cancel in bpy.app.handlers.render_cancel:
            bpy.app.handlers.render_cancel.remove(self._on_cancel)
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
        session_state().capture = None
        return outcome

    def cancel(self, context):
        """Blender ends the operator (another file, quit)."""
        self._end(context, {"CANCELLED"})

    def run(self, context):
        """Capture before returning (background mode and scripts)."""
        views = capture_now(context.scene, context.view_layer.name, capture_cameras(context),
                            capture_settings(context), capture_folder(context))
        take_captured(context.scene, views)
        self.report({"INFO"}, f"{len(views)} images captured")
        return {"FINISHED"}


class INTERNGS_OT_cancel_capture(GuardedOperator, bpy.types.Operator):
    """Stop the capture after the render that is under way (Esc stops at once)"""

    bl_idname = "interngs.cancel_capture"
    bl_label = "Cancel Capture"
    bl_options: ClassVar = {"REGISTER"}

    @classmethod
    def poll(cls, _context):
        """A capture must be running."""
        if session_state().capture is None:
            cls.poll_message_set("No capture is running")
            return False
        return True

    def run(self, _context):
        """Leave word for the capture."""
        progress = session_state().capture
        if progress is not None:
            progress.cancel_wanted = True
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_add_rig, INTERNGS_OT_capture, INTERNGS_OT_cancel_capture)
