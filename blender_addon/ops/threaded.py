# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of operators with arithmetic that takes long: a thread does it, and Blender's window never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import bpy

from .guarded import GuardedOperator

TICK_S = 0.05


class ThreadedOperator(GuardedOperator):
    """Mix-in: implement ``prepare`` and ``finish``.

    From the interface the operator stays modal until its thread is done, so that one undo step comes after the whole;
    Esc gives up.  Called from a script it does the same at once.
    """

    doing = "Working"

    _thread: threading.Thread | None = None
    _timer: Any = None
    _interactive = False

    def prepare(self, context: bpy.types.Context) -> Callable[[], Any]:
        """Read what is needed, on the main thread; returns the arithmetic, which must not touch bpy."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, outcome: Any) -> set[str]:
        """Show the outcome, on the main thread."""
        raise NotImplementedError

    def run(self, context: bpy.types.Context) -> set[str]:
        """All at once, or, once a file browser was open, beside the interface."""
        if self._interactive:
            self._interactive = False
            return self.start(context)
        return self.finish(context, self.prepare(context)())

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Start the thread."""
        return self.guard(lambda: self.start(context))

    def start(self, context: bpy.types.Context) -> set[str]:
        """Begin; goes on in ``modal``."""
        if bpy.app.background:
            return self.finish(context, self.prepare(context)())
        work = self.prepare(context)
        self._outcome: list[Any] = []

        def in_thread() -> None:
            try:
                self._outcome.append(work())
            except Exception as error:  # noqa: BLE001 - raised again on the main thread
                self._outcome.append(error)

        self._thread = threading.Thread(target=in_thread, name="interngs-operator", daemon=True)
        self._thread.start()
        manager = context.window_manager
        self._timer = manager.event_timer_add(TICK_S, window=context.window)
        manager.modal_handler_add(self)
        self._say(context, f"{self.doing} ... (Esc gives up)")
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Wait for the thread."""
        if event.type == "ESC":
            self._stop_waiting(context)
            return {"CANCELLED"}
        if event.type != "TIMER" or not self._outcome:
            return {"PASS_THROUGH"}
        self._stop_waiting(context)

        def take() -> set[str]:
            outcome = self._outcome[0]
            if isinstance(outcome, Exception):
                raise outcome
            return self.finish(context, outcome)

        return self.guard(take)

    def _stop_waiting(self, context: bpy.types.Context) -> None:
        context.window_manager.event_timer_remove(self._timer)
        self._say(context, None)

    @staticmethod
    def _say(context: bpy.types.Context, text: str | None) -> None:
        if context.workspace is not None:
            context.workspace.status_text_set(text)
