# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of a run as a progress bar in the terminal, and a Ctrl-C that stops it after the present step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from ..events import Done, Event, Log, Progress, Stage

STAGE_NAMES = {"upload": "Sending photographs", "load": "Reading photographs", "geometry": "Finding depth",
               "seeding": "Placing Gaussians", "optimise": "Optimising", "clean": "Cleaning"}


class Interrupt:
    """Ctrl-C, or a scheduler's SIGTERM, asks the run to stop after a checkpoint; a second one stops at once."""

    def __init__(self, signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)) -> None:
        self._signals = signals
        self._asked = threading.Event()

    def asked(self) -> bool:
        """Whether the run is to stop."""
        return self._asked.is_set()

    @contextmanager
    def listening(self) -> Iterator[Callable[[], bool]]:
        """Handle the signals within the block; yields ``asked``."""
        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._asked.is_set():
                raise KeyboardInterrupt
            self._asked.set()

        if threading.current_thread() is not threading.main_thread():
            yield self.asked
            return
        previous = {number: signal.signal(number, on_signal) for number in self._signals}
        try:
            yield self.asked
        finally:
            for number, handler in previous.items():
                # None: a library's own handler, which Python cannot put back (pycolmap's prints a stack trace).
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def show(events: Iterator[Event], console: Console) -> Done | None:
    """Draw ``events`` until they end; returns the last ``Done``, ``None`` when the run was stopped early."""
    done: Done | None = None
    with Bars(TextColumn("{task.description:<20}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
              TextColumn("{task.fields[facts]}"), console=console, transient=False) as bars:
        bar: TaskID | None = None
        for event in events:
            if isinstance(event, Stage):
                if bar is not None:
                    bars.update(bar, completed=1)
                bar = bars.add_task(STAGE_NAMES.get(event.name, event.name), total=1, facts=event.detail)
            elif isinstance(event, Progress) and bar is not None:
                bars.update(bar, completed=event.fraction, facts=facts_of(event))
            elif isinstance(event, Log):
                console.print(event.message, style="yellow" if event.level == "warning" else "dim", highlight=False)
            elif isinstance(event, Done):
                done = event
                if bar is not None:
                    bars.update(bar, completed=1)
    return done


def facts_of(progress: Progress) -> str:
    """Step, PSNR, Gaussians and time left in a few words."""
    parts = [f"{progress.step}/{progress.total_steps}"]
    if progress.psnr_db is not None:
        parts.append(f"{progress.psnr_db:.2f} dB")
    if progress.gaussians is not None:
        parts.append(f"{progress.gaussians / 1000:.0f} k Gaussians")
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(parts)
