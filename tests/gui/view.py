# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: a reconstruction drawn in a moved and scaled object beside a mesh that cuts it.

Arguments: output folder, the extension's zip, a PLY (axes x right, y down, z forward; camera near the origin).
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import numpy as np
import robot
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Matrix, Vector
from robot import RESULT, addon, screen_pixels, screenshot, view3d, wait_until

_, ZIP, SPLATS = robot.ARGUMENTS
ASKED = (127, 64, 191)
MOST = 6_000
PLACED = Matrix.Translation((0.5, 0.3, 1.0)) @ Matrix.Scale(0.05, 4) @ Matrix.Rotation(np.radians(-90), 4, "X")
EYE = Vector(PLACED.translation)


def look_from(eye, distance):
    """Look along +Y from ``eye``."""
    region = view3d()[1].spaces.active.region_3d
    region.view_perspective = "PERSP"
    region.view_rotation = Matrix.Rotation(np.radians(90), 4, "X").to_quaternion()
    region.view_distance = distance
    region.view_location = eye + Vector((0, distance, 0))


def redraw():
    view3d()[1].tag_redraw()


def view_pixels():
    """The 3D view without its sidebar and header, [H, W, 3]."""
    window, _, region, sidebar = view3d()
    top = window.height - region.y - region.height
    return screen_pixels()[top + 60:top + region.height, region.x + 60:sidebar.x].astype(int)


def drawn():
    """Whether packing and sorting are done and drawn."""
    return addon("blender_addon.draw.preview").preview().contents.is_settled


def settled():
    redraw()
    yield 0.7
    yield from wait_until(drawn, "drawing", 120)
    yield 1.5


def new_splat(name, gaussians):
    arrays = addon("blender_addon.scene.splat_arrays").splat_arrays(gaussians, viewing=True)
    return addon("blender_addon.scene.splat_object").create(name, arrays, bpy.context.scene.collection)


def prepare():
    robot.install(ZIP)
    yield 1.5
    robot.show_tab()
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)
    space = view3d()[1].spaces.active
    space.shading.light, space.shading.color_type = "FLAT", "SINGLE"
    space.shading.single_color = (0.8, 0.02, 0.02)
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False
    space.overlay.show_cursor = space.overlay.show_text = False
    space.clip_start = 0.05
    yield 0.5


def colour():
    """A ball of one colour."""
    random = np.random.default_rng(0)
    record = addon("interngs.scene.gaussians").Gaussians
    count = 4000
    sh = np.tile((np.float32(ASKED) / 255 - 0.5) / 0.28209479, (count, 1, 1)).astype(np.float32)
    ball = new_splat("ball", record(
        random.normal(scale=0.1, size=(count, 3)).astype(np.float32), np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        np.full((count, 3), -3.0, np.float32), np.full(count, 6.0, np.float32), sh))
    look_from(Vector((0, -2, 0)), 2.0)
    yield from settled()
    window, _, region, _ = view3d()
    at = location_3d_to_region_2d(region, view3d()[1].spaces.active.region_3d, (0, 0, 0))
    x, y = int(region.x + at.x), int(window.height - region.y - at.y)

    def middle():
        return screen_pixels()[y - 8:y + 8, x - 8:x + 8].reshape(-1, 3).mean(axis=0)

    screenshot("1_colour")
    RESULT["colour"] = middle().tolist()
    ball.hide_set(True)
    yield from settled()
    RESULT["hidden"] = middle().tolist()
    bpy.data.objects.remove(ball)
    yield from settled()
    RESULT["deleted"] = middle().tolist()


def red(pixels):
    return int(((pixels[..., 0] > 1.8 * pixels[..., 1]) & (pixels[..., 0] > 1.8 * pixels[..., 2])
                & (pixels[..., 0] > 150)).sum())


def cut():
    """The reconstruction, and a cube behind, within and before it."""
    gaussians = addon("interngs.formats.ply").read_ply(SPLATS).gaussians
    # The software renderer needs seconds for all of them: those that cover most.
    covered = gaussians.opacities * np.sort(gaussians.scales, axis=1)[:, 1:].prod(axis=1) / gaussians.means[:, 2] ** 2
    gaussians = gaussians.select(np.argsort(-covered)[:MOST])
    fern = new_splat("fern", gaussians)
    fern.matrix_world = PLACED
    look_from(EYE, 2.0)
    yield from settled()
    screenshot("2_reconstruction")
    bpy.ops.mesh.primitive_cube_add(size=0.5, rotation=(0.4, 0.2, 0.6))
    cube = bpy.context.object
    cube.select_set(False)
    middle = Vector(np.median(gaussians.means, axis=0).tolist())
    middle = PLACED @ middle - EYE
    # The same size in the picture, at three distances.
    for name, share in (("behind", 5.0), ("within", 1.0), ("before", 0.4)):
        cube.location = EYE + middle * share
        cube.scale = (share, share, share)
        yield from settled()
        screenshot(f"3_{name}")
        RESULT[f"red_{name}"] = red(view_pixels())
    cube.location = EYE + middle
    cube.scale = (1, 1, 1)


def turn():
    """How long the handler takes on the main thread while the view turns."""
    preview = addon("blender_addon.draw.preview").preview()
    contents, took = preview.contents, []
    original = contents.picture

    def timed(*arguments):
        began = time.perf_counter()
        made = original(*arguments)
        took.append((time.perf_counter() - began) * 1e3)
        return made

    contents.picture = timed
    region = view3d()[1].spaces.active.region_3d
    for step in range(5):
        region.view_rotation = (Matrix.Rotation(0.02 * step, 4, "Z")
                                @ Matrix.Rotation(np.radians(90), 4, "X")).to_quaternion()
        redraw()
        yield 0.6
    contents.picture = original
    RESULT["picture_ms"] = [round(each, 2) for each in took]
    look_from(EYE, 2.0)
    for mode in ("ELLIPSOIDS", "POINTS", "DEPTH", "SPLATS"):
        bpy.context.window_manager.interngs.preview_mode = mode
        yield from settled()
        screenshot(f"4_{mode.lower()}")


def undo():
    """Delete, undo, redo, reload: never a crash, and the picture is right."""
    full = view_pixels()
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.object.select_all(action="DESELECT")
    bpy.data.objects["fern"].select_set(True)
    window, area, region, _ = view3d()
    with bpy.context.temp_override(window=window, area=area, region=region):
        bpy.ops.object.delete()
        bpy.ops.ed.undo_push(message="deleted")
    yield from settled()
    RESULT["after_delete"] = float(np.abs(view_pixels() - full).mean())
    with bpy.context.temp_override(window=window, area=area, region=region):
        bpy.ops.ed.undo()
    yield from settled()
    bpy.ops.object.select_all(action="DESELECT")
    yield from settled()
    RESULT["after_undo"] = float(np.abs(view_pixels() - full).mean())
    path = str(robot.OUTPUT / "fern.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    yield 2.0
    yield from settled()
    screenshot("5_reloaded")
    RESULT["after_reload"] = float(np.abs(view_pixels() - full).mean())
    (robot.OUTPUT / "fern.blend").unlink()
    error = addon("blender_addon.session.state").session_state().error
    RESULT["error"] = error and error.details


robot.play([prepare, colour, cut, turn, undo], limit_s=1500)
