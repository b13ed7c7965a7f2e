# SPDX-License-Identifier: GPL-3.0-or-later
"""Registers final renders: their properties, operators and panel."""

from __future__ import annotations

import bpy

from . import render_properties
from .ops import render as operators
from .ui import render as panel

CLASSES = (*operators.CLASSES, *panel.CLASSES)


def register() -> None:
    """Properties first, then operators and panel."""
    render_properties.register()
    for each in CLASSES:
        bpy.utils.register_class(each)


def unregister() -> None:
    """Undo ``register``."""
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
    render_properties.unregister()
