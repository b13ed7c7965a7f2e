# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel 1, Backend: which server, its state, the local backend, pairing."""

from __future__ import annotations

from typing import ClassVar

import bpy

from ...interngs import __version__
from ..preferences import preferences
from ..session.session import session
from ..session.state import session_state
from ..session.wording import connection, device, number
from .parts import TabPanel, draw_state, draw_text

SHOWN_LOG_LINES = 12


class INTERNGS_PT_notice(TabPanel, bpy.types.Panel):
    """What went wrong last."""

    bl_idname = "INTERNGS_PT_notice"
    bl_label = "Notice"
    bl_options: ClassVar = {"HIDE_HEADER"}
    bl_order = 0

    @classmethod
    def poll(cls, _context):
        """Only while there is something to say."""
        return session_state().error is not None

    def draw(self, context):
        """Headline, cause, remedy, copy and dismiss."""
        error = session_state().error
        box = self.layout.box()
        row = box.row()
        row.alert = True
        row.label(text=error.headline, icon="ERROR")
        row.operator("interngs.dismiss_error", text="", icon="X", emboss=False)
        draw_text(box, context, error.cause)
        draw_text(box, context, error.remedy, "FORWARD")
        box.operator("interngs.copy_details", icon="COPYDOWN")


class INTERNGS_PT_backend(TabPanel, bpy.types.Panel):
    """The backend that reconstructs: connection, local backend, pairing."""

    bl_idname = "INTERNGS_PT_backend"
    bl_label = "Backend"
    bl_order = 1

    def draw(self, context):
        """Server, state, buttons, facts."""
        layout, state = self.layout, session_state()
        row = layout.row(align=True)
        row.prop(context.window_manager.interngs, "server", text="")
        row.operator("interngs.open_preferences", text="", icon="PREFERENCES")
        draw_state(layout, *connection(state.link))
        if state.link.error is not None and state.link.phase in ("lost", "refused"):
            draw_text(layout, context, state.link.error.cause, alert=state.link.phase == "refused")
        row = layout.column(align=True)
        if state.link.phase in ("idle", "closed", "refused"):
            row.operator("interngs.connect", icon="LINKED")
        else:
            row.operator("interngs.disconnect", icon="UNLINKED")
        if session().local.is_running:
            row.operator("interngs.stop_local_backend", icon="PAUSE")
        else:
            row.operator("interngs.start_local_backend", icon="PLAY")
        if state.link.server is not None:
            self._draw_server(layout, context)

    @staticmethod
    def _draw_server(layout, context):
        state = session_state()
        server = state.link.server
        column = layout.column(align=True)
        column.enabled = state.link.is_up
        for each in server.devices:
            draw_text(column, context, device(each), "MEMORY")
        waiting = server.queue_length if state.health is None else state.health.jobs.get("queued", server.queue_length)
        column.label(text=f"{number(server.workers)} at work at a time, {waiting} waiting", icon="SORTTIME")
        fits = "" if server.version == __version__ else f", add-on {__version__}"
        column.label(text=f"Backend {server.version}{fits}", icon="INFO")
        if state.link.restarted:
            column.label(text="It was restarted; jobs were kept", icon="FILE_REFRESH")


class INTERNGS_PT_local_log(TabPanel, bpy.types.Panel):
    """What the local backend writes."""

    bl_idname = "INTERNGS_PT_local_log"
    bl_label = "Local Backend's Log"
    bl_parent_id = "INTERNGS_PT_backend"
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, _context):
        """Only once one was started."""
        return bool(session().local.log)

    def draw(self, context):
        """The newest lines."""
        local = session().local
        if local.exit_code not in (None, 0):
            draw_text(self.layout, context, f"It ended with code {local.exit_code}", "ERROR", alert=True)
        for line in local.log[-SHOWN_LOG_LINES:]:
            draw_text(self.layout, context, line)
        self.layout.operator("interngs.copy_log", icon="COPYDOWN")


class INTERNGS_PT_pairing(TabPanel, bpy.types.Panel):
    """Get to know a backend on another computer."""

    bl_idname = "INTERNGS_PT_pairing"
    bl_label = "Pair"
    bl_parent_id = "INTERNGS_PT_backend"
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context):
        """The field for the line, and the button."""
        draw_text(self.layout, context,
                  "On the backend's computer run 'interngs-backend keys pair' and paste its line:")
        self.layout.prop(context.window_manager.interngs, "pairing", text="")
        self.layout.operator("interngs.pair", icon="KEYINGSET")
        if not preferences().servers:
            self.layout.label(text="The server list is empty", icon="INFO")


CLASSES = (INTERNGS_PT_notice, INTERNGS_PT_backend, INTERNGS_PT_local_log, INTERNGS_PT_pairing)
