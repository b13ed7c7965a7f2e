# SPDX-License-Identifier: GPL-3.0-or-later
"""The session: one link, its news pumped into state and scene by a timer on the main thread, within a time budget."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from bpy.app.handlers import persistent

from ...interngs.errors import InputError
from ...interngs.link import (
    CaptureSource,
    EventArrived,
    JobChanged,
    Link,
    PreviewArrived,
    ProgressChanged,
    ServerNotice,
    TransferChanged,
    Update,
)
from ...interngs.link.keys import parse_pairing
from ...interngs.link.link import FetchedResult
from ...interngs.wire.records import RENDER_PRESET, JobInfo, Preflight
from ...interngs.wire.states import ENDED
from ..preferences import preferences
from ..scene import splat_object
from ..scene.photographs import capture_signature, capture_source, common_parent, used_rows
from .arrivals import Arrivals
from .display import bound_jobs, scene_of_job
from .errors import show_error
from .local_backend import LocalBackend, find_backend
from .render_files import new_render
from .renders import Renders
from .state import Transfer, reset_session_state, session_state
from .thumbnails import thumbnails

BUDGET_S = 0.006
"""Time of one pump for news; a swap of Gaussians comes on top, at most one a pump."""
WRITING_INTERVAL_S, BUSY_INTERVAL_S, CALM_INTERVAL_S, IDLE_INTERVAL_S = 0.01, 0.05, 0.2, 0.5
SLOW_CHECK_S = 1.0
HEALTH_S = 5.0
CLOSE_LINK_S = 1.2
UPDATES_A_TURN = 16
WITH_RESULT = ("done", "cancelled", "failed", "paused")


@dataclass
class _Pending:
    """A request under way: what to do with its answer, and what it is called when it fails."""

    future: Future[Any]
    then: Callable[[Any], None]
    key: str
    doing: str


class Session:
    """Everything that runs beside the interface.  Main thread only."""

    def __init__(self) -> None:
        self.local = LocalBackend()
        self.renders = Renders(self._up, self._ask)
        self._link: Link | None = None
        self._arrivals = Arrivals()
        self._pending: list[_Pending] = []
        self._file = 0
        self._fetching: set[str] = set()
        self._was_up = False
        self._local_watched = False
        self._next_slow = self._next_health = 0.0
        self.longest_pump_s = 0.0

    # ---- connection --------------------------------------------------------------------------------------------------

    def connect(self, address: str) -> None:
        """Connect to a server; progress shows in the state."""
        if self._link is None:
            self._link = Link(f"Blender on {platform.node() or 'this computer'}")
        self._forget_server()
        self._link.connect(address)

    def disconnect(self) -> None:
        """Leave the server; its jobs go on."""
        if self._link is not None:
            self._link.disconnect()
        self._forget_server()

    def _forget_server(self) -> None:
        state = session_state()
        state.jobs, state.preflight, state.health = (), None, None
        state.progress.clear()
        state.waiting.clear()
        self._pending.clear()
        self._was_up = False

    def start_local(self, home: str, address: str, options: tuple[str, ...]) -> None:
        """Start a backend on this computer and connect; the link tries until it answers."""
        self.local.start(find_backend(home), address, options, ends_with_blender=preferences().stop_backend_at_exit)
        self._local_watched = True
        self.connect(address)

    def stop_local(self) -> None:
        """Leave the local backend and ask it to end."""
        self._local_watched = False
        if session_state().link.address == self.local.address:
            self.disconnect()
        self.local.stop()

    def pairing_address(self, line: str) -> str:
        """The address in a pairing line."""
        return parse_pairing(line).address

    def pair(self, line: str) -> None:
        """Pair by the line, then connect."""
        if self._link is None:
            self._link = Link(f"Blender on {platform.node() or 'this computer'}")
        self._ask(self._link.pair(line), self.connect, "pair", "Pairing")

    def forget_key(self, address: str) -> None:
        """Forget a server's key."""
        (self._link or Link("Blender")).forget_server(address)

    # ---- jobs --------------------------------------------------------------------------------------------------------

    def _up(self) -> Link:
        if self._link is None or not self._link.state.is_up:
            raise InputError("server-unreachable", "There is no connection to a backend.", "Connect to one first.")
        return self._link

    def _ask(self, future: Future[Any], then: Callable[[Any], None], key: str, doing: str) -> None:
        session_state().waiting[key] = doing
        self._pending.append(_Pending(future, then, key, doing))

    def estimate(self, scene_name: str, capture: CaptureSource, settings: dict[str, Any]) -> None:
        """Ask for the preflight of a capture."""
        file = self._file

        def arrived(report: Preflight) -> None:
            scene = bpy.data.scenes.get(scene_name) if file == self._file else None
            if scene is None:
                return
            session_state().preflight = report
            session_state().preflight_key = capture_signature(scene)
            for finding in report.findings:
                row = next((each for each in scene.interngs.photos if each.name == finding.view), None)
                if row is not None:
                    row.warning, row.warning_is_error = finding.cause, finding.level == "error"

        self._ask(self._up().preflight(capture, settings), arrived, "estimate", "Checking the photographs")

    def submit(self, scene_name: str, capture: CaptureSource, settings: dict[str, Any], title: str,
               priority: int) -> None:
        """Make a job of a capture and bind the scene to it."""
        file, link = self._file, self._up()
        scene = bpy.data.scenes[scene_name]
        budget = scene.interngs.job.preview_gaussians
        parent = common_parent(used_rows(scene.interngs))
        frame = np.array(parent.matrix_world, np.float64).ravel() if parent is not None else None

        def arrived(job: JobInfo) -> None:
            session_state().put_job(job)
            bound = bpy.data.scenes.get(scene_name) if file == self._file else None
            if bound is None:
                return
            settings_of_job = bound.interngs.job
            settings_of_job.job_id, settings_of_job.server_id = job.job_id, self._server_id()
            if parent is not None and frame is not None:
                settings_of_job.frame_object, settings_of_job.frame_matrix = parent, frame
            else:
                settings_of_job.frame_object = None

        self._ask(link.submit(capture, settings, title=title, priority=priority, preview_budget=budget), arrived,
                  "submit", "Reading the photographs")

    def bind(self, scene: bpy.types.Scene, job_id: str) -> None:
        """Show a job in a scene from now on: live, or its whole result; of a render, write the frames."""
        link = self._up()
        rendered = session_state().job(job_id)
        if rendered is not None and rendered.preset == RENDER_PRESET:
            self.renders.adopt(rendered, new_render(scene, (), rendered.title))
            return
        scene.interngs.job.job_id, scene.interngs.job.server_id = job_id, self._server_id()
        self._arrivals.show_again(job_id)
        self._attach(link, job_id, scene.interngs.job.preview_gaussians)
        job = session_state().job(job_id)
        if job is not None and job.state == "uploading" and used_rows(scene.interngs):
            self._ask(link.supply(job_id, capture_source(scene)), session_state().put_job, "supply",
                      "Sending the rest of the photographs")

    def command(self, job_id: str, command: str) -> None:
        """Pause, resume, cancel or discard a job."""
        link = self._up()
        send = {"pause": link.pause, "resume": link.resume, "cancel": link.cancel, "discard": link.discard}[command]
        self._ask(send(job_id), session_state().put_job, f"{command} {job_id}", f"Asking to {command}")

    def refresh(self, quietly: bool = False) -> None:
        """Ask for the list of jobs; ``quietly`` without a word in the panel."""
        def arrived(jobs: tuple[JobInfo, ...]) -> None:
            session_state().jobs = jobs
            for job in jobs:
                self._fetch_if_wanted(job)

        asked = self._up().jobs()
        if quietly:
            self._pending.append(_Pending(asked, arrived, "jobs", "Asking for the jobs"))
        else:
            self._ask(asked, arrived, "jobs", "Asking for the jobs")

    def _attach(self, link: Link, job_id: str, budget: int) -> None:
        self._ask(link.attach(job_id, preview_budget=budget), self._take_job, f"attach {job_id}",
                  "Attaching to the job")

    def _server_id(self) -> str:
        server = session_state().link.server
        return server.server_id if server is not None else ""

    def object_is_gone(self, job_id: str) -> bool:
        """Whether the artist deleted the object of a job; it is then shown again only when asked for."""
        return job_id in session_state().hidden_jobs

    # ---- the pump ----------------------------------------------------------------------------------------------------

    def pump(self, budget_s: float = BUDGET_S) -> float:
        """Take news, answers and prepared Gaussians; returns seconds until the next call."""
        began = time.perf_counter()
        changed = self._pump_link(began + budget_s)
        changed |= self._pump_answers()
        changed |= self._pump_splats()
        changed |= thumbnails().load_wanted()
        changed |= self._pump_slowly()
        if changed:
            redraw_panels()
        self.longest_pump_s = max(self.longest_pump_s, time.perf_counter() - began)
        return self._interval()

    def _interval(self) -> float:
        if self._link is None and not self.local.is_running:
            return IDLE_INTERVAL_S
        state = session_state()
        at_work = any(job.state in ("uploading", "preparing", "training", "finishing") for job in state.jobs)
        if self._arrivals.is_writing:
            return WRITING_INTERVAL_S
        busy = self._pending or at_work or state.link.phase == "connecting" or not self._arrivals.is_idle
        return BUSY_INTERVAL_S if busy else CALM_INTERVAL_S

    def _pump_link(self, until: float) -> bool:
        if self._link is None:
            return False
        state = session_state()
        now = self._link.state
        changed = now is not state.link
        state.link = now
        if now.is_up and not self._was_up:
            self._came_up()
        self._was_up = now.is_up
        if now.phase == "refused" and changed and now.error is not None:
            show_error(now.error.to_error(), "Connect")
        while time.perf_counter() < until:
            updates = self._link.poll(UPDATES_A_TURN)
            for update in updates:
                self._take(update)
            changed |= bool(updates)
            if len(updates) < UPDATES_A_TURN:
                break
        return changed

    def _came_up(self) -> None:
        self.refresh()
        for job_id, server_id in bound_jobs():
            scene = scene_of_job(job_id)
            if self._link is not None and scene is not None and server_id == self._server_id():
                self._attach(self._link, job_id, scene.interngs.job.preview_gaussians)

    def _take(self, update: Update) -> None:
        state = session_state()
        match update:
            case JobChanged(job):
                self._take_job(job)
            case ProgressChanged(job_id, progress):
                state.progress[job_id] = progress
            case PreviewArrived(job_id, info, gaussians):
                if scene_of_job(job_id) is not None and job_id not in state.hidden_jobs:
                    self._arrivals.put(job_id, "PREVIEW", info.step, gaussians)
            case TransferChanged(job_id, direction, done, total):
                moved = state.uploads if direction == "upload" else state.downloads
                moved[job_id] = Transfer(done, total)
            case EventArrived(_, event):
                if event.kind == "log":
                    state.logs.append(f"Warning: {event.text}" if event.level == "warning" else event.text)
            case ServerNotice(kind) if kind == "stopping":
                state.logs.append("The backend is stopping; its jobs go on when it is started again.")
            case _:
                pass

    def _take_job(self, job: JobInfo) -> None:
        session_state().put_job(job)
        self._fetch_if_wanted(job)

    def _fetch_if_wanted(self, job: JobInfo) -> None:
        """Fetch a result that the open file shows and does not have yet."""
        self.renders.take_job(job)
        if (self._link is None or job.result is None or job.state not in WITH_RESULT or job.job_id in self._fetching
                or job.job_id in session_state().hidden_jobs or scene_of_job(job.job_id) is None):
            return
        splat = splat_object.find(job.job_id)
        has = splat.interngs_splat if splat is not None else None
        if has is not None and has.state != "PREVIEW" and has.step >= job.result.step and (
                has.state == "FINAL" or job.result.partial):
            return
        self._fetching.add(job.job_id)

        def arrived(result: FetchedResult) -> None:
            self._fetching.discard(job.job_id)
            kind = "PARTIAL" if result.info.partial else "FINAL"
            self._arrivals.put(job.job_id, kind, result.info.step, result.gaussians, result.report)

        self._ask(self._link.fetch_result(job), arrived, f"fetch {job.job_id}", "Receiving the result")

    def _pump_answers(self) -> bool:
        done = [pending for pending in self._pending if pending.future.done()]
        for pending in done:
            self._pending.remove(pending)
            session_state().waiting.pop(pending.key, None)
            error = pending.future.exception()
            try:
                if error is not None:
                    self._fetching.discard(pending.key.removeprefix("fetch "))
                    self.renders.failed(pending.key)
                    raise error
                pending.then(pending.future.result())
            except Exception as failure:  # noqa: BLE001 - a timer must not die; the error is shown
                show_error(failure, pending.doing)
        return bool(done)

    def _pump_splats(self) -> bool:
        try:
            ready = self._arrivals.pump(self._server_id())
            if ready is None:
                return False
            if ready.kind != "PREVIEW":
                push_undo("Gaussian splat")
            redraw_views()
        except Exception as error:  # noqa: BLE001 - a timer must not die; the error is shown
            show_error(error, "Showing the Gaussians")
        return True

    def _pump_slowly(self) -> bool:
        """What is looked at once a second."""
        now = time.monotonic()
        if now < self._next_slow:
            return False
        self._next_slow = now + SLOW_CHECK_S
        state = session_state()
        changed = state.link.phase == "lost" or self.local.is_running
        if self._local_watched and not self.local.is_running and self.local.exit_code is not None:
            self._local_watched = False
            changed = True
            last = self.local.log[-1] if self.local.log else ""
            show_error(InputError("backend-stopped", f"The local backend ended (code {self.local.exit_code}). {last}",
                                  "Open Local Backend's Log to see why."), "Local backend")
        if state.preflight is not None and bpy.context.scene is not None and (
                state.preflight_key != capture_signature(bpy.context.scene)):
            state.preflight = None
            changed = True
        if self._link is not None and state.link.is_up and now >= self._next_health:
            self._next_health = now + HEALTH_S
            self._pending.append(_Pending(self._link.health(), self._take_health, "health", "Asking for its health"))
            if any(job.state not in ENDED for job in state.jobs):
                self.refresh(quietly=True)  # jobs of other files are not attached to, and change all the same
        return changed

    @staticmethod
    def _take_health(health: Any) -> None:
        session_state().health = health

    # ---- Blender's events --------------------------------------------------------------------------------------------

    def file_loaded(self) -> None:
        """Another file is open: its own jobs are shown now; the others go on at their server."""
        self._file += 1
        self._arrivals.file_loaded()
        session_state().preflight = None
        thumbnails().clear()
        if self._link is None:
            return
        bound = dict(bound_jobs())
        for job in session_state().jobs:
            if job.job_id not in bound:
                self._link.detach(job.job_id)
        if self._link.state.is_up:
            self._came_up()

    def undone(self) -> None:
        """After undo and redo: objects came or went without the artist deleting them."""
        self._arrivals.undone()

    def close(self) -> None:
        """End everything within two seconds."""
        for pending in self._pending:
            pending.future.cancel()
        self._pending.clear()
        self._arrivals.close(0.3)
        if self._link is not None:
            self._link.close(CLOSE_LINK_S)
            self._link = None


