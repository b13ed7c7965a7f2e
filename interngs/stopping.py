# SPDX-License-Identifier: GPL-3.0-or-later
"""How long work learns that the run is to stop: it calls a check in between, which raises."""

from __future__ import annotations

from collections.abc import Callable


class Stopped(Exception):
    """Raised inside long work when the run is asked to stop; what was finished before stays."""


StopCheck = Callable[[], None]
"""Called between two pieces of work, from any thread; raises ``Stopped`` where the run is to stop."""


def never() -> None:
    """The check of work that nobody stops."""


def stop_check(should_stop: Callable[[], bool]) -> StopCheck:
    """The check that raises once ``should_stop()`` says so."""
    def check() -> None:
        if should_stop():
            raise Stopped

    return check
