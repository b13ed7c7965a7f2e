# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: the README's pictures, of the project's example as an artist meets it.

Arguments: output folder, the extension's zip, then ``train`` with the backend's address and the example's pose file,
or ``finish`` with the .blend that the first run left and the photographs' folder.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import robot
from mathutils import Vector
from robot import RESULT, addon, screenshot, view3d, wait_until

_, ZIP, WHAT, *TOLD = robot.ARGUMENTS
OPEN = {"train": ("job", "result", "preview"), "finish": ("clean", "compare")}[WHAT]
KEPT_PHOTOS = ("00", "05", "11")
BLEND = robot.OUTPUT / "chess_table.blend"


def panels(opened):
    """Fold every panel but ``opened`` (and what belongs to none), as an artist would with a click on its header."""
    found = [getattr(bpy.types, name) for name in dir(bpy.types) if name.startswith("INTERNGS_PT_")]
    found = [each for each in found if "HIDE_HEADER" not in getattr(each, "bl_options", ())]
    for each in sorted(found, key=lambda panel: not getattr(panel, "bl_parent_id", "")):
        bpy.utils.unregister_class(each)
    for each in sorted(found, key=lambda panel: bool(getattr(panel, "bl_parent_id", ""))):
        folded = set() if each.bl_idname.removeprefix("INTERNGS_PT_") in opened else {"DEFAULT_CLOSED"}
        each.bl_options = set(getattr(each, "bl_options", ())) - {"DEFAULT_CLOSED"} | folded
        bpy.utils.register_class(each)


def prepare():
    robot.install(ZIP)
    yield 1.5
    panels(OPEN)
    yield 0.5
    robot.show_tab()
    tidy_view()
    yield 0.5


def tidy_view():
    space = view3d()[1].spaces.active
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False
    space.overlay.show_cursor = space.overlay.show_text = space.overlay.show_object_origins = False
    space.overlay.show_relationship_lines = space.overlay.show_outline_selected = False
    space.clip_start = 0.05


def look_through(camera, back=0.0):
    """The view from where a camera stands, or from behind it."""
    _, area, _, _ = view3d()
    space = area.spaces.active
    space.lens = 44.0
    space.region_3d.view_perspective = "PERSP"
    matrix = camera.matrix_world.copy()
    matrix.translation = matrix @ Vector((0, 0, back))
    space.region_3d.view_matrix = matrix.inverted()


def drawn():
    preview = addon("blender_addon.draw.preview").preview()
    yield 2.0
    yield from wait_until(lambda: preview.contents.is_settled, "drawing", 200)
    yield 4.0


def scene():
    return bpy.context.scene


def train():
    address, poses = TOLD
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)
    bpy.ops.interngs.import_poses(filepath=poses)
    settings = scene().interngs
    for row in settings.photos:
        row.use = row.name in KEPT_PHOTOS
        row.camera.hide_set(not row.use)
        row.camera.data.show_background_images = False
    settings.job.preset, settings.job.title = "draft", "Chess table"
    settings.job.preview_gaussians = 100_000
    addon("blender_addon.preferences").preferences().servers[0].address = address
    bpy.ops.interngs.connect()
    state = addon("blender_addon.session.state").session_state
    yield from wait_until(lambda: state().link.is_up, "connected")
    look_through(next(row.camera for row in settings.photos if row.name == "05"), back=0.15)
    bpy.ops.interngs.reconstruct()
    find = addon("blender_addon.scene.splat_object").find

    def step():
        assert state().error is None, state().error.details
        shown = find(settings.job.job_id)
        return shown.interngs_splat.step if shown is not None else -1

    yield from wait_until(lambda: step() >= 90, "half of the training", 600)
    yield 6.0
    screenshot("running")
    RESULT["shown_step"] = step()
    yield from wait_until(lambda: step() >= 0 and find(settings.job.job_id).interngs_splat.state == "FINAL",
                          "the result", 600)
    bpy.context.view_layer.objects.active = find(settings.job.job_id)
    for each in scene().objects:
        each.hide_set(each.type == "CAMERA")
    yield from drawn()
    screenshot("result")
    bpy.ops.wm.save_as_mainfile(filepath=str(BLEND), compress=True)


def finish():
    blend, photos = TOLD
    bpy.ops.wm.open_mainfile(filepath=blend, load_ui=False)     # its panels were folded otherwise
    yield 3.0
    settings, window = scene().interngs, bpy.context.window_manager.interngs_finish
    look_through(next(row.camera for row in settings.photos if row.name == "05"), back=0.15)
    for row in settings.photos:
        row.path = str(Path(photos) / Path(bpy.path.abspath(row.path)).name)
    splat = next(each for each in bpy.data.objects if each.interngs_splat.is_splat)
    bpy.context.view_layer.objects.active = splat
    marking = addon("blender_addon.session.marking").marking()
    window.show_marked = True
    yield 2.0
    yield from wait_until(lambda: (known := marking.known(splat)) is not None and known.is_current, "the marks", 200)
    yield from drawn()
    RESULT["marked"] = marking.known(splat).marks.removed
    screenshot("clean")
    window.show_marked = False
    scene().camera = next(row.camera for row in settings.photos if row.name == "05")
    _, area, region, _ = view3d()
    with bpy.context.temp_override(window=view3d()[0], area=area, region=region):
        bpy.ops.interngs.compare("INVOKE_DEFAULT", step=0)
    window.wipe = 0.5
    yield from drawn()
    screenshot("wipe")


robot.play([prepare, {"train": train, "finish": finish}[WHAT]], limit_s=1200)
