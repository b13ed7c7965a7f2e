# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch user does with a server: submit, watch, list, fetch, cancel; plain functions that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from ..events import CheckpointSaved, Done, Event, Log, Progress, Stage
from ..scene.capture import CaptureFiles
from ..wire.errors import ErrorInfo
from ..wire.limits import CONTROL_PORT
from ..wire.records import Health, JobEvent, JobInfo, Preflight, Settings
from ..wire.states import ENDED, Command
from .link import FetchedResult, Link
from .sources import CaptureSource
from .updates import EventArrived, JobChanged, ProgressChanged, TransferChanged, TransferFailed, Update

DEFAULT_SERVER = f"tcp://127.0.0.1:{CONTROL_PORT}"
_CONNECT_TIMEOUT_S = 15.0
_ANSWER_TIMEOUT_S = 60.0
_POLL_S = 0.05
_CLIENT_NAME = "command line"

Uploaded = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) of an upload."""


def _say_nothing(done: int, total: int) -> None:
    """The default of ``uploaded``."""


@contextmanager
def connected(server: str = DEFAULT_SERVER, data_dir: Path | None = None,
              timeout_s: float = _CONNECT_TIMEOUT_S) -> Iterator[Link]:
    """A link that is up; closed with the block.

    Raises:
        ServiceError: refused, or no answer in time.
    """
    link = Link(_CLIENT_NAME, data_dir)
    try:
        link.connect(server)
        deadline_s = time.monotonic() + timeout_s
        while not link.state.is_up:
            state = link.state
            if state.phase == "refused" or time.monotonic() > deadline_s:
                error = state.error or ErrorInfo("server-unreachable", f"The server at {server} does not answer.",
                                                 "Check that it runs: python -m backend.")
                raise error.to_error()
            time.sleep(_POLL_S)
        yield link
    finally:
        link.close()


def pair(line: str, data_dir: Path | None = None) -> str:
    """Introduce this computer to a server by the line that its ``keys pair`` printed; gives the server's address."""
    link = Link(_CLIENT_NAME, data_dir)
    try:
        return link.pair(line).result(_ANSWER_TIMEOUT_S)
    finally:
        link.close()


def find_job(link: Link, text: str) -> JobInfo:
    """The job whose id begins with ``text`` (or whose title is ``text``).

    Raises:
        InputError: none or several.
    """
    jobs = link.jobs().result(_ANSWER_TIMEOUT_S)
    found = [job for job in jobs if job.job_id.startswith(text)] or [job for job in jobs if job.title == text]
    if len(found) != 1:
        many = f"{len(found)} jobs match" if found else "No job matches"
        raise InputError("unknown-job", f"{many} {text!r}.", "Run 'interngs jobs' and give more of the id.")
    return found[0]


def preflight(link: Link, capture: CaptureFiles, settings: Settings) -> Preflight:
    """The server's judgement of a capture; nothing is sent but its description."""
    return link.preflight(CaptureSource.of_files(capture), settings).result(_ANSWER_TIMEOUT_S)


def submit(link: Link, capture: CaptureFiles, settings: Settings, *, title: str = "", priority: int = 0,
           uploaded: Uploaded = _say_nothing) -> JobInfo:
    """Make a job and send its photos; returns when the server has everything.

    Raises:
        InternGSError: the capture is refused, a file changed meanwhile, ...
    """
    job = link.submit(CaptureSource.of_files(capture), settings, title=title, priority=priority).result()
    for update in _updates(link, job.job_id):
        if isinstance(update, TransferChanged) and update.direction == "upload":
            uploaded(update.bytes_done, update.bytes_total)
        elif isinstance(update, TransferFailed):
            raise update.error.to_error()
        elif isinstance(update, JobChanged) and update.job.state not in ("draft", "uploading"):
            return update.job
    raise AssertionError("updates end only with the job")


def watch(link: Link, job_id: str) -> Iterator[Event]:
    """A job's life as the events of a local run, from its beginning; ends with ``Done`` when there is a result.

    Raises:
        ServiceError: the job failed (after ``Done`` when it has a partial result), or the link is refused.
    """
    link.attach(job_id).result(_ANSWER_TIMEOUT_S)
    last: JobInfo | None = None
    seen = 0
    for update in _updates(link, job_id):
        if isinstance(update, ProgressChanged):
            progress = update.progress
            yield Progress(progress.stage, progress.step, progress.total_steps, progress.loss, progress.psnr_db,
                           progress.gaussians, progress.seconds_left)
        elif isinstance(update, EventArrived):
            seen = update.event.seq
            yield from _event_of(update.event)
        elif isinstance(update, JobChanged):
            last = update.job
        if last is not None and last.state in (*ENDED, "paused") and seen >= last.last_seq:
            break
    if last is None:
        return
    if last.result is not None and last.state != "discarded":
        result = link.fetch_result(last).result()
        yield Done(result.gaussians, {"complete": not result.info.partial, **result.report})
    if last.error is not None:
        raise last.error.to_error()


def run(link: Link, capture: CaptureFiles, settings: Settings, *, title: str = "",
        uploaded: Uploaded = _say_nothing, keep: bool = True) -> Iterator[Event]:
    """Submit and watch: the same events as ``interngs.pipeline.reconstruct`` gives.

    Without ``keep`` the server forgets the job once its result is here.
    """
    yield Stage("upload")
    job = submit(link, capture, settings, title=title, uploaded=uploaded)
    yield from watch(link, job.job_id)
    if not keep:
        link.discard(job.job_id).result(_ANSWER_TIMEOUT_S)


def jobs(link: Link) -> tuple[JobInfo, ...]:
    """All jobs of this computer's key, newest first."""
    return link.jobs().result(_ANSWER_TIMEOUT_S)


def fetch(link: Link, job: str) -> FetchedResult:
    """The result of a job, found as by ``find_job``."""
    return link.fetch_result(find_job(link, job)).result()


def command(link: Link, job: str, wanted: Command) -> JobInfo:
    """Pause, resume, cancel or discard a job, found as by ``find_job``."""
    calls = {"pause": link.pause, "resume": link.resume, "cancel": link.cancel, "discard": link.discard}
    return calls[wanted](find_job(link, job).job_id).result(_ANSWER_TIMEOUT_S)


def health(link: Link) -> Health:
    """The state of the server."""
    return link.health().result(_ANSWER_TIMEOUT_S)


def _event_of(event: JobEvent) -> Iterator[Event]:
    if event.kind == "stage":
        yield Stage(event.text, event.detail)
    elif event.kind == "log":
        yield Log(event.text, event.level)
    elif event.kind == "checkpoint":
        # The file is the server's; its step is what a client can use.
        yield CheckpointSaved(Path(), event.step or 0)


def _updates(link: Link, job_id: str) -> Iterator[Update]:
    """News of a job as they come.

    Raises:
        ServiceError: the link is refused.
    """
    while True:
        updates = link.poll()
        for update in updates:
            owner = update.job.job_id if isinstance(update, JobChanged) else getattr(update, "job_id", None)
            if owner == job_id:
                yield update
        if link.state.phase == "refused" and link.state.error is not None:
            raise link.state.error.to_error()
        if not updates:
            time.sleep(_POLL_S)
