# SPDX-License-Identifier: GPL-3.0-or-later
"""Show an error where the artist looks for it: the panel; unforeseen ones are logged with their trace as well."""

from __future__ import annotations

import logging

import bpy

from ...interngs.errors import InternGSError
from ..messages import explain
from .state import session_state

logger = logging.getLogger(__name__)


def show_error(error: BaseException, while_doing: str) -> str:
    """Put an error where the panel shows it; returns one line for Blender's status bar."""
    explained = explain(error, while_doing, bpy.app.version_string)
    session_state().show_error(explained)
    if not isinstance(error, InternGSError):
        logger.error("%s", explained.details)
    return f"{explained.headline}: {explained.cause} {explained.remedy}"
