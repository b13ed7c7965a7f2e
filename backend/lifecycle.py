# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of jobs: made, queued, started, stopped, ended.  In the service's thread, inside its transactions."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from interngs.wire.errors import ErrorInfo, ServiceError
from interngs.wire.limits import JOB_EVENTS, JOB_LOG_EVENTS, NAME_CHARACTERS
from interngs.wire.records import CaptureRecord, EventKind, JobEvent, JobInfo, PreviewInfo, ResultInfo
from interngs.wire.states import ACTIVE, ENDED, Command, JobState, check_command

from .channel import (
    Beat,
    Checkpointed,
    Exited,
    Failed,
    Finished,
    Logged,
    PreviewWritten,
    Progressed,
    Report,
    StageBegan,
    StopMode,
    Work,
)
from .config import ServerConfig
from .executor.base import Executor
from .job_folder import JobFolder
from .jobs import Job
from .session import Session
from .store import Store
from .stream import Streams
from .turns import Running, Turns

_LOG = logging.getLogger(__name__)
_STATE_OF_STAGE: dict[str, JobState] = {"optimise": "training", "clean": "finishing", "evaluate": "finishing"}
_STOP_MODES: dict[Command, StopMode] = {"pause": "pause", "cancel": "cancel", "discard": "discard"}
_START_S = 180.0
_ORDER_OF_STATES: tuple[JobState, ...] = ("preparing", "training", "finishing")


