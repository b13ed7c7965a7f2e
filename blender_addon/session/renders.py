# SPDX-License-Identifier: GPL-3.0-or-later
"""A final render on its way: parts to the backend as jobs, frames back to files.  Main thread only."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...interngs.errors import InputError
from ...interngs.link import Link, RenderSource
from ...interngs.wire.records import RENDER_PRESET, JobInfo
from .errors import show_error
from .state import session_state

PARTS_AHEAD = 2
"""Jobs at the backend at the same time, so that it always has one to go on with."""

Ask = Callable[[Future[Any], Callable[[Any], None], str, str], None]


@dataclass
class Render:
    """One render: what is still to be sent, what is with the backend, what is done."""

    title: str
    folder: Path
    frames: int
    file_name: Callable[[int], str]
    finished: Callable[[], None]
    waiting: deque[RenderSource]
    sent: int = 0
    jobs: dict[str, bool] = field(default_factory=dict)
    done: int = 0
    stopped: bool = False

    @property
    def fraction(self) -> float:
        """0..1, the frames of parts under way included."""
        under_way = sum(progress.step for job_id in self.jobs
                        if (progress := session_state().progress.get(job_id)) is not None)
        return min((self.done + under_way) / max(self.frames, 1), 1.0)


class Renders:
    """At most one render at a time."""

    def __init__(self, link: Callable[[], Link], ask: Ask) -> None:
        """``link`` gives the link that is up, or raises; ``ask`` lets a future's answer be taken by the pump."""
        self._find_link, self._ask = link, ask
        self._link: Link | None = None
        self.current: Render | None = None

    def start(self, render: Render) -> None:
        """Send the first parts.

        Raises:
            InputError: one is on its way.
        """
        if self.current is not None:
            raise InputError("render-running", "A render is on its way.", "Wait for it, or cancel it.")
        self._link = self._find_link()
        self.current = render
        self._send(self._link, render)

    def cancel(self) -> None:
        """Stop: frames that have arrived stay."""
        render, self.current = self.current, None
        if render is not None:
            render.stopped = True
            for job_id in render.jobs:
                self._discard(job_id)

    def take_job(self, job: JobInfo) -> None:
        """News of a job; those of other renders and of reconstructions are not looked at."""
        render = self.current
        if render is None or job.job_id not in render.jobs:
            return
        if job.state in ("failed", "cancelled", "discarded"):
            self.cancel()
            if job.error is not None:
                show_error(job.error.to_error(), "Rendering splats")
        elif job.state == "done" and job.result is not None and not render.jobs[job.job_id]:
            render.jobs[job.job_id] = True
            assert self._link is not None
            self._ask(self._link.fetch_frames(job), lambda frames: self._write(render, job.job_id, frames),
                      f"frames {job.job_id}", "Receiving frames")

    def adopt(self, job: JobInfo, render: Render) -> None:
        """Take the frames of a job of an earlier session."""
        if job.preset != RENDER_PRESET or self.current is not None:
            raise InputError("render-running", "A render is on its way.", "Wait for it, or cancel it.")
        self._link = self._find_link()
        render.jobs[job.job_id] = False
        self.current = render
        self.take_job(job)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _send(self, link: Link, render: Render) -> None:
        """The link waits by itself for a server that is lost for a while."""
        while render.waiting and len(render.jobs) + render.sent < PARTS_AHEAD:
            part = render.waiting.popleft()
            first, last = part.frames[0].number, part.frames[-1].number
            span = f"frame {first}" if first == last else f"frames {first} to {last}"
            render.sent += 1

            def accepted(job: JobInfo) -> None:
                render.sent -= 1
                if render.stopped:
                    self._discard(job.job_id)
                    return
                render.jobs[job.job_id] = False
                if session_state().job(job.job_id) is None:
                    session_state().put_job(job)
                self.take_job(session_state().job(job.job_id) or job)

            self._ask(link.render(part, title=f"{render.title}, {span}"), accepted, f"render {first}",
                      "Sending splats to be rendered")

    def failed(self, key: str) -> None:
        """A request of this render failed: nothing more is sent."""
        if key.startswith(("render ", "frames ")):
            self.cancel()

    def _write(self, render: Render, job_id: str, frames: Mapping[int, memoryview]) -> None:
        def work() -> int:
            render.folder.mkdir(parents=True, exist_ok=True)
            for number, data in frames.items():
                path = render.folder / render.file_name(number)
                partial = path.with_name(f".{path.name}.partial")
                partial.write_bytes(data)
                partial.replace(path)
            return len(frames)

        def written(count: int) -> None:
            render.done += count
            render.jobs.pop(job_id, None)
            self._discard(job_id)
            if render.stopped:
                return
            if self._link is not None:
                self._send(self._link, render)
            if render.done >= render.frames:
                self.current = None
                render.finished()

        self._ask(_in_thread(work), written, f"frames {job_id} files", "Writing frames")

    def _discard(self, job_id: str) -> None:
        """The frames are here, or not wanted: the backend need not keep them."""
        if self._link is not None and self._link.state.is_up:
            self._ask(self._link.discard(job_id), session_state().put_job, f"discard {job_id}", "Tidying up")


def _in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Do ``work`` in a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except OSError as error:
            future.set_exception(InputError("frames-not-written", f"The frames could not be written: {error}.",
                                            "Check the folder and the free space, then render again."))

    threading.Thread(target=run, name="interngs-frames", daemon=True).start()
    return future
