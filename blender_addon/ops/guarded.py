# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all operators: an error becomes an artist's words in the panel, never a bare traceback."""

from __future__ import annotations

from collections.abc import Callable

import bpy

from ..session.errors import show_error


class GuardedOperator:
    """Mix-in: implement ``run`` in place of ``execute``."""

    bl_label: str

    def run(self, context: bpy.types.Context) -> set[str]:
        """The operator's work; may raise."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Run, and tell of any failure."""
        return self.guard(lambda: self.run(context))

    def guard(self, work: Callable[[], set[str]], after_error: Callable[[], object] | None = None) -> set[str]:
        """The result of ``work``; or ``CANCELLED`` with the error shown, once ``after_error`` has tidied up."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the last line of defence before Blender prints a traceback
            if after_error is not None:
                after_error()
            self.report({"ERROR"}, show_error(error, self.bl_label))
            return {"CANCELLED"}