def redraw_panels() -> None:
    """Have every sidebar drawn again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def redraw_views() -> None:
    """Have every 3D view drawn again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def push_undo(message: str) -> None:
    """One undo step for something that came by itself (a finished result, never a preview)."""
    window = next(iter(bpy.context.window_manager.windows), None)
    with bpy.context.temp_override(**({"window": window} if window is not None else {})):
        if bpy.ops.ed.undo_push.poll():
            bpy.ops.ed.undo_push(message=message)


_session: Session | None = None


def session() -> Session:
    """The add-on's session."""
    global _session  # noqa: PLW0603 - one session for one Blender
    if _session is None:
        _session = Session()
    return _session


@persistent
def _on_load(*_arguments: Any) -> None:
    session().file_loaded()


@persistent
def _on_undo(*_arguments: Any) -> None:
    session().undone()


def _pump_timer() -> float:
    return session().pump()


def register() -> None:
    """Start the pump; connect if the preferences say so."""
    bpy.app.handlers.load_post.append(_on_load)
    bpy.app.handlers.undo_post.append(_on_undo)
    bpy.app.handlers.redo_post.append(_on_undo)
    bpy.app.timers.register(_pump_timer, first_interval=0.2, persistent=True)


def unregister() -> None:
    """End the session; the local backend too, where the preferences say so."""
    global _session  # noqa: PLW0603 - one session for one Blender
    if bpy.app.timers.is_registered(_pump_timer):
        bpy.app.timers.unregister(_pump_timer)
    for handlers, ours in ((bpy.app.handlers.load_post, _on_load), (bpy.app.handlers.undo_post, _on_undo),
                           (bpy.app.handlers.redo_post, _on_undo)):
        if ours in handlers:
            handlers.remove(ours)
    if _session is not None:
        _session.close()
        if preferences().stop_backend_at_exit:
            _session.local.stop()
        _session = None
    reset_session_state()
