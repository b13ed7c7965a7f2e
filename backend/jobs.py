# SPDX-License-Identifier: GPL-3.0-or-later
"""The job record and its moves; plain data, no disk and no sockets."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from interngs.wire.errors import ErrorInfo
from interngs.wire.records import JobInfo, ProgressInfo, ResultInfo
from interngs.wire.states import Command, JobState, check_move


@dataclass(frozen=True)
class Job:
    """A job as the server knows it.

    Attributes:
        owner: who may see it: ``local``, or ``key:`` and the client's public key.
        share: whose turn it takes in the queue: the owner, or on loopback the client's id.
        queued_order: position among all that were ever queued; earlier first.
        attempt: counts every start of a worker; reports of other attempts are stale.
        failures: lost workers since the last new checkpoint.
        checkpoint_step: newest checkpoint, -1 for none.
        folder_bytes: size of its folder when last looked at.
        fetched: whether its result was downloaded to the end.
        expected_s: worker time that the preflight expects, roughly.
    """

    job_id: str
    owner: str
    client_id: str
    client_name: str
    share: str
    title: str
    preset: str
    views: int
    state: JobState = "draft"
    wanted: Command | None = None
    priority: int = 0
    created_s: float = 0.0
    updated_s: float = 0.0
    queued_order: int = 0
    stage: str = ""
    progress: ProgressInfo | None = None
    result: ResultInfo | None = None
    error: ErrorInfo | None = None
    last_seq: int = 0
    attempt: int = 0
    failures: int = 0
    checkpoint_step: int = -1
    folder_bytes: int = 0
    fetched: bool = False
    expected_s: float = 0.0

    def moved(self, state: JobState, error: ErrorInfo | None = None) -> Job:
        """The job in another state; whatever was wanted is done with.

        Raises:
            ServiceError: ``illegal-move``.
        """
        check_move(self.state, state)
        return replace(self, state=state, wanted=None, error=error, updated_s=time.time())

    def info(self, queue_position: int | None, starts_in_s: float | None = None) -> JobInfo:
        """The job as its owner sees it."""
        return JobInfo(
            job_id=self.job_id, title=self.title, state=self.state, views=self.views, preset=self.preset,
            created_s=self.created_s, updated_s=self.updated_s, last_seq=self.last_seq, client_name=self.client_name,
            wanted=self.wanted, priority=self.priority, queue_position=queue_position, stage=self.stage,
            progress=self.progress, result=self.result, error=self.error, attempts=self.failures,
            starts_in_s=starts_in_s)
