# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: import by the file browser, marks and cleaning, editing by hand, floor picks, the wipe.

Arguments: output folder, the extension's zip, a PLY of a ball of Gaussians with strays, a photograph of 96 x 64 px.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import numpy as np
import robot
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Matrix
from robot import RESULT, addon, screen_pixels, screenshot, view3d, wait_until

_, ZIP, SPLATS, PHOTO = robot.ARGUMENTS
PANELS = ("clean", "place", "compare", "share")


def in_view(**more):
    window, area, region, _ = view3d()
    return bpy.context.temp_override(window=window, area=area, region=region, **more)


def count():
    splat = bpy.data.objects["ball"]
    return len(splat.data.vertices) if splat.type == "MESH" else len(splat.data.points)


def prepare():
    robot.install(ZIP)
    yield 1.5
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)
    # Only the panels of this test, and open: the sidebar is short.
    for name in dir(bpy.types):
        if name.startswith("INTERNGS_PT_"):
            panel = getattr(bpy.types, name)
            bpy.utils.unregister_class(panel)
            if name.removeprefix("INTERNGS_PT_") in PANELS:
                panel.bl_options = set()
                bpy.utils.register_class(panel)
    yield 1.0
    robot.show_tab()
    yield 0.5


def import_by_browser():
    with in_view():
        bpy.ops.interngs.import_splats("INVOKE_DEFAULT")
    yield 2.0

    def browser():
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "FILE_BROWSER":
                    return window, area
        return None

    yield from wait_until(lambda: browser() is not None, "the file browser")
    screenshot("1_browser")
    window, area = browser()
    area.spaces.active.params.directory = str(Path(SPLATS).parent).encode()
    area.spaces.active.params.filename = Path(SPLATS).name
    yield 1.0
    with bpy.context.temp_override(window=window, area=area,
                                   region=next(each for each in area.regions if each.type == "WINDOW")):
        bpy.ops.file.execute("INVOKE_DEFAULT")
    yield from wait_until(lambda: "ball" in bpy.data.objects, "the imported splat")
    RESULT["imported"] = count()
    view = view3d()[1].spaces.active.region_3d
    view.view_perspective, view.view_distance = "ORTHO", 4.0
    view.view_rotation = Matrix.Rotation(np.radians(60), 4, "X").to_quaternion()
    view.view_location = (0, 0, 0)
    yield 3.0


def marks_and_cleaning():
    splat = bpy.data.objects["ball"]
    marking = addon("blender_addon.session.marking").marking()
    window = bpy.context.window_manager.interngs_finish
    window.show_marked = True
    splat.interngs_clean.max_size = 0.1
    with in_view():
        bpy.ops.interngs.add_crop("INVOKE_DEFAULT", True, shape="box")
    box = splat.interngs_clean.box
    box.scale[0] *= 0.6
    with in_view():
        bpy.ops.ed.undo_push(message="scaled")
    bpy.context.view_layer.objects.active = splat
    yield 1.0
    yield from wait_until(lambda: (known := marking.known(splat)) is not None and known.is_current, "the marks")
    yield 2.0
    screenshot("2_marks")
    RESULT["marked"] = marking.known(splat).marks.removed
    RESULT["counts"] = marking.known(splat).marks.counts
    with in_view():
        bpy.ops.interngs.clean("INVOKE_DEFAULT")
    yield from wait_until(lambda: count() < RESULT["imported"], "the cleaning")
    RESULT["cleaned"] = count()
    yield 1.0
    with in_view():
        bpy.ops.ed.undo()
    yield 1.0
    RESULT["undone"] = count()
    window.show_marked = False
    bpy.data.objects["ball"].interngs_clean.box.hide_set(True)


def edit_by_hand():
    bpy.context.view_layer.objects.active = bpy.data.objects["ball"]
    yield 1.5
    with in_view():
        bpy.ops.interngs.edit_points("EXEC_DEFAULT", select="NONE")
    yield 1.5
    with in_view():
        if bpy.context.mode == "EDIT_MESH":
            bpy.ops.mesh.select_all(action="SELECT")
        else:
            bpy.ops.pointcloud.select_all(action="SELECT")
    yield 1.5
    screenshot("3_edit_mode")
    RESULT["edit_mode"] = bpy.context.mode
    with in_view():
        bpy.ops.object.mode_set(mode="OBJECT")
    yield 1.0


def click_and_stay(x, y):
    """A click is where the mouse is once a slow machine has drawn: leave it there."""
    RESULT["clicks"].append([x, y])
    subprocess.Popen(["xdotool", "mousemove", str(x), str(y - 4), "sleep", "0.5", "mousemove", str(x), str(y),
                      "sleep", "1", "click", "1"])


def pick_floor():
    splat = bpy.data.objects["ball"]
    before = splat.matrix_world.copy()
    view = view3d()[1].spaces.active.region_3d
    view.view_rotation = Matrix().to_quaternion()
    yield 2.0
    with in_view():
        bpy.ops.interngs.pick_floor("INVOKE_DEFAULT")
    yield 1.0
    window, _, region, _ = view3d()
    for place in ((-0.4, -0.3, 0), (0.4, -0.3, 0), (0, 0.4, 0)) * 3:     # a click is lost now and then
        at = location_3d_to_region_2d(region, view, place)
        click_and_stay(int(region.x + at.x), int(window.height - region.y - at.y))
        yield 5.0
        if bpy.data.objects["ball"].matrix_world != before:
            break
        screenshot("4_picking")
    yield from wait_until(lambda: bpy.data.objects["ball"].matrix_world != before, "the floor", 30)
    RESULT["floor_height"] = bpy.data.objects["ball"].matrix_world.translation.z
    yield 1.0


def wipe():
    scene = bpy.context.scene
    camera = bpy.data.objects.new("view", bpy.data.cameras.new("view"))
    scene.collection.objects.link(camera)
    camera.location = (0, 0, 5)
    row = scene.interngs.photos.add()
    row.name, row.path, row.camera, row.width_px, row.height_px = "view", PHOTO, camera, 96, 64
    yield 1.0
    with in_view():
        bpy.ops.interngs.compare("INVOKE_DEFAULT", step=0)
    bpy.context.window_manager.interngs_finish.wipe = 0.5
    yield 4.0
    screenshot("5_wipe")
    window, _, region, _ = view3d()
    view = view3d()[1].spaces.active.region_3d
    frame = [location_3d_to_region_2d(region, view, camera.matrix_world @ each)
             for each in camera.data.view_frame(scene=scene)]
    left, right = min(each.x for each in frame), max(each.x for each in frame)
    middle = sum(each.y for each in frame) / 4
    pixels = screen_pixels()

    def at(share):
        x, y = int(region.x + left + share * (right - left)), int(window.height - region.y - middle)
        return pixels[y - 3:y + 3, x - 3:x + 3].reshape(-1, 3).mean(axis=0).tolist()

    RESULT["wipe"] = {"photograph": at(0.1), "splat": at(0.9)}


robot.play((prepare, import_by_browser, marks_and_cleaning, edit_by_hand, pick_floor, wipe), limit_s=800.0)
