# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces that several panels draw: wrapped text, coloured states, the tab that all panels stand in."""

from __future__ import annotations

import bpy

from ..compat import icon
from ..session.wording import Mood, wrapped

TAB = "Intern-GS"
MOOD_ICONS: dict[Mood, str] = {"good": "COLORSET_03_VEC", "busy": "COLORSET_09_VEC", "bad": "COLORSET_01_VEC",
                               "idle": "RADIOBUT_OFF"}


class TabPanel:
    """Mix-in: a panel of the sidebar's Intern-GS tab."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = TAB


def draw_text(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon_name: str = "NONE",
              alert: bool = False) -> None:
    """Text in as many lines as the panel's width needs."""
    scale = context.preferences.system.ui_scale
    column = layout.column(align=True)
    column.scale_y = 0.8
    column.alert = alert
    room = context.region.width - (45 if icon_name == "NONE" else 65) * scale
    for number, line in enumerate(wrapped(text, room, scale)):
        column.label(text=line, icon=icon(icon_name if number == 0 else
                                          ("NONE" if icon_name == "NONE" else "BLANK1")))


def draw_state(layout: bpy.types.UILayout, text: str, mood: Mood) -> None:
    """A state in words and colour."""
    row = layout.row()
    row.alert = mood == "bad"
    row.label(text=text, icon=icon(MOOD_ICONS[mood]))
