# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that talks to Ray for the server: jobs in over its standard input, reports out, Ray in between.

A process of its own, so that the server's front neither loads Ray nor falls with it.  Placement, retries after lost
machines and workers, cancelling and growing of the cluster are Ray's.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, TaskCancelledError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from interngs.calm_threads import calm_threads
from interngs.errors import InternGSError
from interngs.wire.errors import WireError
from interngs.wire.records import DeviceInfo

from ..blobs import BlobFolder
from ..channel import (
    Beat,
    Exited,
    Failed,
    Finished,
    ForgetJob,
    JobReport,
    KillJob,
    PreviewWritten,
    RaySetup,
    Ready,
    StopJob,
    Work,
    bytes_of,
    read_record,
    record_of,
)
from ..job_folder import JobFolder
from ..worker import BEAT_S, Reporter, take_over_streams
from .job_files import JobFiles, remove_others
from .ray_mailbox import Mailbox
from .ray_worker import run_job

_LOG = logging.getLogger(__name__)
_ORPHAN_GRACE_S = 5.0
_END_GRACE_S = 3.0
_CLUSTER_POLL_S = 10.0
_JOBS_A_PROCESS = 20
_KILLED, _CRASHED, _BUG = -9, -1, 1


@dataclass(eq=False)
class _Job:
    """An attempt in Ray's hands."""

    work: Work
    reports: queue.SimpleQueue[tuple[bytes, bytes]] = field(default_factory=queue.SimpleQueue)
    exit: queue.SimpleQueue[Exited] = field(default_factory=queue.SimpleQueue)
    ref: Any = None
    begun: bool = False
    unwanted: bool = False
    reported_end_s: float | None = None


