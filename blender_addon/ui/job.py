# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 4, Reconstruct: settings, estimate, the running job, and the list of jobs."""

from __future__ import annotations

from typing import ClassVar

import bpy

from ...interngs.wire.states import COMMANDS
from ..scene.photographs import used_rows
from ..scene.splat_facts import shown_splat, splat_facts
from ..session.session import session
from ..session.state import session_state
from ..session.wording import byte_size, duration, figures, job_state, number, prior, stage
from .parts import TabPanel, draw_text

STATE_ICONS = {"done": "CHECKMARK", "failed": "ERROR", "cancelled": "CANCEL", "paused": "PAUSE"}
SHOWN_JOBS = 12
COMMAND_BUTTONS = (("pause", "Pause", "PAUSE"), ("resume", "Resume", "PLAY"), ("cancel", "Cancel", "CANCEL"))


class INTERNGS_PT_job(TabPanel, bpy.types.Panel):
    """Turn the photographs into Gaussians."""

    bl_idname = "INTERNGS_PT_job"
    bl_label = "Reconstruct"
    bl_order = 4

    def draw(self, context):
        """Settings, estimate, the button, and the job of this scene."""
        layout, settings = self.layout, context.scene.interngs
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.row().prop(settings.job, "preset", expand=True)
        layout.prop(settings.job, "geometry")
        self._draw_priors(layout, context)
        used = len(used_rows(settings))
        layout.label(text=f"{used} of {len(settings.photos)} photographs in use", icon="IMAGE_DATA")
        self._draw_estimate(layout, context)
        row = layout.row()
        row.scale_y = 1.6
        row.operator("interngs.reconstruct", icon="SHADERFX")
        for words in session_state().waiting.values():
            layout.label(text=words, icon="SORTTIME")
        job = session_state().job(settings.job.job_id)
        if job is not None:
            self._draw_job(layout, context, job)
        elif settings.job.job_id and not session_state().link.is_up:
            draw_text(layout, context, "This scene has a job; connect to its backend to see it.", "INFO")

    @staticmethod
    def _draw_priors(layout, context):
        server = session_state().link.server
        chosen = context.scene.interngs.job.geometry
        if server is None:
            return
        column = layout.column(align=True)
        for each in server.priors:
            if each.present or each.name == chosen:
                draw_text(column, context, prior(each), "CHECKMARK" if each.present else "ERROR",
                          alert=each.name == chosen and not each.present)

    @staticmethod
    def _draw_estimate(layout, context):
        report = session_state().preflight
        row = layout.row(align=True)
        row.operator("interngs.estimate", icon="TIME")
        if report is None:
            return
        layout.label(text=f"About {duration(report.seconds)}, {byte_size(report.memory_bytes)} of memory, "
                          f"{byte_size(report.upload_bytes)} to send")
        for finding in report.findings:
            where = f"{finding.view}: " if finding.view else ""
            draw_text(layout, context, f"{where}{finding.cause} {finding.remedy}",
                      "ERROR" if finding.level == "error" else "INFO", finding.level == "error")

    @staticmethod
    def _draw_job(layout, context, job):
        state = session_state()
        box = layout.box()
        box.label(text=f"{job.title or 'Job'}: {job_state(job)}", icon=STATE_ICONS.get(job.state, "SHADERFX"))
        upload, download = state.uploads.get(job.job_id), state.downloads.get(job.job_id)
        if job.state == "uploading" and upload is not None:
            box.progress(factor=upload.fraction, text=f"{byte_size(upload.done)} of {byte_size(upload.total)}")
        if download is not None and download.done < download.total:
            box.progress(factor=download.fraction, text=f"Receiving {byte_size(download.total)}")
        progress = state.progress.get(job.job_id) or job.progress
        if progress is not None and job.state in ("preparing", "training", "finishing", "paused"):
            box.progress(factor=progress.fraction, text=stage(progress))
            if words := figures(progress):
                box.label(text=words)
        if job.error is not None:
            draw_text(box, context, f"{job.error.cause} {job.error.remedy}", "ERROR", alert=True)
        row = box.row(align=True)
        for command, text, icon in COMMAND_BUTTONS:
            if job.state in COMMANDS[command] and not job.wanted:
                button = row.operator("interngs.command_job", text=text, icon=icon)
                button.job_id, button.command = job.job_id, command
        if session().object_is_gone(job.job_id):
            draw_text(box, context, "Its object was deleted, so nothing is shown.", "INFO")
            box.operator("interngs.watch_job", text="Show It Again", icon="HIDE_OFF").job_id = job.job_id


