# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: the picture of the README, the example's result as it stands in the viewport.

Arguments: output folder, the extension's zip, the result's PLY, its report, a pose file of its photographs.

    python tools/blender_window.py run ROOT WORK picture.py --window-geometry 0 0 1400 900 -- /w/pictures ...
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import robot
from mathutils import Matrix
from robot import addon, screenshot, view3d, wait_until

SCREEN_HEIGHT = 1700
_, ZIP, SPLATS, REPORT, POSES = robot.ARGUMENTS


def prepare():
    robot.install(ZIP)
    yield 1.5
    robot.show_tab()
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)
    space = view3d()[1].spaces.active
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False
    space.overlay.show_extras = space.overlay.show_cursor = space.overlay.show_text = False
    space.overlay.show_outline_selected = space.overlay.show_object_origins = False
    space.clip_start = 0.05
    yield 0.5


def show():
    gaussians = addon("interngs.formats.ply").read_ply(SPLATS).gaussians
    arrays = addon("blender_addon.scene.splat_arrays").splat_arrays(gaussians, viewing=True)
    splat = addon("blender_addon.scene.splat_object").create("Chess table", arrays, bpy.context.scene.collection)
    splat.interngs_splat.state, splat.interngs_splat.report_json = "FINAL", Path(REPORT).read_text()
    bpy.context.view_layer.objects.active = splat
    camera = addon("interngs.formats.transforms_json").read_transforms_json(Path(POSES)).views[5].camera
    cameras = addon("blender_addon.scene.cameras")
    space = view3d()[1].spaces.active
    space.lens = 44.0
    space.region_3d.view_perspective = "PERSP"
    space.region_3d.view_matrix = Matrix(cameras.world_from_blender(camera).tolist()).inverted()
    preview = addon("blender_addon.draw.preview").preview()
    yield 4.0
    yield from wait_until(lambda: not preview._worker.is_busy and not preview._worker.has_news, "drawing", 300)
    yield 10.0
    _, _, _, sidebar = view3d()
    # A window smaller than the screen stands at its lower left.
    x, y = sidebar.x + sidebar.width // 2, SCREEN_HEIGHT - sidebar.y - sidebar.height // 2
    subprocess.Popen(["xdotool", "mousemove", str(x), str(y), "sleep", "1", "click", "--repeat", "19", "--delay", "60",
                      "5", "mousemove", *robot.PARKED])
    yield 8.0
    screenshot("viewport")


robot.play([prepare, show], limit_s=500)
