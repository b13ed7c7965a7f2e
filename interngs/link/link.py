# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's public face: every call returns at once, answers come as futures, news through ``poll``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .. import __version__
from ..errors import InternGSError
from ..scene.gaussians import Gaussians
from ..wire.errors import ErrorInfo, ServiceError, WireError
from ..wire.limits import REPORT_BYTES
from ..wire.messages import (
    Accepted,
    CommandJob,
    Detach,
    GetHealth,
    GetInputs,
    JobList,
    ListJobs,
    Message,
    PreflightCapture,
    Submit,
)
from ..wire.records import BlobRef, Health, JobInfo, Preflight, ResultInfo, Settings
from ..wire.results import read_frames, read_result
from ..wire.states import Command
from .address import format_address, parse_address
from .beside import Beside
from .downloads import Download
from .engine import CLOSED, Engine
from .keys import ClientFiles
from .mailbox import Mailbox
from .pairing import pair
from .requests import settle, settle_failed
from .sources import CaptureSource, PreparedCapture, RenderSource, prepare, prepare_render
from .state import LinkState
from .updates import TransferChanged, Update
from .watches import Watch

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class FetchedResult:
    """A result as it was fetched: Gaussians bit for bit, and the report (empty when the job had none)."""

    info: ResultInfo
    gaussians: Gaussians
    report: dict[str, Any]


