# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs a link is attached to: events in order, snapshots, and the newest preview worth fetching."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..wire.limits import PREVIEW_BLOCK
from ..wire.messages import Attached, EventPush, ProgressPush
from ..wire.previews import BYTES_PER_GAUSSIAN, HEADER_BYTES
from ..wire.records import JobInfo, PreviewInfo
from .mailbox import Mailbox
from .updates import EventArrived, JobChanged, ProgressChanged


def preview_bytes(info: PreviewInfo, budget: int | None) -> int:
    """Bytes of the prefix of a preview that holds ``budget`` Gaussians (None: all), rounded up to whole blocks."""
    if budget is None or budget >= info.gaussians:
        return info.size_bytes
    count = min(info.gaussians, -(-budget // PREVIEW_BLOCK) * PREVIEW_BLOCK)
    return HEADER_BYTES + BYTES_PER_GAUSSIAN * count


@dataclass
class Watch:
    """One attached job.

    Attributes:
        budget: Gaussians wanted of each preview; None for all, 0 for no previews.
        last_seq: newest event that was put into the mailbox.
        acknowledged: newest event the server was told about.
        offered: newest preview that is known and not fetched yet.
    """

    job_id: str
    budget: int | None
    last_seq: int
    acknowledged: int = 0
    offered: PreviewInfo | None = None
    shown: int = 0
    job: JobInfo | None = None


@dataclass
class Watches:
    """All attached jobs of one link, in the socket thread."""

    mailbox: Mailbox
    by_job: dict[str, Watch] = field(default_factory=dict)

    def on_attached(self, answer: Attached) -> None:
        """Take the snapshot that an attach gave."""
        watch = self.by_job.get(answer.job.job_id)
        if watch is None:
            return
        self.on_job(answer.job)
        if answer.job.progress is not None:
            self.mailbox.put(ProgressChanged(watch.job_id, answer.job.progress))
        if answer.preview is not None:
            self.offer(watch.job_id, answer.preview)

    def on_job(self, job: JobInfo) -> None:
        """Take a changed job."""
        watch = self.by_job.get(job.job_id)
        if watch is not None:
            watch.job = job
            self.mailbox.put(JobChanged(job))

    def on_progress(self, push: ProgressPush) -> None:
        """Take new progress."""
        if push.job_id in self.by_job:
            self.mailbox.put(ProgressChanged(push.job_id, push.progress))

    def on_gone(self, job_id: str) -> None:
        """The server knows the job no more."""
        watch = self.by_job.pop(job_id, None)
        if watch is not None and watch.job is not None:
            self.mailbox.put(JobChanged(replace(watch.job, state="discarded", wanted=None)))

    def on_event(self, push: EventPush) -> bool:
        """Take an event; False when events before it are missing and the job must be attached to again."""
        watch = self.by_job.get(push.job_id)
        if watch is None or push.event.seq <= watch.last_seq:
            return True
        if push.event.seq > watch.last_seq + 1:
            return False
        watch.last_seq = push.event.seq
        self.mailbox.put(EventArrived(push.job_id, push.event))
        return True

    def offer(self, job_id: str, preview: PreviewInfo) -> None:
        """Note a preview that can be fetched; a newer one takes its place."""
        watch = self.by_job.get(job_id)
        if watch is not None and watch.budget != 0 and preview.number > watch.shown:
            watch.offered = preview

    def next_preview(self) -> tuple[Watch, PreviewInfo] | None:
        """A preview to fetch now, jobs in turn."""
        for job_id, watch in self.by_job.items():
            if watch.offered is not None:
                info, watch.offered = watch.offered, None
                watch.shown = info.number
                self.by_job[job_id] = self.by_job.pop(job_id)
                return watch, info
        return None

    def acknowledgements(self) -> list[tuple[str, int]]:
        """(job id, seq) to tell the server; nothing while the mailbox is full, which makes the server wait."""
        if self.mailbox.is_full:
            return []
        found = []
        for watch in self.by_job.values():
            if watch.last_seq > watch.acknowledged:
                watch.acknowledged = watch.last_seq
                found.append((watch.job_id, watch.last_seq))
        return found
