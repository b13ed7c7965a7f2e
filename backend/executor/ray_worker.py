# SPDX-License-Identifier: GPL-3.0-or-later
"""The task that Ray runs for a job: files in, the pipeline, reports to the mailbox, files out."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from interngs.errors import InternGSError

from ..blobs import BlobFolder
from ..channel import Beat, Checkpointed, Failed, Finished, Logged, PreviewWritten, Work, bytes_of, record_of
from ..job_folder import JobFolder
from ..worker import BEAT_S, CANCEL_GRACE_S, Control, end_of, keep_newest
from .job_files import JobFiles

_LOG = logging.getLogger(__name__)


def run_job(work_data: bytes, files_root: str, mailbox: Any) -> None:
    """Run one job's attempt; called by Ray, once or again after a machine was lost."""
    work = record_of(work_data)
    execution = ray.get(mailbox.begin.remote(work.job_id, work.attempt))
    if execution == 0:
        return
    scratch = Path(tempfile.mkdtemp(prefix=f"interngs-{work.job_id[:8]}-"))
    try:
        _Task(work, JobFiles(files_root, work.job_id), mailbox, execution, scratch).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Task:
    """One execution of an attempt, in folders of its own."""

    def __init__(self, work: Work, files: JobFiles, mailbox: Any, execution: int, scratch: Path) -> None:
        self._files, self._mailbox, self._execution = files, mailbox, execution
        self._folder = JobFolder(scratch / work.job_id)
        self._work = replace(work, folder=str(scratch / work.job_id), blobs=str(scratch / "blobs"),
                             resume=work.resume or execution > 1)
        self._token = secrets.token_hex(8)
        self._control = Control()
        self._sending = threading.Lock()
        # Until the run has begun there is only what an earlier one saved.
        self._partial: Callable[[], Finished] = self._folder.adopt_latest
        self._keep_newest: Callable[[], None] = lambda: None

    def run(self) -> None:
        """From files to files."""
        threads = [threading.Thread(target=target, daemon=True) for target in (self._obey, self._beat)]
        for thread in threads:
            thread.start()
        end = end_of(self._run)
        try:
            self._send(end)
        except (InternGSError, OSError) as error:
            _LOG.exception("the result could not be handed over")
            self._send(Failed("files-unreachable", f"The result could not be written for the server: {error}.",
                              "Check the place of ray.files, and resume the job."))
        finally:
            self._control.idle.set()    # the process may serve another job; nothing of this one may go on

    def _run(self) -> Finished:
        self._files.claim(self._token)
        blobs = BlobFolder(Path(self._work.blobs))
        for ref in self._work.capture.blobs():
            self._files.get("inputs", ref.sha256, blobs.path(ref.sha256))
        self._folder.folder.mkdir(parents=True, exist_ok=True)
        if self._work.resume:
            found = self._files.load_state(self._folder.folder)
            if self._execution > 1:
                self._send(Logged("The job goes on from its last checkpoint on another worker." if found else
                                  "The job begins again on another worker.", "warning"))
        # Heavy, and imported when the task is known to be wanted.
        from ..worker_run import Run  # noqa: PLC0415

        run = Run(self._work, self._send, self._control.should_stop)
        self._partial, self._keep_newest = run.save_partial, run.keep_newest
        try:
            return run.to_the_end()
        except BaseException:
            keep_newest(run.keep_newest)
            self._files.save_state(self._folder.folder)
            raise

    def _send(self, record: Any) -> None:
        """Bring files to where the server finds them, then report."""
        payload = b""
        if isinstance(record, Checkpointed):
            if not self._files.is_owned_by(self._token):
                self._control.stop_mode = "discard"     # another task has this job now
                return
            self._keep_newest()
            self._files.save_state(self._folder.folder)
        elif isinstance(record, PreviewWritten):
            payload = self._folder.preview(record.number).read_bytes()
        elif isinstance(record, Finished):
            for name, ref in (("result", record.splat), ("report", record.report)):
                if ref is not None:
                    self._files.put("results", self._folder.folder / name, ref.sha256)
        with self._sending:
            listened_to = ray.get(self._mailbox.report.remote(
                self._work.job_id, self._work.attempt, self._execution, bytes_of(record), payload,
                isinstance(record, Checkpointed)))
        if not listened_to:
            self._control.stop_mode = "discard"

    def _beat(self) -> None:
        while not self._control.idle.is_set():
            self._send(Beat(self._control.activity))
            time.sleep(BEAT_S)

    def _obey(self) -> None:
        mode: str | None = None
        while not self._control.idle.is_set():
            mode = ray.get(self._mailbox.next_command.remote(self._work.job_id, self._work.attempt, self._execution,
                                                             mode))
            if mode is None:
                self._control.stop_mode = "discard"
                return
            self._control.stop_mode = mode
            if mode == "cancel" and not self._control.idle.wait(CANCEL_GRACE_S):
                # The step at hand takes long: give what the newest preview showed.  The driver ends the task then.
                self._send(self._partial())
