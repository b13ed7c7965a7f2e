# SPDX-License-Identifier: GPL-3.0-or-later
"""What attached clients are told: every event in order within a window, and newest-wins slots for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from interngs.wire.limits import EVENT_WINDOW
from interngs.wire.messages import EventPush, JobPush, Message, PreviewPush, ProgressPush
from interngs.wire.records import JobEvent, JobInfo, PreviewInfo, ProgressInfo

from .session import Session

SLOTS_PER_PING = 32
"""Newest-wins pushes between two signs of life of a client.  A client pings only after it had the answer to its last
ping, which stands behind everything pushed before: so this bounds what waits for a slow reader."""

Send = Callable[[Session, Message], None]
ReadEvents = Callable[[str, int, int], list[JobEvent]]


@dataclass
class _Attachment:
    sent: int
    acknowledged: int


@dataclass
class _Flow:
    allowance: int = SLOTS_PER_PING
    slots: dict[tuple[str, str], Message] = field(default_factory=dict)
    jobs: dict[str, _Attachment] = field(default_factory=dict)


class Streams:
    """All attachments; in the service's thread."""

    def __init__(self, send: Send, read_events: ReadEvents, most_jobs: int) -> None:
        """``most_jobs``: how many jobs a client may have, and so watch."""
        self._send, self._read_events, self._most_jobs = send, read_events, most_jobs
        self._flows: dict[Session, _Flow] = {}
        self._watchers: dict[str, set[Session]] = {}

    def attach(self, session: Session, job_id: str, after_seq: int) -> bool:
        """Attach a session to a job; events follow with ``catch_up``.  False when it has too many."""
        flow = self._flows.setdefault(session, _Flow())
        if len(flow.jobs) >= self._most_jobs and job_id not in flow.jobs:
            return False
        flow.jobs[job_id] = _Attachment(after_seq, after_seq)
        self._watchers.setdefault(job_id, set()).add(session)
        return True

    def detach(self, session: Session, job_id: str) -> None:
        """End an attachment."""
        flow = self._flows.get(session)
        if flow is not None:
            flow.jobs.pop(job_id, None)
        self._forget(session, job_id)

    def drop(self, session: Session) -> None:
        """The session is over."""
        flow = self._flows.pop(session, _Flow())
        for job_id in flow.jobs:
            self._forget(session, job_id)

    def end(self, job_id: str) -> None:
        """A job is no more: nobody is attached to it.  What was put for its watchers before is still sent."""
        for session in self._watchers.pop(job_id, ()):
            self._flows[session].jobs.pop(job_id, None)

    def _forget(self, session: Session, job_id: str) -> None:
        watchers = self._watchers.get(job_id)
        if watchers is not None:
            watchers.discard(session)
            if not watchers:
                del self._watchers[job_id]

    def is_watched(self, job_id: str) -> bool:
        """Whether anyone is attached to a job."""
        return job_id in self._watchers

    # ---- events ------------------------------------------------------------------------------------------------------

    def on_event(self, job_id: str, event: JobEvent) -> None:
        """A new event was recorded: send it to those who are up to date and have room."""
        for session in self._watchers.get(job_id, ()):
            attachment = self._flows[session].jobs[job_id]
            if attachment.sent == event.seq - 1 and event.seq - attachment.acknowledged <= EVENT_WINDOW:
                attachment.sent = event.seq
                self._send(session, EventPush(job_id, event))

    def acknowledge(self, session: Session, job_id: str, seq: int) -> None:
        """A client took its events up to ``seq``."""
        flow = self._flows.get(session)
        attachment = flow.jobs.get(job_id) if flow is not None else None
        if attachment is not None and attachment.acknowledged < seq <= attachment.sent:
            attachment.acknowledged = seq
            self.catch_up(session, job_id)

    def catch_up(self, session: Session, job_id: str) -> None:
        """Send recorded events that the window has room for."""
        flow = self._flows.get(session)
        attachment = flow.jobs.get(job_id) if flow is not None else None
        if attachment is None:
            return
        room = EVENT_WINDOW - (attachment.sent - attachment.acknowledged)
        if room <= 0:
            return
        for event in self._read_events(job_id, attachment.sent, room):
            attachment.sent = event.seq
            self._send(session, EventPush(job_id, event))

    def rewind(self, job_id: str, last_seq: int) -> None:
        """Events after ``last_seq`` were undone before they were sent."""
        for session in self._watchers.get(job_id, ()):
            attachment = self._flows[session].jobs[job_id]
            attachment.sent = min(attachment.sent, last_seq)

    # ---- newest wins -------------------------------------------------------------------------------------------------

    def on_progress(self, job_id: str, progress: ProgressInfo) -> None:
        """New progress of a job."""
        self._put(job_id, "progress", ProgressPush(job_id, progress))

    def on_preview(self, job_id: str, preview: PreviewInfo) -> None:
        """A new preview of a job can be fetched."""
        self._put(job_id, "preview", PreviewPush(job_id, preview))

    def on_job(self, job: JobInfo) -> None:
        """A job changed."""
        self._put(job.job_id, "job", JobPush(job))

    def _put(self, job_id: str, kind: str, message: Message) -> None:
        for session in self._watchers.get(job_id, ()):
            flow = self._flows[session]
            if flow.allowance > 0:
                flow.allowance -= 1
                self._send(session, message)
            else:
                flow.slots[kind, job_id] = message

    def on_sign_of_life(self, session: Session) -> None:
        """A client's ping: it has read everything before, so its slots can be sent."""
        flow = self._flows.get(session)
        if flow is None:
            return
        flow.allowance = SLOTS_PER_PING
        for slot in list(flow.slots)[:SLOTS_PER_PING]:
            flow.allowance -= 1
            self._send(session, flow.slots.pop(slot))
