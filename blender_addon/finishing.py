# SPDX-License-Identifier: GPL-3.0-or-later
"""Registers what comes after a reconstruction: cleaning, placing, files, comparing."""

from __future__ import annotations

import bpy

from . import splat_properties
from .draw import mark_overlay
from .ops import clean as clean_operators
from .ops import place as place_operators
from .session import marking
from .ui import clean as clean_panel
from .ui import place as place_panel

OPERATORS = (*clean_operators.CLASSES, *place_operators.CLASSES)
PANELS = (*clean_panel.CLASSES, *place_panel.CLASSES)
PARTS = (splat_properties, marking, mark_overlay)


def register() -> None:
    """Properties first, then operators and panels."""
    splat_properties.register()
    for each in (*OPERATORS, *PANELS):
        bpy.utils.register_class(each)
    for part in PARTS[1:]:
        part.register()


def unregister() -> None:
    """Undo ``register``."""
    for part in reversed(PARTS[1:]):
        part.unregister()
    for each in reversed((*OPERATORS, *PANELS)):
        bpy.utils.unregister_class(each)
    splat_properties.unregister()
