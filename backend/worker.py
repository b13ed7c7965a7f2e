# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker's process: runs the pipeline for one job and reports over its standard output.  Ends with its parent."""

from __future__ import annotations

import faulthandler
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from interngs.errors import InternGSError
from interngs.wire.errors import WireError

from .channel import Beat, Failed, Finished, Stop, Work, read_record, write_record
from .locks import FileLock

_LOG = logging.getLogger(__name__)
BEAT_S = 1.0
_LOCK_WAIT_S = 20.0
_ORPHAN_GRACE_S = 5.0
CANCEL_GRACE_S = 0.8


class Reporter:
    """Writes reports to the front process, from any thread, until its pipe is gone."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._gone = False

    def send(self, record: Any) -> None:
        """Send a record; after the front process is gone this does nothing (stdin's end stops the worker)."""
        with self._lock:
            if self._gone:
                return
            try:
                write_record(self._stream, record)
            except OSError:
                self._gone = True


class Control:
    """What the front process wants, and the sign of life that it gets."""

    def __init__(self) -> None:
        self.stop_mode: str | None = None
        self.activity = 0
        self.idle = threading.Event()

    def shut_down(self) -> None:
        """Stop with a checkpoint, unless something else was wanted first."""
        self.stop_mode = self.stop_mode or "shutdown"

    def should_stop(self) -> bool:
        """Asked by the pipeline at every step: also counted as activity."""
        self.activity += 1
        return self.stop_mode is not None


def main() -> int:
    """Run one job; the exit code is 0 when its end was reported."""
    commands, reports = take_over_streams()
    faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    work = read_record(commands)
    if not isinstance(work, Work):
        return 2
    if hasattr(os, "nice") and len(sys.argv) > 1:
        os.nice(int(sys.argv[1]))       # on Windows the parent sets this when it starts the process
    if work.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(work.gpu)
    elif importlib.util.find_spec("gsplat") is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""     # the front process found no GPU: the worker must not take one
    reporter, control = Reporter(reports), Control()
    # Ctrl-C and a service manager signal the whole group: the front process says what to do, or the pipe's end does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: control.shut_down())
    lock = FileLock(Path(work.folder) / "lock")
    if not lock.acquire(_LOCK_WAIT_S):
        # An older worker of this job still ends; the front process tries again.
        _LOG.error("the job's folder is in use")
        return 3
    # Heavy, and imported when this is known to be the only worker of the job.
    from .worker_run import Run  # noqa: PLC0415

    run = Run(work, reporter.send, control.should_stop)
    threading.Thread(target=_obey, args=(commands, control, run.save_partial, reporter), daemon=True).start()
    threading.Thread(target=_beat, args=(reporter, control), daemon=True).start()
    end = end_of(run.to_the_end)
    if isinstance(end, Failed):
        keep_newest(run.keep_newest)
    reporter.send(end)
    control.idle.set()
    return 0


def end_of(run: Callable[[], Finished]) -> Finished | Failed:
    """The end of a run, whatever it is."""
    try:
        return run()
    except InternGSError as error:
        return Failed(error.code, error.cause, error.remedy)
    except Exception as error:  # noqa: BLE001 - the last frame of the process: every failure becomes a report
        _LOG.exception("the pipeline failed")
        # By name, since torch's own class is not known here.
        if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
            return Failed("out-of-memory", "The reconstruction needed more memory than the server has.",
                          "Use fewer or smaller photos, a lower preset, or a server with more memory.")
        return Failed("worker-error", f"The reconstruction failed: {type(error).__name__}: {str(error)[:300]}.",
                      "Look into the job's log on the server and report this as a bug.")


def keep_newest(keep: Callable[[], None]) -> None:
    """Save what a failed run had, if that still can be done; an older save stays otherwise."""
    try:
        keep()
    except (InternGSError, OSError, MemoryError):
        _LOG.exception("the newest Gaussians could not be saved")


def take_over_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for records alone: whatever prints goes to standard error."""
    commands = os.fdopen(os.dup(0), "rb")
    reports = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return commands, reports


def _obey(commands: BinaryIO, control: Control, save_partial: Callable[[], Finished], reporter: Reporter) -> None:
    """Take stop commands; the pipe's end means that the front process is gone."""
    while True:
        try:
            record = read_record(commands)
        except (WireError, OSError) as error:
            _LOG.error("the front process sent nonsense: %s", error)
            record = None
        if record is None:
            control.stop_mode = "shutdown"
            if not control.idle.wait(_ORPHAN_GRACE_S):
                _LOG.error("the front process is gone")
                os._exit(4)
            return
        if isinstance(record, Stop):
            control.stop_mode = record.mode
            if record.mode == "discard":
                os._exit(0)
            if record.mode == "cancel" and not control.idle.wait(CANCEL_GRACE_S):
                # The step at hand takes long: give what the newest preview showed.
                reporter.send(save_partial())
                os._exit(0)


def _beat(reporter: Reporter, control: Control) -> None:
    while not control.idle.is_set():
        reporter.send(Beat(control.activity))
        time.sleep(BEAT_S)


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    # Everything is reported and on disk; taking torch and CUDA down in good order would only hold the slot for seconds.
    os._exit(exit_code)
