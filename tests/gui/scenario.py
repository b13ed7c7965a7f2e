# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: from the default scene to live Gaussians with the mouse alone, pictures on the way.

Arguments: output folder, the extension's zip, the backend's address.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import robot
from robot import RESULT, addon, buttons, click_until, screenshot, show_tab, wait_until

_, ZIP, ADDRESS = robot.ARGUMENTS[:3]


def state():
    return addon("blender_addon.session.state").session_state()


def settings():
    return bpy.context.scene.interngs


def splat():
    return addon("blender_addon.scene.splat_object").find(settings().job.job_id)


def prepare():
    """Install; a small capture, so that it is quick."""
    robot.install(ZIP)
    yield 1.5
    show_tab()
    addon("blender_addon.preferences").preferences().servers[0].address = ADDRESS
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 4, False
    settings().capture.width_px, settings().capture.height_px = 160, 120
    settings().capture.folder = str(robot.OUTPUT / "capture")
    settings().rig.count = 3
    settings().job.preset, settings().job.title = "draft", "Cube splat"
    yield 1.5
    screenshot("1_start")


def connect():
    yield from click_until(lambda: buttons()[0][:2], lambda: state().link.phase == "connected", "Connect")
    yield 1.0
    screenshot("2_connected")


def make_rig():
    """Open Scene Capture by its header, below the last button of Photos and Poses; then press Add Camera Rig."""
    before = len(buttons())

    def header():
        x, y, _ = buttons()[-1]  # Import Poses: what follows needs photographs
        return x, y + 60

    yield from click_until(header, lambda: len(buttons()) > before, "open Scene Capture")
    yield 1.0
    screenshot("3_scene_capture")
    yield from click_until(lambda: buttons()[-1][:2], lambda: settings().rig.collection is not None, "Add Camera Rig")
    yield 1.0


def capture():
    def button():
        tall = [found for found in buttons() if found[2] >= 21]
        return tall[0][:2] if tall else None

    yield from click_until(button, lambda: state().capture is not None or len(settings().photos) == 3, "Capture")
    screenshot("4_capturing")
    yield from wait_until(lambda: len(settings().photos) == 3 and state().capture is None, "capture", 240)
    assert not [each for each in bpy.data.scenes if "temporary" in each.name]
    yield 2.0
    screenshot("5_captured")


def reconstruct():
    robot.scroll(14)        # the button stands below what the window shows; Capture is the last one before
    yield 2.5
    screenshot("5_scrolled")

    def button():
        tall = sorted((found for found in buttons() if found[2] >= 21), key=lambda found: found[1])
        return tall[-1][:2] if tall else None

    yield from click_until(button, lambda: bool(settings().job.job_id) or "submit" in state().waiting, "Reconstruct",
                           90)
    yield from wait_until(lambda: splat() is not None, "first Gaussians", 240)
    yield 1.0
    screenshot("6_live")
    first = splat().interngs_splat.step
    yield from wait_until(lambda: splat().interngs_splat.step > first, "the next Gaussians", 240)
    RESULT["live_steps"] = [first, splat().interngs_splat.step]
    yield from wait_until(lambda: splat().interngs_splat.state == "FINAL", "the result", 400)
    yield 2.0
    RESULT["gaussians"] = len(splat().data.points if splat().type == "POINTCLOUD" else splat().data.vertices)
    RESULT["kind"] = splat().type
    RESULT["error"] = state().error and state().error.details
    screenshot("7_result")


robot.play([prepare, connect, make_rig, capture, reconstruct], limit_s=900)