class Lifecycle:
    """All jobs of the server, in memory and in the store alike."""

    def __init__(self, store: Store, config: ServerConfig, streams: Streams,
                 after_commit: Callable[[Callable[[], None]], None]) -> None:
        """``after_commit(action)`` runs ``action`` once the present transaction is on disk."""
        self._store, self._config, self._streams, self._after_commit = store, config, streams, after_commit
        self._turns = Turns(config)
        self._running: dict[str, Running] = {}
        self._queued_order = 0
        self._log_is_full: set[str] = set()
        self.executor: Executor | None = None
        self.jobs: dict[str, Job] = {}
        self.previews: dict[str, PreviewInfo] = {}
        self.draining = False

    # ---- start and end of the server ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Read all jobs; those that were at work when the server ended go on."""
        self.jobs = {job.job_id: job for job in self._store.jobs()}
        self._queued_order = max((job.queued_order for job in self.jobs.values()), default=0)
        for job in list(self.jobs.values()):
            if job.state in ACTIVE:
                self._worker_gone(job, "the server ended", 0)
            elif job.state in ("draft", "uploading"):
                self._queue_if_whole(job)

    def reload(self, jobs: dict[str, Job]) -> None:
        """A transaction was undone: go back to ``jobs``."""
        for job_id, job in jobs.items():
            if self.jobs.get(job_id) is not job:
                self._streams.rewind(job_id, job.last_seq)
        self.jobs = jobs

    # ---- questions ---------------------------------------------------------------------------------------------------

    def job_of(self, owner: str, job_id: str) -> Job:
        """An owner's job.

        Raises:
            ServiceError: ``unknown-job``: there is none, or it is someone else's.
        """
        job = self.jobs.get(job_id)
        if job is None or job.owner != owner or job.state == "discarded":
            raise ServiceError("unknown-job", "There is no such job on this server.",
                               "List the jobs; it may have been discarded.")
        return job

    def info(self, job: Job) -> JobInfo:
        """A job as its owner sees it."""
        if job.state != "queued":
            return job.info(None)
        return job.info(self._turns.positions.get(job.job_id), self._turns.starts_in_s(job.job_id))

    def folder(self, job_id: str) -> JobFolder:
        """The files of a job."""
        return JobFolder(self._store.folders.job(job_id))

    def count(self, owner: str | None, states: frozenset[JobState] | None = None) -> int:
        """How many jobs (of an owner) are in some states."""
        return sum((owner is None or job.owner == owner) and (states is None or job.state in states)
                   for job in self.jobs.values())

    # ---- making ------------------------------------------------------------------------------------------------------

    def create(self, session: Session, capture: CaptureRecord, settings: dict[str, Any], title: str,
               priority: int, expected_s: float = 0.0) -> Job:
        """A new job on disk, with its list of inputs; queued at once when none is missing."""
        now_s = time.time()
        job = Job(secrets.token_hex(16), session.owner, session.client_id, session.client_name, session.share,
                  title[:NAME_CHARACTERS], str(settings["preset"]), len(capture.views),
                  priority=max(-10, min(10, priority)), created_s=now_s, updated_s=now_s,
                  expected_s=expected_s)
        self._store.add_job(job, capture, settings)
        self.jobs[job.job_id] = job
        _LOG.info("job made", extra={"job": job.job_id, "views": job.views, "preset": job.preset})
        return self._queue_if_whole(job)

    def uploaded(self, owner: str) -> None:
        """An owner's blob was stored: queue the jobs that have all of theirs now."""
        for job in list(self.jobs.values()):
            if job.owner == owner and job.state in ("draft", "uploading"):
                self._queue_if_whole(job)

    def _queue_if_whole(self, job: Job) -> Job:
        if self._store.missing_inputs(job.job_id):
            return self._save(job.moved("uploading")) if job.state == "draft" else job
        return self._enqueue(job)

    def _enqueue(self, job: Job) -> Job:
        self._queued_order += 1
        return self._save(replace(job.moved("queued"), queued_order=self._queued_order))

    def _queue_again(self, job: Job) -> Job:
        """A job that lost its worker through no wish of its owner: it keeps its place."""
        return self._save(job.moved("queued"))

    # ---- commands ----------------------------------------------------------------------------------------------------

    def command(self, job: Job, command: Command) -> Job:
        """Do what an owner wants.

        Raises:
            ServiceError: ``illegal-move``.
        """
        check_command(command, job.state)
        _LOG.info("command", extra={"job": job.job_id, "command": command})
        if command == "resume":
            return self._enqueue(replace(job, failures=0))
        if job.state in ACTIVE:
            return self._stop_worker(job, command)
        if command == "pause":
            return self._save(job.moved("paused"))
        if command == "discard":
            return self.discard(job)
        return self._end(self._keep_latest(job), "cancelled")

    def _stop_worker(self, job: Job, command: Command) -> Job:
        running = self._running.get(job.job_id)
        grace_s = self._config.pause_grace_s if command == "pause" else self._config.cancel_grace_s
        if running is not None:
            deadline_s = time.monotonic() + grace_s
            running.stop_deadline_s = min(deadline_s, running.stop_deadline_s or deadline_s)
        executor, mode = self.executor, _STOP_MODES[command]
        if executor is not None:
            self._after_commit(lambda: executor.stop(job.job_id, mode))
        return self._save(replace(job, wanted=command, updated_s=time.time()))

    def discard(self, job: Job) -> Job:
        """Remove a job that no worker is at, with everything it has."""
        job = job.moved("discarded")
        self._streams.on_job(self.info(job))
        self._remove_blobs(self._store.remove_job(job.job_id))
        del self.jobs[job.job_id]
        self.previews.pop(job.job_id, None)
        folder = self._store.folders.job(job.job_id)
        self._after_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
        self._after_commit(lambda: self._streams.end(job.job_id))
        self._forget_elsewhere(job.job_id)
        return job

    def _forget_elsewhere(self, job_id: str) -> None:
        executor = self.executor
        if executor is not None:
            self._after_commit(lambda: executor.forget(job_id))

    def _remove_blobs(self, hashes: list[str]) -> None:
        def remove() -> None:
            for sha256 in hashes:
                # It may have come back in the same transaction.
                if not self._store.is_known(sha256):
                    self._store.folders.blobs.remove(sha256)

        if hashes:
            self._after_commit(remove)

    def make_room(self, owner: str, needed_bytes: int) -> None:
        """Let an owner's oldest finished jobs go until ``needed_bytes`` more fit its quota; fetched ones first.

        Raises:
            ServiceError: ``quota-exceeded``.
        """
        limits = self._config.limits
        ended = sorted((job for job in self.jobs.values() if job.owner == owner and job.state in ENDED),
                       key=lambda job: (not job.fetched, job.updated_s))
        while (self._store.stored_bytes(owner) + needed_bytes > limits.stored_bytes
               or self.count(owner) >= limits.jobs_kept):
            if not ended:
                raise ServiceError("quota-exceeded", "Your jobs on this server use all the space they may.",
                                   "Discard jobs that you do not need, or ask who runs the server for more.")
            job = ended.pop(0)
            _LOG.info("job cleared by quota", extra={"job": job.job_id})
            self.discard(job)

    # ---- running -----------------------------------------------------------------------------------------------------

    def next_job(self) -> Job | None:
        """The job to start now, if the executor has room for one."""
        if self.draining or self.executor is None or not self.count(None, frozenset({"queued"})):
            return None
        return self._turns.order(self.jobs.values())[0] if self.executor.can_start() else None

    def who_makes_way(self) -> list[Job]:
        """The long jobs that are to make way for short ones that wait; none while a worker is free."""
        if self.draining or self.executor is None or not self.count(None, frozenset({"queued"})) or (
                self.executor.can_start()):
            return []
        return self._turns.who_makes_way(self.jobs, self._running)

    def make_way(self, job: Job) -> None:
        """Let a job write a checkpoint and wait."""
        _LOG.info("job makes way", extra={"job": job.job_id})
        running, executor = self._running[job.job_id], self.executor
        running.makes_way, running.stop_deadline_s = True, time.monotonic() + self._config.pause_grace_s
        self.log(job, "This job makes way for a short one and goes on from its checkpoint after it.", "info")
        if executor is not None:
            self._after_commit(lambda: executor.stop(job.job_id, "pause"))

    def begin(self, job: Job) -> Work:
        """Record that a job starts now; its work is started once that is on disk."""
        capture, settings = self._store.work_of(job.job_id)
        self._turns.started(job)
        job = self._save(replace(job.moved("preparing"), attempt=job.attempt + 1, progress=None, stage=""))
        self._running[job.job_id] = Running(-1, time.monotonic(), time.monotonic())
        _LOG.info("job starts", extra={"job": job.job_id, "attempt": job.attempt})
        return Work(job.job_id, job.attempt, self._config.pipeline, str(self._store.folders.job(job.job_id)),
                    str(self._store.folders.blobs.folder), capture, settings, "auto", 0, None, job.attempt > 1,
                    self._config.limits)

    def tell_positions(self) -> None:
        """Tell watchers of queued jobs where theirs stand, when that changed."""
        for job in self.place():
            if self._streams.is_watched(job.job_id):
                self._streams.on_job(self.info(job))

    def place(self) -> list[Job]:
        """Work out anew where queued jobs stand; gives those that moved."""
        return self._turns.place(self.jobs, self._running, self.executor.workers if self.executor is not None else 1)

    def on_report(self, job_id: str, attempt: int, report: Report) -> None:
        """A worker said something, or ended."""
        job = self.jobs.get(job_id)
        if job is None or job.attempt != attempt or job.state not in ACTIVE:
            return
        if isinstance(report, Beat):
            self._on_beat(job_id, report)
        elif isinstance(report, StageBegan):
            self._on_stage(job, report)
        elif isinstance(report, Progressed):
            self.jobs[job_id] = replace(job, progress=report.progress)
            self._streams.on_progress(job_id, report.progress)
        elif isinstance(report, Logged):
            self.log(job, report.message, report.level)
        elif isinstance(report, PreviewWritten):
            self.previews[job_id] = PreviewInfo(report.number, report.step, report.gaussians, report.size_bytes)
            self._streams.on_preview(job_id, self.previews[job_id])
        elif isinstance(report, Checkpointed):
            newer = report.step > job.checkpoint_step
            job = replace(job, checkpoint_step=max(report.step, job.checkpoint_step),
                          failures=0 if newer else job.failures, folder_bytes=report.folder_bytes)
            self._save(self._emit(job, "checkpoint", step=report.step), quiet=True)
        elif isinstance(report, Finished):
            self._on_finished(job, report)
        elif isinstance(report, Failed):
            self._on_failed(job, ErrorInfo(report.code, report.cause, report.remedy))
        else:
            self._on_exit(job, report)

    def _on_beat(self, job_id: str, beat: Beat) -> None:
        running = self._running.get(job_id)
        if running is not None and beat.activity != running.activity:
            running.activity, running.active_s = beat.activity, time.monotonic()

    def _on_stage(self, job: Job, stage: StageBegan) -> None:
        job = self._emit(replace(job, stage=stage.name), "stage", text=stage.name, detail=stage.detail)
        state = _STATE_OF_STAGE.get(stage.name, "preparing")
        if _ORDER_OF_STATES.index(state) > _ORDER_OF_STATES.index(job.state):
            wanted = job.wanted
            job = replace(job.moved(state), wanted=wanted)
            running = self._running.get(job.job_id)
            if state == "training" and running is not None:
                running.training_s = time.monotonic()
        self._save(job)

    def _on_finished(self, job: Job, finished: Finished) -> None:
        if job.wanted == "discard":
            return      # its end is under way
        job = self._take_result(job, finished)
        running = self._running.get(job.job_id)
        makes_way = running is not None and running.makes_way
        if finished.complete or (job.wanted is None and not self.draining and not makes_way):
            if job.state != "finishing":
                job = self._save(job.moved("finishing"))
            self._end(job, "done")
        elif job.wanted == "cancel":
            self._end(job, "cancelled")
        elif job.wanted == "pause":
            self._save(job.moved("paused"))
        else:
            self._queue_again(job)      # the server stops, or a short job comes first
        self._forget_worker(job)

    def _on_failed(self, job: Job, error: ErrorInfo) -> None:
        if job.wanted == "discard":
            return
        job = self._keep_latest(job)
        self._end(job, "cancelled") if job.wanted == "cancel" else self._end(job, "failed", error)
        self._forget_worker(job)

    def _on_exit(self, job: Job, exited: Exited) -> None:
        running = self._forget_worker(job)
        wished = self.draining or (running is not None and running.makes_way)
        self._worker_gone(job, f"its worker ended with code {exited.code}", 0 if wished else exited.tries)

    def _forget_worker(self, job: Job) -> Running | None:
        running = self._running.pop(job.job_id, None)
        if running is not None:
            self._turns.ended(job, running)
        return running

    def _worker_gone(self, job: Job, reason: str, new_failures: int) -> None:
        """A job that was at work has no worker any more and did not say how it ended."""
        if job.wanted == "discard":
            self.discard(job)
            return
        if job.wanted == "cancel":
            self._end(self._keep_latest(job), "cancelled")
            return
        if job.wanted == "pause":
            self._save(self._keep_latest(job).moved("paused"))
            return
        failures = job.failures + new_failures
        _LOG.warning("worker lost", extra={"job": job.job_id, "reason": reason, "failures": failures})
        if failures >= self._config.tries:
            job = self._keep_latest(replace(job, failures=failures))
            self._end(job, "failed", ErrorInfo(
                "worker-lost", f"The reconstruction broke off {failures} times in a row without an answer: {reason}.",
                "The server may lack memory: use fewer or smaller photos; then resume, or look into the job's log."))
            return
        job = self.log(replace(job, failures=failures), f"The job goes on from its last checkpoint: {reason}.",
                       "warning")
        self._queue_again(job)

    def is_anything_active(self) -> bool:
        """Whether a worker is at any job."""
        return any(job.state in ACTIVE for job in self.jobs.values())

    def tick(self) -> None:
        """End workers that do not stop in time or show no activity."""
        now_s = time.monotonic()
        for job_id, running in self._running.items():
            overdue = running.stop_deadline_s is not None and now_s >= running.stop_deadline_s
            # Loading torch and photos gives no sign of activity, and a busy disk can make it long.
            silent_s = self._config.hang_s if running.activity > 0 else max(self._config.hang_s, _START_S)
            if overdue or now_s - running.active_s >= silent_s:
                _LOG.warning("worker ended by the server", extra={"job": job_id, "hung": not overdue})
                running.stop_deadline_s, running.active_s = None, now_s
                if self.executor is not None:
                    self.executor.kill(job_id)

    # ---- results and ends --------------------------------------------------------------------------------------------

    def _take_result(self, job: Job, finished: Finished) -> Job:
        """Make blobs of a worker's result files; without new Gaussians the older result stays."""
        job = replace(job, folder_bytes=finished.folder_bytes)
        if finished.splat is None:
            return job
        folder = self._store.folders.job(job.job_id)
        parts = [("result", finished.splat)] + ([("report", finished.report)] if finished.report else [])
        for name, ref in parts:
            self._store.folders.blobs.adopt(folder / name, ref.sha256)
        keep = tuple(ref.sha256 for _, ref in parts)
        self._remove_blobs(self._store.drop_job_blobs(job.job_id, ("result", "report"), keep))
        for name, ref in parts:
            self._store.add_blob(job.owner, ref)
            self._store.add_job_blob(job.job_id, ref, name)
        result = ResultInfo(finished.splat, finished.gaussians, finished.sh_degree, not finished.complete,
                            finished.step, finished.report)
        return self._emit(replace(job, result=result, fetched=False), "result", result=result)

    def _keep_latest(self, job: Job) -> Job:
        """The Gaussians that a lost or stopped run saved last become the job's result."""
        return self._take_result(job, self.folder(job.job_id).adopt_latest())

    def _end(self, job: Job, state: JobState, error: ErrorInfo | None = None) -> Job:
        _LOG.info("job ended", extra={"job": job.job_id, "state": state, "error": error.code if error else None})
        if state == "done":
            folder = self.folder(job.job_id)
            job = replace(job, folder_bytes=0)
            self._after_commit(folder.remove_work)      # nothing will resume it
            self._forget_elsewhere(job.job_id)
        return self._save(job.moved(state, error))

    def fetched(self, owner: str, sha256: str) -> None:
        """An owner downloaded a blob to its end: results among them may be cleared first."""
        for job in list(self.jobs.values()):
            if job.owner == owner and not job.fetched and job.result and job.result.splat.sha256 == sha256:
                self._save(replace(job, fetched=True), quiet=True)

    # ---- records -----------------------------------------------------------------------------------------------------

    def log(self, job: Job, message: str, level: str) -> Job:
        """A log line of a job, as long as it keeps any."""
        if job.last_seq < JOB_LOG_EVENTS:
            job = self._emit(job, "log", text=message, level=level)
        elif job.job_id not in self._log_is_full:
            self._log_is_full.add(job.job_id)
            job = self._emit(job, "log", text="Too many log lines: no more are kept.", level="warning")
        return self._save(job, quiet=True)

    def _emit(self, job: Job, kind: EventKind, **fields: Any) -> Job:
        if job.last_seq >= JOB_EVENTS:
            return job
        event = JobEvent(job.last_seq + 1, kind, time.time(), **fields)
        self._store.add_event(job.job_id, event)
        self._streams.on_event(job.job_id, event)
        return replace(job, last_seq=event.seq)

    def _save(self, job: Job, quiet: bool = False) -> Job:
        """Write a job; a changed state becomes an event, and watchers are told unless ``quiet``."""
        before = self.jobs.get(job.job_id)
        if before is not None and before.state != job.state:
            job = self._emit(job, "state", state=job.state, error=job.error)
        self.jobs[job.job_id] = job
        self._store.save_job(job)
        if not quiet:
            self._streams.on_job(self.info(job))
        return job

