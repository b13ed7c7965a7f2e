# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as tasks of a Ray cluster, through a driver process that this one starts, hears and starts again."""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interngs.errors import InternGSError
from interngs.wire.errors import WireError
from interngs.wire.records import DeviceInfo

from ..channel import (
    Exited,
    Failed,
    ForgetJob,
    JobReport,
    KillJob,
    RaySetup,
    Ready,
    StopJob,
    StopMode,
    Work,
    read_record,
    record_of,
    write_record,
)
from ..config import RaySettings
from .base import Deliver

_LOG = logging.getLogger(__name__)
_READY_S = 120.0
_AGAIN_S = 5.0


@dataclass(eq=False)
class _Driver:
    """A driver process and what is on its way to it."""

    process: subprocess.Popen[bytes]
    commands: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)


class RayExecutor:
    """Hands jobs to a Ray cluster."""

    def __init__(self, settings: RaySettings, store: Path, server_id: str, keep: Iterable[str], tries: int,
                 deliver: Deliver, show_device: Callable[[DeviceInfo], None]) -> None:
        """Start the driver and wait until it is in touch with the cluster.

        Args:
            store: the server's store; holds the driver's log, and job files when ``settings.files`` is empty.
            server_id: names this server's part of the job files, which other servers may share.
            keep: ids of the jobs whose files may be needed again.
            tries: how often Ray may begin a job without a new checkpoint between.
            show_device: told what the cluster is made of, now and when it changes; from any thread.

        Raises:
            InternGSError: ``ray-missing``, ``no-cluster``.
        """
        if importlib.util.find_spec("ray") is None:
            raise InternGSError("ray-missing", "The executor 'ray' needs the package Ray, which is not installed.",
                                "pip install 'interngs[ray]', or set executor = 'local'.")
        files = f"{(settings.files or str(store.absolute() / 'ray-files')).rstrip('/')}/{server_id}"
        self._setup = RaySetup(settings.address, settings.jobs, settings.cpus_per_job, settings.gpus_per_job,
                               settings.memory_bytes_per_job, files, settings.environment, tries, tuple(keep))
        self._log_path, self._deliver, self._show_device = store / "ray-driver.log", deliver, show_device
        self._lock = threading.Lock()
        self._running: dict[str, int] = {}
        self._workers = 1
        self._closing = False
        self._began_s = 0.0
        self._answered = threading.Event()
        self._is_ready = False
        self._refusal: Failed | None = None
        self._driver = self._start_driver()
        if not self._answered.wait(_READY_S) or not self._is_ready:
            self._driver.process.kill()
            refused = self._refusal or Failed("no-cluster", "The Ray cluster did not answer.",
                                              f"Look into {self._log_path}.")
            raise InternGSError(refused.code, refused.cause, refused.remedy)

    @property
    def workers(self) -> int:
        """How many jobs the cluster has room for."""
        return self._workers

    def can_start(self) -> bool:
        """Whether a job more can be handed over."""
        with self._lock:
            return len(self._running) < self._workers and (
                self._driver.process.poll() is None or time.monotonic() - self._began_s >= _AGAIN_S)

    def start(self, work: Work) -> None:
        """Hand a job over.

        Raises:
            OSError: the driver is gone and cannot be started again.
        """
        with self._lock:
            if self._driver.process.poll() is not None:
                _LOG.error("the Ray driver ended; another is started")
                self._driver = self._start_driver()
            self._running[work.job_id] = work.attempt
        self._driver.commands.put(work)

    def stop(self, job_id: str, mode: StopMode) -> None:
        """Ask a job to stop; nothing when it does not run."""
        self._tell(job_id, lambda attempt: StopJob(job_id, attempt, mode))

    def kill(self, job_id: str) -> None:
        """End a job's task at once."""
        self._tell(job_id, lambda attempt: KillJob(job_id, attempt))

    def forget(self, job_id: str) -> None:
        """Remove a job's files from where the cluster has them."""
        self._driver.commands.put(ForgetJob(job_id))

    def _tell(self, job_id: str, make: Callable[[int], Any]) -> None:
        with self._lock:
            attempt = self._running.get(job_id)
        if attempt is not None:
            self._driver.commands.put(make(attempt))

    def close(self, timeout_s: float) -> None:
        """Stop all jobs with a checkpoint, wait, and end what is left."""
        self._closing = True
        with self._lock:
            running = list(self._running)
        for job_id in running:
            self.stop(job_id, "shutdown")
        deadline_s = time.monotonic() + timeout_s
        while self._running and time.monotonic() < deadline_s:
            time.sleep(0.02)
        self._driver.commands.put(None)
        try:
            self._driver.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _LOG.warning("the Ray driver did not end in time")
            self._driver.process.kill()
            self._driver.process.wait()

    # ---- the driver --------------------------------------------------------------------------------------------------

    def _start_driver(self) -> _Driver:
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"RAY_USAGE_STATS_ENABLED": "0", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self._began_s = time.monotonic()
        with self._log_path.open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "backend.executor.ray_driver"], env=environment,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                       start_new_session=True,      # a Ctrl-C is for the server, which ends it
                                       creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
        driver = _Driver(process)
        driver.commands.put(self._setup)
        for target in (self._listen, self._write):
            threading.Thread(target=target, args=(driver,), name="ray-driver", daemon=True).start()
        return driver

    def _write(self, driver: _Driver) -> None:
        pipe = driver.process.stdin
        assert pipe is not None
        try:
            while (record := driver.commands.get()) is not None:
                write_record(pipe, record)
            pipe.close()
        except OSError:
            _LOG.info("the Ray driver was gone before it was told")

    def _listen(self, driver: _Driver) -> None:
        stream = driver.process.stdout
        assert stream is not None
        try:
            while (record := read_record(stream)) is not None:
                self._on_record(record)
        except (WireError, OSError) as error:
            _LOG.error("the Ray driver's reports broke off: %s", error)
            driver.process.kill()
        code = driver.process.wait()
        driver.commands.put(None)
        with self._lock:
            lost = dict(self._running) if driver is self._driver or not self._answered.is_set() else {}
            self._running = {} if lost else self._running
        for job_id, attempt in lost.items():
            self._deliver(job_id, attempt, Exited(code))
        self._answered.set()

    def _on_record(self, record: Any) -> None:
        if isinstance(record, JobReport):
            report = record_of(record.record)
            if isinstance(report, Exited):
                with self._lock:
                    if self._running.get(record.job_id) == record.attempt:
                        del self._running[record.job_id]
            self._deliver(record.job_id, record.attempt, report)
        elif isinstance(record, Ready):
            self._workers = record.workers
            self._is_ready = True
            self._show_device(record.device)
            self._answered.set()
        elif isinstance(record, Failed):
            self._refusal = record
            self._answered.set()
