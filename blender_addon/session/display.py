# SPDX-License-Identifier: GPL-3.0-or-later
"""Put prepared Gaussians into the scene that their job belongs to, as one object updated in place."""

from __future__ import annotations

import json

import bpy
import numpy as np
from mathutils import Matrix

from ..scene import splat_object
from ..scene.result_cameras import add_result_cameras, splat_since_training
from .preparer import ReadySplat


def scene_of_job(job_id: str) -> bpy.types.Scene | None:
    """The scene of the open file that shows a job."""
    return next((scene for scene in bpy.data.scenes if scene.interngs.job.job_id == job_id), None) if job_id else None


def bound_jobs() -> list[tuple[str, str]]:
    """(job id, server id) of every scene of the open file that is bound to a job."""
    return [(scene.interngs.job.job_id, scene.interngs.job.server_id) for scene in bpy.data.scenes
            if scene.interngs.job.job_id]


def object_name(scene: bpy.types.Scene) -> str:
    """Name for a new splat: the job's title, else the file's name."""
    title = scene.interngs.job.title.strip()
    if title:
        return title
    return bpy.path.display_name_from_filepath(bpy.data.filepath) if bpy.data.filepath else "Splat"


def _follow_frame(splat: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Parent the splat to what the cameras hang on, so that both move together; it stays where it was trained."""
    job = scene.interngs.job
    if job.frame_object is None:
        return
    frame = np.array(job.frame_matrix, np.float64).reshape(4, 4)
    splat.parent = job.frame_object
    splat.matrix_parent_inverse = Matrix(np.linalg.inv(frame).tolist())


def _undo_applied(splat: bpy.types.Object) -> None:
    """New Gaussians are where they were trained: a transform that was applied to the old ones is the object's again."""
    applied = splat_since_training(splat)
    if not np.array_equal(applied, np.eye(4)):
        splat.matrix_basis = splat.matrix_basis @ Matrix(applied.tolist())
        splat.interngs_place.splat_from_training = np.eye(4).ravel()


def show(ready: ReadySplat, server_id: str, data: splat_object.SplatData) -> bpy.types.Object | None:
    """Show a job's Gaussians, written into ``data``: create its object or give it to the one there is.

    None when no scene of this file shows the job, or its object is being edited; then ``data`` is removed.
    """
    scene = scene_of_job(ready.job_id)
    if scene is None:
        splat_object.remove_data(data)
        return None
    splat = splat_object.find(ready.job_id)
    if splat is None:
        splat = splat_object.create_with(object_name(scene), data, scene.collection)
        _follow_frame(splat, scene)
    elif splat.mode != "OBJECT":
        splat_object.remove_data(data)
        return None
    else:
        splat_object.replace(splat, data)
        _undo_applied(splat)
    facts = splat.interngs_splat
    facts.job_id, facts.server_id = ready.job_id, server_id
    facts.step, facts.state = ready.step, ready.kind
    if ready.report:
        facts.report_json = json.dumps(ready.report)
        if scene.interngs.job.poses == "ESTIMATE" and not any(row.camera for row in scene.interngs.photos):
            add_result_cameras(scene, splat)
    return splat
