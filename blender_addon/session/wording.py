# SPDX-License-Identifier: GPL-3.0-or-later
"""Words and numbers as the panels show them; knows no bpy."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from ...interngs.link.state import LinkState
from ...interngs.wire.records import DeviceInfo, JobInfo, PriorInfo, ProgressInfo

Mood = Literal["good", "busy", "bad", "idle"]

STAGES = {"load": "Reading photographs", "geometry": "Finding geometry", "seeding": "Placing first Gaussians",
          "optimise": "Training", "clean": "Cleaning", "evaluate": "Measuring"}
STATES = {"draft": "Draft", "uploading": "Sending photographs", "queued": "Waiting", "preparing": "Preparing",
          "training": "Training", "finishing": "Finishing", "paused": "Paused", "done": "Finished",
          "cancelled": "Cancelled", "failed": "Failed", "discarded": "Discarded"}
CHARACTER_PX = 6.4
"""Mean width of a character of Blender's interface font, a little more than measured."""
GEOMETRIES = {"plane-sweep": "Plane sweep", "dust3r": "DUSt3R", "given-depth": "Captured depth"}


def number(value: float) -> str:
    """A count in three digits: 950, 12.3 k, 1.25 M."""
    if value < 1000:
        return f"{value:.0f}"
    scaled, unit = (value / 1e6, "M") if value >= 999_500 else (value / 1e3, "k")
    return f"{scaled:.3g} {unit}"


def byte_size(value: float | None) -> str:
    """Bytes as kB, MB or GB (decimal)."""
    if value is None:
        return "unknown"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds in words: 40 s, 12 min, 1 h 20 min."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def wrapped(text: str, width_px: float, scale: float = 1.0) -> list[str]:
    """``text`` cut into lines that fit a panel of ``width_px`` (Blender's labels never wrap)."""
    return textwrap.wrap(text, max(int(width_px / (CHARACTER_PX * scale)), 16)) or [""]


def connection(state: LinkState) -> tuple[str, Mood]:
    """The connection in words and colour."""
    if state.phase == "connected":
        trip = f" ({state.round_trip_s * 1000:.0f} ms)" if state.round_trip_s is not None else ""
        return f"Connected{trip}", "good"
    if state.phase == "lost":
        wait = state.retry_in_s
        return ("Lost: trying again" if not wait else f"Lost: retrying in {wait:.0f} s"), "bad"
    return {"connecting": ("Connecting", "busy"), "slow": ("Slow: waiting for a sign of life", "busy"),
            "refused": ("Refused", "bad")}.get(state.phase, ("Not connected", "idle"))  # type: ignore[return-value]


def device(info: DeviceInfo) -> str:
    """A GPU or processor with its memory."""
    if info.free_bytes is None or info.memory_bytes is None:
        return info.name
    return f"{info.name}, {byte_size(info.free_bytes)} of {byte_size(info.memory_bytes)} free"


def prior(info: PriorInfo) -> str:
    """A network with its licence."""
    use = {True: "commercial use allowed", False: "no commercial use", None: "commercial use not stated"}
    there = "" if info.present else " (weights missing)"
    name = GEOMETRIES.get(info.name, info.name)
    return f"{name}{there}: {info.licence or 'licence not stated'}, {use[info.commercial_use]}"


def job_state(job: JobInfo) -> str:
    """A job's state in words."""
    if job.wanted:
        return {"pause": "Pausing", "resume": "Resuming", "cancel": "Cancelling", "discard": "Discarding"}[job.wanted]
    if job.state == "queued" and job.queue_position is not None:
        return "Next in line" if job.queue_position == 0 else f"Waiting, {job.queue_position} before it"
    return STATES[job.state]


def stage(progress: ProgressInfo) -> str:
    """Stage and step."""
    return f"{STAGES.get(progress.stage, progress.stage)}: {progress.step} of {progress.total_steps}"


def figures(progress: ProgressInfo) -> str:
    """PSNR, Gaussians and time left, as far as known."""
    parts = []
    if progress.psnr_db is not None:
        parts.append(f"{progress.psnr_db:.1f} dB")
    if progress.gaussians is not None:
        parts.append(f"{number(progress.gaussians)} Gaussians")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


@lru_cache(maxsize=8)
def report_lines(report_json: str) -> tuple[tuple[str, str], ...]:
    """(label, value) pairs of a result's report; empty for none."""
    try:
        report = json.loads(report_json) if report_json else {}
    except ValueError:
        return (("Report", "cannot be read"),)
    if not isinstance(report, Mapping):
        return ()
    return tuple(_report_lines(report))


def _report_lines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    held_out = report.get("held_out") or report.get("evaluation") or report
    if isinstance(held_out, Mapping) and isinstance(held_out.get("psnr"), int | float):
        lines.append(("Held-out PSNR", f"{held_out['psnr']:.2f} dB"))
    geometry = report.get("geometry")
    if isinstance(geometry, Mapping) and geometry.get("method"):
        lines.append(("Geometry", GEOMETRIES.get(geometry["method"], str(geometry["method"]))))
    priors = report.get("priors")
    for each in priors if isinstance(priors, list) else ():
        if isinstance(each, Mapping):
            lines.append(("Prior", f"{each.get('name', '?')}, {each.get('licence', 'licence not stated')}"))
        else:
            lines.append(("Prior", str(each)))
    for key, label in (("preset", "Preset"), ("steps", "Steps"), ("device", "Device")):
        if report.get(key) not in (None, ""):
            lines.append((label, str(report[key])))
    views, seconds = report.get("views"), report.get("seconds")
    if isinstance(views, list):
        lines.append(("Photographs", str(len(views))))
    if isinstance(seconds, Mapping) and isinstance(seconds.get("total"), int | float):
        lines.append(("Time", duration(seconds["total"])))
    warnings = report.get("warnings")
    lines += [("Warning", str(each)) for each in (warnings if isinstance(warnings, list) else ())]
    return lines