class Link:
    """A client of one server at a time.

    No method waits, so all may be called from a user interface; ``Future.result(timeout)`` is for programs that can
    wait.  Futures fail with ``InternGSError`` (code, cause, remedy).  Their callbacks run in the link's threads.
    A lost server is found again by the link itself: open requests, watched jobs and transfers go on.

    Example::

        link = Link("my tool")
        link.connect("tcp://127.0.0.1:47800")
        job = link.submit(capture, {"preset": "draft"}).result(60)
        link.attach(job.job_id)
        for update in link.poll():
            ...
        link.close()
    """

    def __init__(self, client_name: str = "interngs", data_dir: Path | None = None) -> None:
        """``client_name`` is shown to people; ``data_dir`` holds this client's id and keys (default: the user's)."""
        self._files = ClientFiles(data_dir)
        self._mailbox = Mailbox()
        self._engine = Engine(self._files, client_name, __version__, self._mailbox)
        self._client_name = client_name
        self._closing = threading.Event()
        self._files_read = Beside("interngs-link-files")
        self._thread = threading.Thread(target=self._engine.run, name="interngs-link", daemon=True)
        self._thread.start()

    # ---- connection --------------------------------------------------------------------------------------------------

    def connect(self, address: str) -> None:
        """Connect to ``tcp://host:port`` and stay connected; progress shows in ``state``.

        Raises:
            InputError: ``address`` is none.
        """
        whole = format_address(*parse_address(address))
        self._engine.post(lambda: self._engine.connect(whole))

    def disconnect(self) -> None:
        """Leave the server.  Jobs there go on."""
        self._engine.post(self._engine.disconnect)

    @property
    def state(self) -> LinkState:
        """What the link is doing now; ``state.server`` has the server's hello: limits, devices, priors, versions."""
        return self._engine.state

    def pair(self, line: str) -> Future[str]:
        """Introduce this computer to a server by the line that its ``keys pair`` printed; gives the server's address.

        Stores the server's key.  Connect afterwards.
        """
        future: Future[str] = Future()

        def work() -> None:
            try:
                settle(future, pair(line, self._files, self._client_name))
            except InternGSError as error:
                settle_failed(future, error)

        threading.Thread(target=work, name="interngs-link-pair", daemon=True).start()
        return future

    def forget_server(self, address: str) -> None:
        """Forget the stored key of a server, after its operator confirmed that it was changed."""
        self._files.remember_server(address, None)

    def close(self, timeout_s: float = 2.0) -> bool:
        """End the link's threads; open futures fail with ``link-closed``.  False when a thread did not end in time."""
        self._closing.set()
        self._files_read.stop()
        self._engine.stop()
        deadline_s = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        ended = [beside.join(max(0.0, deadline_s - time.monotonic()))
                 for beside in (self._files_read, self._engine.arrivals)]
        return all(ended) and not self._thread.is_alive()

    def poll(self, most: int = 256) -> list[Update]:
        """News since the last call, oldest first; at most ``most``."""
        return self._mailbox.take(most)

    # ---- jobs --------------------------------------------------------------------------------------------------------

    def preflight(self, capture: CaptureSource, settings: Settings) -> Future[Preflight]:
        """Let the server judge a capture before anything is sent: findings, time, memory, bytes to upload.

        ``settings``: ``interngs.config.PipelineConfig`` as a dict, or the part that differs from its preset.
        """
        future: Future[Preflight] = Future()

        def prepared(ready: PreparedCapture) -> None:
            self._request(PreflightCapture(ready.record, settings), future, lambda answer: answer.report)

        self._prepare(self._reading(capture), future, prepared)
        return future

    def submit(self, capture: CaptureSource, settings: Settings, *, title: str = "", priority: int = 0,
               preview_budget: int | None = 0) -> Future[JobInfo]:
        """Make a job of a capture, upload what the server lacks, and attach to it.

        The future is done when the server has the job on disk; the upload goes on behind it and is reported by
        ``TransferChanged``.  ``preview_budget`` as in ``attach``.
        """
        future: Future[JobInfo] = Future()

        self._prepare(self._reading(capture), future,
                      lambda ready: self._submit(ready, settings, title, priority, preview_budget, future))
        return future

    def render(self, render: RenderSource, *, title: str = "", priority: int = 0) -> Future[JobInfo]:
        """Make a job that renders frames of finished splats, upload the splats that the server lacks, and attach.

        At most ``RENDER_FRAMES`` frames and ``RENDER_PIXELS`` pixels a job (``interngs/wire/limits.py``): send a longer
        animation as several jobs.

        Raises (in the future):
            ServiceError: ``capability-missing`` when the server is too old to render.
        """
        future: Future[JobInfo] = Future()

        def prepared(ready: PreparedCapture) -> None:
            server = self._engine.state.server
            if server is not None and "render" not in server.capabilities:
                settle_failed(future, ServiceError("capability-missing", "The server cannot render splats.",
                                                   "Update the server."))
                return
            self._submit(ready, {}, title, priority, 0, future)

        self._prepare(lambda: prepare_render(render), future, prepared)
        return future

    def supply(self, job_id: str, capture: CaptureSource) -> Future[JobInfo]:
        """Go on with the upload of a job whose client went away: send what it lacks from ``capture``."""
        future: Future[JobInfo] = Future()

        def prepared(ready: PreparedCapture) -> None:
            def on_inputs(answer: Accepted) -> JobInfo:
                self._engine.uploads.begin(job_id, answer.missing, ready.blobs)
                return answer.job

            self._request(GetInputs(job_id), future, on_inputs)

        self._prepare(self._reading(capture), future, prepared)
        return future

    def jobs(self) -> Future[tuple[JobInfo, ...]]:
        """All jobs of this computer's key at the server, newest first."""
        future: Future[tuple[JobInfo, ...]] = Future()

        def ask(so_far: tuple[JobInfo, ...]) -> None:
            def answered(answer: JobList) -> None:
                found = so_far + answer.jobs
                if answer.jobs and len(found) < answer.total:
                    ask(found)
                else:
                    settle(future, found)

            self._engine.request(ListJobs(len(so_far)), answered, lambda error: settle_failed(future, error))

        self._engine.post(lambda: ask(()))
        return future

    def attach(self, job_id: str, *, after_seq: int = 0, preview_budget: int | None = 0) -> Future[JobInfo]:
        """Watch a job: a snapshot now, then every event after ``after_seq`` in order, and newest progress and previews.

        Args:
            preview_budget: how many Gaussians of each preview to fetch (rounded up to blocks of 65 536); None for all,
                0 for no previews.
        """
        future: Future[JobInfo] = Future()
        self._engine.post(lambda: self._engine.attach(
            Watch(job_id, preview_budget, after_seq), lambda answer: settle(future, answer.job),
            lambda error: settle_failed(future, error)))
        return future

    def detach(self, job_id: str) -> None:
        """Stop watching a job; the job goes on."""
        def leave() -> None:
            if self._engine.watches.by_job.pop(job_id, None) is not None:
                self._engine.request(Detach(job_id), lambda answer: None, lambda error: None)

        self._engine.post(leave)

    def set_preview_budget(self, job_id: str, preview_budget: int | None) -> None:
        """Change how many Gaussians of the next previews of a watched job are fetched."""
        def change() -> None:
            if (watch := self._engine.watches.by_job.get(job_id)) is not None:
                watch.budget = preview_budget

        self._engine.post(change)

    def pause(self, job_id: str) -> Future[JobInfo]:
        """Stop a job after a checkpoint."""
        return self._command(job_id, "pause")

    def resume(self, job_id: str) -> Future[JobInfo]:
        """Let a paused, cancelled or failed job go on from its checkpoint."""
        return self._command(job_id, "resume")

    def cancel(self, job_id: str) -> Future[JobInfo]:
        """End a job and keep the Gaussians it has so far."""
        return self._command(job_id, "cancel")

    def discard(self, job_id: str) -> Future[JobInfo]:
        """Remove a job with everything it has."""
        return self._command(job_id, "discard")

    def health(self) -> Future[Health]:
        """Devices, disk, queue and versions of the server."""
        future: Future[Health] = Future()
        self._engine.post(lambda: self._request(GetHealth(), future, lambda answer: answer.health))
        return future

    def fetch_result(self, job: JobInfo) -> Future[FetchedResult]:
        """Download the result of a job and compare it with its hash; goes on over lost connections.

        Raises:
            ServiceError: ``no-result`` when the job has none.
        """
        info = _result_of(job)
        future = Future[FetchedResult]()

        def failed(error: ErrorInfo) -> None:
            settle_failed(future, error.to_error())

        def fetch_splat(report: dict[str, Any]) -> None:
            self._download(info.splat, read_result,
                           lambda gaussians: settle(future, FetchedResult(info, gaussians, report)), failed,
                           self._reporting(job))

        def begin() -> None:
            if info.report is None:
                fetch_splat({})
            elif info.report.size_bytes > REPORT_BYTES:
                failed(ErrorInfo("limit-exceeded", "The result's report is too large.", "Report this as a bug."))
            else:
                self._download(info.report, _read_report, fetch_splat, failed, lambda done, total: None)

        self._engine.post(begin)
        return future

    def fetch_frames(self, job: JobInfo) -> Future[dict[int, memoryview]]:
        """Download the frames of a render, EXR files by their numbers, and compare them with their hash.

        Raises:
            ServiceError: ``no-result`` when the job has none.
        """
        info, future = _result_of(job), Future[dict[int, memoryview]]()
        self._engine.post(lambda: self._download(
            info.splat, read_frames, lambda frames: settle(future, frames),
            lambda error: settle_failed(future, error.to_error()), self._reporting(job)))
        return future

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _command(self, job_id: str, command: Command) -> Future[JobInfo]:
        future: Future[JobInfo] = Future()

        def answered(answer: Any) -> JobInfo:
            self._engine.watches.on_job(answer.job)
            if command in ("cancel", "discard"):
                self._engine.uploads.drop(job_id)
            job: JobInfo = answer.job
            return job

        self._engine.post(lambda: self._request(CommandJob(job_id, command), future, answered))
        return future

    def _request(self, message: Message, future: Future[Value], convert: Callable[[Any], Value]) -> None:
        """In the socket thread: send a request whose converted answer settles ``future``."""
        self._engine.request(message, lambda answer: settle(future, convert(answer)),
                             lambda error: settle_failed(future, error))

    def _reporting(self, job: JobInfo) -> Callable[[int, int], None]:
        return lambda done, total: self._mailbox.put(TransferChanged(job.job_id, "download", done, total))

    def _download(self, blob: BlobRef, read: Callable[[memoryview], Any], finished: Callable[[Any], None],
                  failed: Callable[[ErrorInfo], None], advanced: Callable[[int, int], None]) -> None:
        if self._engine.state.phase in ("idle", "refused", "closed"):
            failed(ErrorInfo("server-unreachable", "There is no server.", "Connect to one first."))
            return
        self._engine.downloads.add(Download(f"blob:{blob.sha256}", blob.size_bytes, read, finished, failed,
                                            blob.sha256, advanced))

    def _submit(self, ready: PreparedCapture, settings: Settings, title: str, priority: int,
                preview_budget: int | None, future: Future[JobInfo]) -> None:
        """In the socket thread: make the job, upload what it lacks, attach to it."""
        def on_accepted(answer: Accepted) -> JobInfo:
            self._engine.uploads.begin(answer.job.job_id, answer.missing, ready.blobs)
            self._engine.attach(Watch(answer.job.job_id, preview_budget, 0))
            return answer.job

        self._request(Submit(ready.record, settings, title, priority), future, on_accepted)

    def _reading(self, capture: CaptureSource) -> Callable[[], PreparedCapture]:
        return lambda: prepare(capture, self._closing.is_set)

    def _prepare(self, make: Callable[[], PreparedCapture], future: Future[Any],
                 then: Callable[[PreparedCapture], None]) -> None:
        """Read and hash files in the file thread, then go on in the socket thread."""
        def work() -> None:
            try:
                ready = make()
            except InternGSError as error:
                settle_failed(future, error)
                return
            self._engine.post(lambda: then(ready))

        if self._closing.is_set():
            settle_failed(future, CLOSED)
        else:
            self._files_read.do(work)


def _read_report(data: memoryview) -> dict[str, Any]:
    """The JSON report of a result.

    Raises:
        WireError: it is none.
    """
    try:
        report = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise WireError("The result's report is no JSON.") from error
    if not isinstance(report, dict):
        raise WireError("The result's report is no JSON object.")
    return report


def _result_of(job: JobInfo) -> ResultInfo:
    if job.result is None:
        raise ServiceError("no-result", f"The job {job.title or job.job_id[:8]!r} has no result.",
                           "Wait until it is done, or cancel it to keep what it has so far.")
    return job.result
