# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads as a state machine: which chunk goes next, within the credit, from whatever offset the server names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ..errors import InternGSError
from ..wire.errors import ErrorInfo
from ..wire.messages import Failure, Message, UploadChunk, UploadOpen, UploadState
from ..wire.records import BlobRef
from .sources import BlobSource

AT_ONCE = 4
"""Blobs whose chunks are on their way at the same time, so that small ones do not wait for a round trip each."""


@dataclass
class _Task:
    source: BlobSource
    sent: int = 0
    confirmed: int = 0
    opened: bool = False
    in_flight: int = 0


@dataclass
class _JobUpload:
    total: int
    waiting: set[str]
    sizes: dict[str, int]
    prepared: dict[str, BlobSource] = field(repr=False, default_factory=dict)


Changed = Callable[[str, int, int], None]
"""Called with (job id, bytes done, bytes in all)."""
Failed = Callable[[str, ErrorInfo], None]


class Uploads:
    """All uploads of one link, in the socket thread."""

    def __init__(self, changed: Changed, failed: Failed) -> None:
        self._changed, self._failed = changed, failed
        self._jobs: dict[str, _JobUpload] = {}
        self._tasks: dict[str, _Task] = {}
        self._in_flight: dict[str, tuple[str, int]] = {}

    @property
    def job_ids(self) -> list[str]:
        """Jobs whose inputs are not all stored yet."""
        return list(self._jobs)

    def sources_of(self, job_id: str) -> dict[str, BlobSource]:
        """Where the blobs of a job under way come from."""
        job = self._jobs.get(job_id)
        return job.prepared if job else {}

    def begin(self, job_id: str, missing: Iterable[BlobRef], sources: dict[str, BlobSource]) -> None:
        """Upload what a job lacks; called again after a loss with what it lacks then."""
        wanted = {ref.sha256: ref.size_bytes for ref in missing if ref.sha256 in sources}
        before = self._jobs.get(job_id)
        total = before.total if before else sum(wanted.values())
        if not wanted:
            self._jobs.pop(job_id, None)
            if before:
                self._changed(job_id, total, total)
            return
        self._jobs[job_id] = _JobUpload(total, set(wanted), wanted, sources)
        for sha256 in wanted:
            self._tasks.setdefault(sha256, _Task(sources[sha256]))

    def reset(self) -> None:
        """The connection is gone: what was on its way will be asked for anew."""
        self._tasks.clear()
        self._in_flight.clear()

    def drop(self, job_id: str) -> None:
        """Stop uploading for a job."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        needed = {sha256 for other in self._jobs.values() for sha256 in other.waiting}
        for sha256 in job.waiting - needed:
            self._tasks.pop(sha256, None)

    def finish(self, job_id: str) -> None:
        """The server says that it has everything for a job."""
        job = self._jobs.get(job_id)
        if job is not None:
            self.drop(job_id)
            self._changed(job_id, job.total, job.total)

    def pump(self, send: Callable[[Message], str], credit: int) -> None:
        """Send what the credit allows; ``send`` returns the request id of what it sent."""
        for sha256, task in list(self._tasks.items())[:AT_ONCE]:
            size = task.source.ref.size_bytes
            if not task.opened:
                if len(self._in_flight) < credit and not task.in_flight:
                    self._note(send(UploadOpen(task.source.ref, task.source.kind)), sha256, task, -1)
                continue
            while task.sent < size and len(self._in_flight) < credit:
                length = min(self.chunk_bytes, size - task.sent)
                try:
                    payload = np.frombuffer(task.source.read(task.sent, length), np.uint8)
                except InternGSError as error:
                    self._fail(sha256, ErrorInfo.of(error))
                    break
                self._note(send(UploadChunk(sha256, task.sent, payload)), sha256, task, task.sent + length)
                task.sent += length

    chunk_bytes = 1 << 18
    """Set by the server's ``bulk-ready``."""

    def _note(self, request_id: str, sha256: str, task: _Task, end: int) -> None:
        task.in_flight += 1
        self._in_flight[request_id] = (sha256, end)

    def on_answer(self, request_id: str, answer: UploadState | Failure) -> bool:
        """Take the answer to something that ``pump`` sent; False when it is not ours."""
        known = self._in_flight.pop(request_id, None)
        if known is None:
            return False
        sha256, end = known
        task = self._tasks.get(sha256)
        if task is None:
            return True
        task.in_flight -= 1
        if isinstance(answer, Failure):
            if answer.code == "upload-credit":
                task.opened = False
            else:
                self._fail(sha256, ErrorInfo(answer.code, answer.cause, answer.remedy))
        elif answer.stored:
            self._stored(sha256)
        else:
            self._advance(task, end, answer.offset)
        return True

    def _advance(self, task: _Task, end: int, offset: int) -> None:
        if end < 0:
            task.opened, task.sent = True, offset
        elif end != offset:
            task.opened = False     # someone else sends it too, or the server lost some: ask where to go on
        task.confirmed = offset
        self._report(task.source.ref.sha256)

    def _stored(self, sha256: str) -> None:
        self._tasks.pop(sha256, None)
        for job_id, job in list(self._jobs.items()):
            if sha256 in job.waiting:
                job.waiting.discard(sha256)
                self._report_job(job_id, job)
                if not job.waiting:
                    del self._jobs[job_id]

    def _fail(self, sha256: str, error: ErrorInfo) -> None:
        for job_id, job in list(self._jobs.items()):
            if sha256 in job.waiting:
                self.drop(job_id)
                self._failed(job_id, error)
        self._tasks.pop(sha256, None)

    def _report(self, sha256: str) -> None:
        for job_id, job in self._jobs.items():
            if sha256 in job.waiting:
                self._report_job(job_id, job)

    def _report_job(self, job_id: str, job: _JobUpload) -> None:
        left = sum(job.sizes[sha256] - (self._tasks[sha256].confirmed if sha256 in self._tasks else 0)
                   for sha256 in job.waiting)
        self._changed(job_id, job.total - left, job.total)
