# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as child processes of this one: one per GPU, or one per CPU slot."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from interngs.calm_threads import calm_threads
from interngs.wire.errors import WireError

from ..channel import Exited, Stop, StopMode, Work, read_record, write_record
from .base import Deliver

_LOG = logging.getLogger(__name__)
_LOG_KEPT_BYTES = 1 << 20


@dataclass(frozen=True)
class Slot:
    """A place for one job.

    Attributes:
        gpu: its index; None for a share of the CPU.
        threads: CPU threads of the job.
        device: as the pipeline takes it.  ``auto`` on the CPU when nobody asked for the CPU, so that the pipeline finds
            and says the reason itself.
    """

    gpu: int | None
    threads: int
    device: Literal["auto", "cpu", "cuda"]


@dataclass(eq=False)
class _Running:
    work: Work
    slot: Slot
    process: subprocess.Popen[bytes]
    commands: queue.SimpleQueue[Work | Stop | None] = field(default_factory=queue.SimpleQueue)


class LocalExecutor:
    """Runs each job in a process of its own."""

    def __init__(self, slots: list[Slot], deliver: Deliver, gpu_has_room: Callable[[int], bool],
                 niceness: int) -> None:
        """``gpu_has_room``: whether a GPU has enough free memory to start a job on it."""
        self._slots, self._deliver, self._gpu_has_room = slots, deliver, gpu_has_room
        self._niceness = niceness
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()

    @property
    def workers(self) -> int:
        """How many jobs can run at the same time."""
        return len(self._slots)

    def can_start(self) -> bool:
        """Whether a slot is free (and its GPU has room)."""
        return self._free_slot() is not None

    def _free_slot(self) -> Slot | None:
        with self._lock:
            taken = [running.slot for running in self._running.values()]
        for slot in self._slots:
            if slot in taken:
                taken.remove(slot)
            elif slot.gpu is None or self._gpu_has_room(slot.gpu):
                return slot
        return None

    def start(self, work: Work) -> None:
        """Spawn a worker.

        Raises:
            OSError: the system cannot start a process.
        """
        slot = self._free_slot()
        assert slot is not None, "can_start was not asked"
        work = replace(work, device=slot.device, threads=slot.threads, gpu=slot.gpu)
        folder = Path(work.folder)
        folder.mkdir(parents=True, exist_ok=True)
        process = _spawn(folder / "worker.log", self._niceness)
        running = _Running(work, slot, process)
        with self._lock:
            self._running[work.job_id] = running
        running.commands.put(work)
        for target in (self._listen, self._tell):
            threading.Thread(target=target, args=(running,), name=f"worker-{work.job_id[:8]}", daemon=True).start()

    def stop(self, job_id: str, mode: StopMode) -> None:
        """Ask a job to stop; nothing when it does not run."""
        with self._lock:
            running = self._running.get(job_id)
        if running is not None:
            running.commands.put(Stop(mode))

    def kill(self, job_id: str) -> None:
        """End a job's process at once."""
        with self._lock:
            running = self._running.get(job_id)
        if running is not None:
            running.process.kill()

    def forget(self, job_id: str) -> None:
        """Nothing is kept outside the job's folder."""

    def close(self, timeout_s: float) -> None:
        """Stop all jobs with a checkpoint, wait, and kill what is left."""
        with self._lock:
            running = list(self._running.values())
        for entry in running:
            entry.commands.put(Stop("shutdown"))
        deadline_s = time.monotonic() + timeout_s
        for entry in running:
            try:
                entry.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _LOG.warning("worker did not stop in time", extra={"job": entry.work.job_id})
                entry.process.kill()
                entry.process.wait()

    def _tell(self, running: _Running) -> None:
        """One thread per worker: a pipe may be full, and nobody else shall wait for it."""
        pipe = running.process.stdin
        assert pipe is not None
        try:
            while (record := running.commands.get()) is not None:
                write_record(pipe, record)
            pipe.close()
        except OSError:
            _LOG.info("worker was gone before it was told", extra={"job": running.work.job_id})

    def _listen(self, running: _Running) -> None:
        """One thread per worker: its reports, then its end."""
        assert running.process.stdout is not None
        stream = running.process.stdout
        try:
            while (record := read_record(stream)) is not None:
                self._deliver(running.work.job_id, running.work.attempt, record)
        except (WireError, OSError) as error:
            # A worker that was killed in the middle of a word.
            _LOG.info("worker's reports broke off: %s", error, extra={"job": running.work.job_id})
            running.process.kill()
        code = running.process.wait()
        with self._lock:
            if self._running.get(running.work.job_id) is running:
                del self._running[running.work.job_id]
        stream.close()
        running.commands.put(None)
        self._deliver(running.work.job_id, running.work.attempt, Exited(code))


def _spawn(log_path: Path, niceness: int) -> subprocess.Popen[bytes]:
    """A worker process; on POSIX it lowers its own priority by ``niceness``."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    calm_threads(environment)
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    if niceness:
        flags |= getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
    fresh = not log_path.exists() or log_path.stat().st_size > _LOG_KEPT_BYTES
    with log_path.open("wb" if fresh else "ab") as log:
        return subprocess.Popen([sys.executable, "-m", "backend.worker", str(niceness)], env=environment,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, creationflags=flags)
