# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of older protocol numbers to the newest form and back; all other code knows only the newest."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
_WITH_JOB = ("accepted", "attached", "job-state", "job")


def to_current(name: str, body: Body, protocol: int) -> Body:
    """The body of a message of type ``name`` in the newest form."""
    return _change(name, body, _progress_from_1, _job_from_1) if protocol == 1 else body


def to_older(name: str, body: Body, protocol: int) -> Body:
    """The body of a message of type ``name`` as a peer of ``protocol`` knows it."""
    if protocol != 1:
        return body
    body = _change(name, body, _progress_to_1, _job_to_1)
    if name == "submit":
        body = _without(body, "priority")
    return body


def _change(name: str, body: Body, change_progress: Any, change_job: Any) -> Body:
    if name == "progress" and isinstance(body.get("progress"), dict):
        return {**body, "progress": change_progress(body["progress"])}
    if name in _WITH_JOB and isinstance(body.get("job"), dict):
        return {**body, "job": change_job(body["job"])}
    if name == "job-list" and isinstance(body.get("jobs"), (list, tuple)):
        return {**body, "jobs": [change_job(job) if isinstance(job, dict) else job for job in body["jobs"]]}
    return body


def _progress_from_1(progress: Body) -> Body:
    changed = _without(progress, "psnr", "seconds_left")
    if "psnr" in progress:
        changed["psnr_db"] = progress["psnr"]
    return changed


def _progress_to_1(progress: Body) -> Body:
    changed = _without(progress, "psnr_db", "seconds_left")
    changed["psnr"] = progress.get("psnr_db")
    return changed


def _job_from_1(job: Body) -> Body:
    changed = _without(job, "priority")
    if isinstance(job.get("progress"), dict):
        changed["progress"] = _progress_from_1(job["progress"])
    return changed


def _job_to_1(job: Body) -> Body:
    changed = _without(job, "priority")
    if isinstance(job.get("progress"), dict):
        changed["progress"] = _progress_to_1(job["progress"])
    return changed


def _without(body: Body, *names: str) -> Body:
    return {key: value for key, value in body.items() if key not in names}
