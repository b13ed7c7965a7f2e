# SPDX-License-Identifier: GPL-3.0-or-later
"""Verbs that talk to a backend: submit, watch, jobs, fetch, pause, resume, cancel, discard, pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Column, Table

from ..config import PipelineConfig
from ..events import Done
from ..formats.detect import find_capture
from ..link import commands
from ..link.commands import DEFAULT_SERVER, connected
from ..wire.states import Command
from .options import CapturePath, OutputFolder, Settings, parse, preset_in
from .progress import show

JobName = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="JOB")]
"""The beginning of a job's id, or its title."""


@dataclass(frozen=True)
class Submit:
    """Send a capture to a backend as a job; returns when the backend has everything."""

    capture: CapturePath
    config: Settings
    server: str = DEFAULT_SERVER
    title: str = ""
    """A name for people."""
    priority: int = 0
    """-10 to 10: among your own waiting jobs, higher ones start first."""


@dataclass(frozen=True)
class Watch:
    """Follow a job to its end and write its result."""

    job: JobName
    output: OutputFolder
    server: str = DEFAULT_SERVER


@dataclass(frozen=True)
class Jobs:
    """List the jobs of this computer on a backend."""

    server: str = DEFAULT_SERVER


@dataclass(frozen=True)
class Health:
    """Show the devices, disk and queue of a backend."""

    server: str = DEFAULT_SERVER


@dataclass(frozen=True)
class Fetch:
    """Fetch the result of a job (also of one that was stopped) as result.ply and report.json."""

    job: JobName
    output: OutputFolder
    server: str = DEFAULT_SERVER


@dataclass(frozen=True)
class Order:
    """Pause, resume, cancel (keeps what there is) or discard a job."""

    job: JobName
    server: str = DEFAULT_SERVER


@dataclass(frozen=True)
class Pair:
    """Introduce this computer to a backend by the line that its 'keys pair' printed."""

    line: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LINE")]


def job_settings(config: PipelineConfig) -> dict[str, Any]:
    """The settings of a run as a backend takes them: it decides on device and threads itself."""
    return {name: value for name, value in config.to_dict().items() if name not in ("device", "threads")}


def submit(arguments: list[str]) -> None:
    """``interngs submit CAPTURE``."""
    options = parse(Submit(tyro.MISSING, preset_in(arguments)), arguments, "submit")
    with connected(options.server) as link:
        job = commands.submit(link, find_capture(options.capture), job_settings(options.config),
                              title=options.title or options.capture.name, priority=options.priority)
    Console().print(job.job_id, highlight=False)


def watch(arguments: list[str]) -> None:
    """``interngs watch JOB -o FOLDER``; Ctrl-C leaves the job running."""
    options = parse(Watch(tyro.MISSING, tyro.MISSING), arguments, "watch")
    console = Console(stderr=True)
    with connected(options.server) as link:
        job = commands.find_job(link, options.job)
        done = show(commands.watch(link, job.job_id), console)
    if done is not None:
        _write(options.output, done)


def jobs(arguments: list[str]) -> None:
    """``interngs jobs``."""
    options = parse(Jobs(), arguments, "jobs")
    table = Table(Column("job", no_wrap=True), "title", "state", "place", "starts in", "stage", "step", "preset",
                  "views")
    with connected(options.server) as link:
        for job in commands.jobs(link):
            step = "" if job.progress is None else f"{job.progress.step}/{job.progress.total_steps}"
            place = "" if job.queue_position is None else str(job.queue_position + 1)
            table.add_row(job.job_id[:12], job.title, job.state, place, duration(job.starts_in_s), job.stage, step,
                          job.preset, str(job.views))
    Console().print(table)


def duration(seconds: float | None) -> str:
    """A rough time in words; empty for unknown."""
    if seconds is None:
        return ""
    if seconds < 60:
        return "under a minute"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min"


def fetch(arguments: list[str]) -> None:
    """``interngs fetch JOB -o FOLDER``."""
    options = parse(Fetch(tyro.MISSING, tyro.MISSING), arguments, "fetch")
    with connected(options.server) as link:
        result = commands.fetch(link, options.job)
    _write(options.output, Done(result.gaussians, result.report))


def _write(folder: Path, done: Done) -> None:
    # The library's heavy rooms come along with this: seconds that the other verbs need not wait.
    from .reconstruct import write_result  # noqa: PLC0415

    write_result(folder, done)


def order(arguments: list[str], wanted: Command) -> None:
    """``interngs pause|resume|cancel|discard JOB``."""
    options = parse(Order(tyro.MISSING), arguments, wanted)
    with connected(options.server) as link:
        job = commands.command(link, options.job, wanted)
    Console().print(f"{job.job_id[:12]}: {job.state}", highlight=False)


pause = partial(order, wanted="pause")
resume = partial(order, wanted="resume")
cancel = partial(order, wanted="cancel")
discard = partial(order, wanted="discard")


def health(arguments: list[str]) -> None:
    """``interngs health``."""
    options = parse(Health(), arguments, "health")
    with connected(options.server) as link:
        found = commands.health(link)
    hours, minutes = divmod(int(found.uptime_s) // 60, 60)
    lines = [f"version {found.version}, up for {hours} h {minutes} min, {found.sessions} clients",
             *(f"device: {device.name}" for device in found.devices),
             f"disk: {found.disk_free_bytes / 1e9:.1f} of {found.disk_total_bytes / 1e9:.1f} GB free",
             f"workers: {found.workers}; jobs: " + (", ".join(
                 f"{count} {state}" for state, count in sorted(found.jobs.items())) or "none"),
             "takes new work" if found.accepts_work else "takes no new work now (its disk is full, or it stops)"]
    Console().print("\n".join(lines), highlight=False)


def pair(arguments: list[str]) -> None:
    """``interngs pair LINE``."""
    address = commands.pair(parse(Pair(tyro.MISSING), arguments, "pair").line)
    Console().print(f"Paired with {address}.", highlight=False)
