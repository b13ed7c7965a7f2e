# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators that change the active splat ask for before they can be pressed."""

from __future__ import annotations

from ..scene.splat_object import is_splat


class OnSplat:
    """Mix-in, named before the operator's other bases: it works on the active splat, in object mode."""

    @classmethod
    def poll(cls, context):
        """Whether the active object holds Gaussians and can be changed; sets the poll message if not."""
        if not is_splat(context.active_object):
            cls.poll_message_set("Select an object that holds Gaussians")
            return False
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave edit mode first")
            return False
        if context.active_object.library is not None or context.active_object.data.library is not None:
            cls.poll_message_set("This splat is linked from another file; make it local first")
            return False
        return True
