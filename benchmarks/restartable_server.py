# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of tiny jobs for load and soak runs, and what its pipeline noted."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
from server_process import ServerProcess

PIPELINES = Path(__file__).resolve().parent / "service_pipelines"


def tiny_server(folder: Path, executor: str, workers: int) -> ServerProcess:
    """A server that runs the tiny pipeline, on this machine or on a Ray cluster of this machine."""
    options = {"pipeline": "tiny_pipeline:reconstruct", "executor": executor, "cpu_slots": workers,
               "min_free_bytes": 0, "tries": 1000, "ray": {"jobs": workers},
               "limits": {"jobs_waiting": 10_000, "jobs_waiting_total": 10_000, "jobs_kept": 10_000}}
    return ServerProcess(folder, options, {"TINY_LOG": str(log_of(folder))}, pipelines=PIPELINES, start_s=180.0,
                         stop_s=60.0)


def log_of(folder: Path) -> Path:
    """Where the pipelines of a server note starts and ends."""
    return folder / "tiny.log"


def noted(server: ServerProcess) -> list[tuple[str, str, int]]:
    """What the pipelines noted: (job id, ``start``, ``stopped`` or ``done``, step)."""
    log = log_of(server.folder)
    rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(job, what, int(step)) for job, what, step in rows]
