# SPDX-License-Identifier: GPL-3.0-or-later
"""Registers what comes after a reconstruction: cleaning, placing, files, comparing."""

from __future__ import annotations

import bpy

from . import splat_properties
from .draw import compare_overlay, mark_overlay
from .ops import assets, report, splat_files
from .ops import clean as clean_operators
from .ops import compare as compare_operators
from .ops import place as place_operators
from .session import marking
from .ui import clean as clean_panel
from .ui import compare as compare_panel
from .ui import place as place_panel
from .ui import share as share_panel

CLASSES = (*clean_operators.CLASSES, *place_operators.CLASSES, *splat_files.CLASSES, *assets.CLASSES,
           *compare_operators.CLASSES, *report.CLASSES,
           *clean_panel.CLASSES, *place_panel.CLASSES, *compare_panel.CLASSES, *share_panel.CLASSES)
PARTS = (marking, mark_overlay, compare_overlay, splat_files)
"""What has handlers, timers or menu entries besides classes."""


def register() -> None:
    """Properties first, then operators and panels."""
    splat_properties.register()
    for each in CLASSES:
        bpy.utils.register_class(each)
    for part in PARTS:
        part.register()


def unregister() -> None:
    """Undo ``register``."""
    for part in reversed(PARTS):
        part.unregister()
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
    splat_properties.unregister()