class INTERNGS_PT_job_details(TabPanel, bpy.types.Panel):
    """More settings of the job."""

    bl_idname = "INTERNGS_PT_job_details"
    bl_label = "More Settings"
    bl_parent_id = "INTERNGS_PT_job"
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """Title, priors, size, preview, seed, priority."""
        layout, settings = self.layout, context.scene.interngs.job
        layout.use_property_split = True
        layout.use_property_decorate = False
        for name in ("title", "depth_prior", "appearance_prior", "max_side_px", "preview_gaussians", "seed",
                     "priority"):
            layout.prop(settings, name)


class INTERNGS_PT_jobs(TabPanel, bpy.types.Panel):
    """This computer's jobs on the server."""

    bl_idname = "INTERNGS_PT_jobs"
    bl_label = "Jobs"
    bl_parent_id = "INTERNGS_PT_job"
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """Newest first, each with its buttons."""
        layout, state = self.layout, session_state()
        layout.operator("interngs.refresh_jobs", icon="FILE_REFRESH")
        if not state.jobs:
            layout.label(text="No jobs on this server" if state.link.is_up else "Not connected")
        bound = context.scene.interngs.job.job_id
        for job in state.jobs[:SHOWN_JOBS]:
            row = layout.row(align=True)
            row.label(text=f"{job.title or job.job_id[:6]}: {job_state(job)}",
                      icon=STATE_ICONS.get(job.state, "SHADERFX" if job.job_id == bound else "DOT"))
            watch = row.operator("interngs.watch_job", text="", icon="HIDE_OFF")
            watch.job_id = job.job_id
            discard = row.operator("interngs.command_job", text="", icon="TRASH")
            discard.job_id, discard.command = job.job_id, "discard"
        if len(state.jobs) > SHOWN_JOBS:
            layout.label(text=f"and {len(state.jobs) - SHOWN_JOBS} older ones")


class INTERNGS_PT_job_log(TabPanel, bpy.types.Panel):
    """What the backend says while it works."""

    bl_idname = "INTERNGS_PT_job_log"
    bl_label = "Messages"
    bl_parent_id = "INTERNGS_PT_job"
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, _context):
        """Only once there is a message."""
        return bool(session_state().logs)

    def draw(self, context):
        """The newest lines."""
        for line in list(session_state().logs)[-10:]:
            draw_text(self.layout, context, line)


class INTERNGS_PT_result(TabPanel, bpy.types.Panel):
    """Panel 5: the Gaussians of the active object, or of this scene's job."""

    bl_idname = "INTERNGS_PT_result"
    bl_label = "Result"
    bl_order = 5

    def draw(self, context):
        """What it is, how it was made, what to know about it."""
        layout = self.layout
        splat = shown_splat(context)
        if splat is None:
            draw_text(layout, context, "Select an object that holds Gaussians, or reconstruct some.", "INFO")
            return
        facts = splat_facts(splat)
        layout.label(text=splat.name, icon="OUTLINER_OB_POINTCLOUD")
        column = layout.column(align=True)
        for label, value in facts:
            if label == "Warning":
                draw_text(column, context, value, "ERROR")
                continue
            row = column.split(factor=0.38)
            row.label(text=label)
            row.label(text=value)
        if '"cameras"' in splat.interngs_splat.report_json:
            layout.operator("interngs.add_result_cameras", icon="CAMERA_DATA")
        job = session_state().job(splat.interngs_splat.job_id)
        if job is not None and job.result is not None and splat.interngs_splat.state == "PREVIEW":
            layout.operator("interngs.watch_job", text=f"Fetch All {number(job.result.gaussians)} Gaussians",
                            icon="IMPORT").job_id = job.job_id


CLASSES = (INTERNGS_PT_job, INTERNGS_PT_job_details, INTERNGS_PT_job_log, INTERNGS_PT_jobs, INTERNGS_PT_result)
