# SPDX-License-Identifier: GPL-3.0-or-later
"""Register the operators."""

from __future__ import annotations

import bpy

from . import backend, capture, jobs, photos, poses

CLASSES = (*backend.CLASSES, *photos.CLASSES, *poses.CLASSES, *capture.CLASSES, *jobs.CLASSES)


def register() -> None:
    """Register every operator."""
    for each in CLASSES:
        bpy.utils.register_class(each)


def unregister() -> None:
    """Undo ``register``."""
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