class Driver:
    """All jobs that were handed to Ray."""

    def __init__(self, setup: RaySetup, reporter: Reporter) -> None:
        self._setup, self._reporter = setup, reporter
        self._jobs: dict[tuple[str, int], _Job] = {}
        self._lock = threading.Lock()
        self._ending = False
        self._forgetting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._forgetter = threading.Thread(target=self._forget, daemon=True)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        # On a GPU one job per process: its memory goes with it.  On CPUs a process takes several, since loading PyTorch
        # costs seconds; a job that is killed or crashes takes its process along in any case.
        calls = 1 if setup.gpus_per_job > 0 else _JOBS_A_PROCESS
        self._task: Any = ray.remote(
            num_cpus=setup.cpus_per_job, num_gpus=setup.gpus_per_job, memory=setup.memory_bytes_per_job or None,
            max_retries=setup.tries - 1, max_calls=calls)(run_job)

    def run(self, commands: BinaryIO) -> None:
        """Take records until the front process has gone or ends its stream."""
        self._reporter.send(self._ready())
        for target in (self._take_reports, self._watch):
            threading.Thread(target=target, daemon=True).start()
        self._forgetter.start()
        while (record := _next_record(commands)) is not None:
            if isinstance(record, Work):
                self._start(record)
            elif isinstance(record, StopJob):
                self._stop(record)
            elif isinstance(record, KillJob):
                self._kill(record.job_id, record.attempt)
            elif isinstance(record, ForgetJob):
                self._forgetting.put(record.job_id)
        self._shut_down()

    # ---- jobs --------------------------------------------------------------------------------------------------------

    def _start(self, work: Work) -> None:
        threads = max(1, int(self._setup.cpus_per_job))
        on_gpu = self._setup.gpus_per_job > 0
        # Ray shows a task only the GPUs it may use, so its own is number 0.
        job = _Job(replace(work, device="cuda" if on_gpu else "cpu", threads=threads, gpu=0 if on_gpu else None))
        with self._lock:
            self._jobs[work.job_id, work.attempt] = job
        for target in (self._carry, self._relay):
            threading.Thread(target=target, args=(job,), daemon=True).start()

    def _carry(self, job: _Job) -> None:
        """One thread per job: files to the cluster, the task, its end."""
        job_id, attempt = job.work.job_id, job.work.attempt
        ray.get(self._mailbox.expect.remote(job_id, attempt))
        code = 0
        try:
            self._bring_files(job.work)
            if not job.unwanted:
                job.ref = self._task.options(name=f"interngs {job_id[:8]}").remote(
                    bytes_of(job.work), self._setup.files, self._mailbox)
                ray.get(job.ref)
        except (InternGSError, OSError) as error:
            _LOG.exception("files of a job could not be brought to the cluster")
            code = _BUG
            job.reports.put((bytes_of(_failure_of(error)), b""))
        except TaskCancelledError:
            code = _KILLED
        except OutOfMemoryError:
            code = _CRASHED
            job.reports.put((bytes_of(Failed(
                "out-of-memory", "The reconstruction needed more memory than the cluster's machine has.",
                "Use fewer or smaller photos, a lower preset, or machines with more memory.")), b""))
        except RayTaskError:
            _LOG.exception("a task failed outside the pipeline")
            code = _BUG
        except RayError as error:
            _LOG.warning("a task was lost: %s", error)
            code = _CRASHED
        except Exception:  # noqa: BLE001 - the last frame of a thread: its job must not wait for ever
            _LOG.exception("a job could not be handed to Ray")
            code = _BUG
        tries = ray.get(self._mailbox.end.remote(job_id, attempt))
        job.exit.put(Exited(code, tries))

    def _bring_files(self, work: Work) -> None:
        files, blobs = JobFiles(self._setup.files, work.job_id), BlobFolder(Path(work.blobs))
        for ref in work.capture.blobs():
            files.put("inputs", blobs.path(ref.sha256), ref.sha256)
        if work.resume and not files.has_state():
            files.save_state(Path(work.folder))     # an earlier attempt ran on this machine itself

    def _relay(self, job: _Job) -> None:
        """One thread per job: its reports in order, each after the files it tells of."""
        folder, end = JobFolder(Path(job.work.folder)), None
        folder.folder.mkdir(parents=True, exist_ok=True)
        while True:
            data, payload = job.reports.get()
            record = record_of(data) if data else job.exit.get()
            job.begun = True
            try:
                if isinstance(record, PreviewWritten):
                    folder.write_preview(record.number, [payload])
                elif isinstance(record, Finished):
                    self._fetch_result(job.work, folder, record)
                elif isinstance(record, Failed) or (isinstance(record, Exited) and end is None):
                    JobFiles(self._setup.files, job.work.job_id).load_state(folder.folder, ("latest", "latest.json"))
            except (InternGSError, OSError) as error:
                _LOG.exception("files of a job could not be fetched")
                if isinstance(record, Finished):
                    record = _failure_of(error)
            if isinstance(record, Finished | Failed):
                end, job.reported_end_s = record, time.monotonic()
            self._say(job, record)
            if isinstance(record, Exited):
                with self._lock:
                    del self._jobs[job.work.job_id, job.work.attempt]
                return

    def _fetch_result(self, work: Work, folder: JobFolder, finished: Finished) -> None:
        files = JobFiles(self._setup.files, work.job_id)
        for name, ref in (("result", finished.splat), ("report", finished.report)):
            if ref is not None:
                files.get("results", ref.sha256, folder.folder / name)

    def _say(self, job: _Job, record: Any) -> None:
        self._reporter.send(JobReport(job.work.job_id, job.work.attempt, bytes_of(record)))

    # ---- commands ----------------------------------------------------------------------------------------------------

    def _stop(self, stop: StopJob) -> None:
        job = self._find(stop.job_id, stop.attempt)
        if job is None:
            return
        job.unwanted = True
        begun = ray.get(self._mailbox.command.remote(stop.job_id, stop.attempt, stop.mode))
        if not begun and job.ref is not None:
            ray.cancel(job.ref)     # still waits for a place

    def _kill(self, job_id: str, attempt: int) -> None:
        job = self._find(job_id, attempt)
        if job is not None:
            job.unwanted = True
            if job.ref is not None:
                ray.cancel(job.ref, force=True)

    def _find(self, job_id: str, attempt: int) -> _Job | None:
        with self._lock:
            return self._jobs.get((job_id, attempt))

    def _forget(self) -> None:
        """A thread that removes files which nobody needs any more."""
        try:
            remove_others(self._setup.files, self._setup.keep)
        except (InternGSError, OSError):
            _LOG.exception("files that an earlier server left behind could not be removed")
        while (job_id := self._forgetting.get()) is not None:
            try:
                JobFiles(self._setup.files, job_id).remove()
            except (InternGSError, OSError):
                _LOG.exception("files of a job that is no longer needed could not be removed")

    def _shut_down(self) -> None:
        """The front process has gone: jobs write a checkpoint and stop."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            self._stop(StopJob(job.work.job_id, job.work.attempt, "shutdown"))
        deadline_s = time.monotonic() + _ORPHAN_GRACE_S
        while self._jobs and time.monotonic() < deadline_s:
            time.sleep(0.05)
        for job in jobs:
            self._kill(job.work.job_id, job.work.attempt)
        self._ending = True
        self._forgetting.put(None)
        self._forgetter.join(_ORPHAN_GRACE_S)

    # ---- threads -----------------------------------------------------------------------------------------------------

    def _take_reports(self) -> None:
        while True:
            try:
                found = ray.get(self._mailbox.take.remote())
            except RayError as error:
                if self._ending:
                    return
                _LOG.error("the mailbox is gone: %s", error)
                os._exit(5)     # the server starts another driver, and its jobs go on from their checkpoints
            for job_id, attempt, record, payload in found:
                job = self._find(job_id, attempt)
                if job is not None:
                    job.reports.put((record, payload))

    def _watch(self) -> None:
        """Signs of life of jobs that wait for a place, ends of tasks that do not end, and the cluster's size."""
        beats, next_look_s, told = 0, time.monotonic() + _CLUSTER_POLL_S, self._ready()
        while True:
            time.sleep(BEAT_S)
            beats += 1
            with self._lock:
                jobs = list(self._jobs.values())
            for job in jobs:
                if not job.begun:
                    self._say(job, Beat(beats))
                elif job.reported_end_s is not None and time.monotonic() - job.reported_end_s > _END_GRACE_S:
                    self._kill(job.work.job_id, job.work.attempt)
            if time.monotonic() >= next_look_s:
                next_look_s = time.monotonic() + _CLUSTER_POLL_S
                if (ready := self._ready()) != told:
                    told = ready
                    self._reporter.send(ready)

    def _ready(self) -> Ready:
        """What fits on the cluster now, machine by machine."""
        setup, fits, gpus, cpus, memory = self._setup, 0, 0.0, 0.0, 0.0
        nodes = [node for node in ray.nodes() if node["Alive"]]
        for node in nodes:
            has = node["Resources"]
            gpus, cpus, memory = gpus + has.get("GPU", 0), cpus + has.get("CPU", 0), memory + has.get("memory", 0)
            wanted = {"CPU": setup.cpus_per_job, "GPU": setup.gpus_per_job, "memory": setup.memory_bytes_per_job}
            bounds = [int(has.get(name, 0) // amount) for name, amount in wanted.items() if amount > 0]
            fits += min(bounds, default=1)
        name = f"Ray cluster of {len(nodes)} machine{'s' * (len(nodes) != 1)}, {cpus:g} CPUs, {gpus:g} GPUs"
        return Ready(setup.jobs or max(1, fits),
                     DeviceInfo(name, "cuda" if setup.gpus_per_job > 0 else "cpu", int(memory)))


def _failure_of(error: InternGSError | OSError) -> Failed:
    if isinstance(error, InternGSError):
        return Failed(error.code, error.cause, error.remedy)
    return Failed("files-unreachable", f"The job's files cannot be reached: {error}.",
                  "Check ray.files of the server and the disk behind it, then resume the job.")


def _next_record(commands: BinaryIO) -> Any | None:
    try:
        return read_record(commands)
    except (WireError, OSError) as error:
        _LOG.error("the front process sent nonsense: %s", error)
        return None


def connect(setup: RaySetup) -> None:
    """Join the cluster, or start one of this machine alone that listens on loopback only."""
    options: dict[str, Any] = {"address": setup.address} if setup.address else {
        "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    environment = dict(setup.environment)
    calm_threads(environment)
    if not setup.address:
        environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environment}
    ray.init(**options, log_to_driver=False, configure_logging=False, runtime_env={"env_vars": environment})


def main() -> int:
    """Serve one front process; the exit code is 0 when it went in good order."""
    commands, reports = take_over_streams()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    setup = read_record(commands)
    if not isinstance(setup, RaySetup):
        return 2
    reporter = Reporter(reports)
    try:
        connect(setup)
    except Exception as error:  # noqa: BLE001 - Ray raises bare Exception when its parts do not start in time
        _LOG.exception("no Ray cluster")
        reporter.send(Failed("no-cluster", f"The Ray cluster {setup.address or 'of this machine'} cannot be reached: "
                             f"{str(error)[:300]}.", "Start it with 'ray start --head', or correct ray.address."))
        return 1
    Driver(setup, reporter).run(commands)
    ray.shutdown()
    return 0


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    os._exit(exit_code)
