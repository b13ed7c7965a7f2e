# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of operators with arithmetic or files that take long: a thread does it, and Blender's window never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import bpy

from .guarded import GuardedOperator

TICK_S = 0.05


class ThreadedOperator(GuardedOperator):
    """Mix-in: implement ``prepare`` and ``finish``; or ``parts`` and ``finish_all`` for work in several parts.

    From the interface the operator stays modal until its thread is done, so that one undo step comes after the whole;
    Esc gives up.  Called from a script it does the same at once.
    """

    doing = "Working"

    _timer: Any = None
    _interactive = False

    def prepare(self, context: bpy.types.Context) -> Callable[[], Any]:
        """Read what is needed, on the main thread; returns the work for the thread, which must not touch bpy."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, outcome: Any) -> set[str]:
        """Show the outcome, on the main thread."""
        raise NotImplementedError

    def parts(self, context: bpy.types.Context) -> Iterator[Callable[[], Any]]:
        """The work in parts; the generator goes on, on the main thread, once the thread has done the one before."""
        yield self.prepare(context)

    def finish_all(self, context: bpy.types.Context, outcomes: list[Any]) -> set[str]:
        """Show the outcomes of all parts, on the main thread."""
        return self.finish(context, outcomes[0])

    def run(self, context: bpy.types.Context) -> set[str]:
        """All at once, or, once a file browser was open, beside the interface."""
        if self._interactive and not bpy.app.background:
            self._interactive = False
            return self.start(context)
        return self.finish_all(context, [work() for work in self.parts(context)])

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Start the thread."""
        return self.guard(lambda: self.run(context) if bpy.app.background else self.start(context))

    def start(self, context: bpy.types.Context) -> set[str]:
        """Begin; goes on in ``modal``."""
        self._parts, self._outcomes = self.parts(context), []
        self._begin(next(self._parts))
        manager = context.window_manager
        self._timer = manager.event_timer_add(TICK_S, window=context.window)
        manager.modal_handler_add(self)
        self._say(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Wait for the thread."""
        if event.type == "ESC":
            self._parts.close()
            return self._end(context, {"CANCELLED"})
        if event.type != "TIMER" or not self._news:
            return {"PASS_THROUGH"}
        return self.guard(lambda: self._go_on(context), lambda: self._end(context, {"CANCELLED"}))

    def _go_on(self, context: bpy.types.Context) -> set[str]:
        outcome = self._news[0]
        if isinstance(outcome, Exception):
            self._parts.close()
            raise outcome
        self._outcomes.append(outcome)
        work = next(self._parts, None)
        if work is not None:
            self._begin(work)
            self._say(context)
            return {"RUNNING_MODAL"}
        return self._end(context, self.finish_all(context, self._outcomes))

    def _begin(self, work: Callable[[], Any]) -> None:
        news: list[Any] = []

        def in_thread() -> None:
            try:
                news.append(work())
            except Exception as error:  # noqa: BLE001 - raised again on the main thread
                news.append(error)

        self._news = news
        threading.Thread(target=in_thread, name="interngs-operator", daemon=True).start()

    def _end(self, context: bpy.types.Context, result: set[str]) -> set[str]:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        return result

    def _say(self, context: bpy.types.Context) -> None:
        if context.workspace is not None:
            done = f" ({len(self._outcomes)} done)" if self._outcomes else ""
            context.workspace.status_text_set(f"{self.doing}{done} ... (Esc gives up)")
