# SPDX-License-Identifier: GPL-3.0-or-later
"""Register the panels."""

from __future__ import annotations

import bpy

from ..session.thumbnails import thumbnails
from . import backend, capture, job, photos, preview

CLASSES = (*backend.CLASSES, *photos.CLASSES, *capture.CLASSES, *job.CLASSES, *preview.CLASSES)


def register() -> None:
    """Register every panel and list."""
    for each in CLASSES:
        bpy.utils.register_class(each)


def unregister() -> None:
    """Undo ``register``."""
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
    thumbnails().clear()
