# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: how long the interface stands still while previews of 500 000 Gaussians arrive.

Arguments: output folder, the extension's zip, the backend's address, photograph files.  The object is shown by its
bounds, so that the time is the add-on's and not the software renderer's; what drawing Gaussians adds on the main
thread is measured by ``benchmarks/preview.py``.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import robot
from robot import RESULT, addon, wait_until

_, ZIP, ADDRESS, *PHOTOS = robot.ARGUMENTS
PREVIEWS = 6


def prepare():
    robot.install(ZIP)
    yield 1.5
    settings = bpy.context.scene.interngs
    addon("blender_addon.preferences").preferences().servers[0].address = ADDRESS
    for path in PHOTOS:
        bpy.ops.interngs.add_photos(directory=str(Path(path).parent), files=[{"name": Path(path).name}])
    for number, row in enumerate(settings.photos):
        row.camera = bpy.data.objects["Camera"].copy()
        row.camera.location.x += number
        bpy.context.scene.collection.objects.link(row.camera)
    settings.job.preview_gaussians = 500_000
    bpy.context.window_manager.interngs.show_preview = False
    jobs = addon("blender_addon.ops.jobs")
    original = jobs.job_settings
    jobs.job_settings = lambda scene: original(scene) | {
        "preset": "draft", "seeding": {"max_seeds": 500_000}, "optimise": {"steps": 200}}
    bpy.ops.interngs.connect()
    yield from wait_until(lambda: addon("blender_addon.session.state").session_state().link.is_up, "connected")


def measure():
    session = addon("blender_addon.session.session").session()
    find = addon("blender_addon.scene.splat_object").find
    turns = []
    original = session.pump

    def timed(*arguments):
        before = find(bpy.context.scene.interngs.job.job_id)
        shown = before.interngs_splat.step if before is not None else None
        writing = session._arrivals.is_writing
        began, used = time.perf_counter(), time.thread_time()
        pause = original(*arguments)
        took, busy = time.perf_counter() - began, time.thread_time() - used
        after = find(bpy.context.scene.interngs.job.job_id)
        if after is not None:
            after.display_type = "BOUNDS"
        swapped = after is not None and after.interngs_splat.step != shown
        turns.append((took, busy, swapped, writing or swapped or session._arrivals.is_writing))
        return pause

    session.pump = timed
    bpy.ops.interngs.reconstruct()
    state = addon("blender_addon.session.state").session_state

    def enough():
        RESULT["error"] = state().error and state().error.details
        shown = find(bpy.context.scene.interngs.job.job_id)
        is_final = shown is not None and shown.interngs_splat.state == "FINAL"
        return sum(swapped for _, _, swapped, _ in turns) >= PREVIEWS or is_final or RESULT["error"]

    yield from wait_until(enough, "previews", 500)
    assert not RESULT["error"], RESULT["error"]
    RESULT["arrivals"] = sum(swapped for _, _, swapped, _ in turns)
    RESULT["gaussians"] = addon("blender_addon.scene.splat_object").point_count(
        find(bpy.context.scene.interngs.job.job_id).data)
    for name, chosen in (("arriving", True), ("quiet", False)):
        wall = sorted(took * 1e3 for took, _, _, arriving in turns if arriving == chosen)
        busy = max(busy * 1e3 for _, busy, _, arriving in turns if arriving == chosen)
        RESULT[name] = {"turns": len(wall), "median_ms": round(wall[len(wall) // 2], 2),
                        "99 %_ms": round(wall[int(len(wall) * 0.99)], 2), "longest_ms": round(wall[-1], 2),
                        "longest_processor_ms": round(busy, 2)}


robot.play([prepare, measure], limit_s=900)
