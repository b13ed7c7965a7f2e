# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: a splat rendered through nodes by EEVEE and by Cycles, as pixels for a comparison.

Arguments: output folder, the extension's zip, a PLY, a camera (JSON of K, camera_from_world and size_px), samples.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import numpy as np
import robot
from robot import RESULT, addon

_, ZIP, SPLATS, CAMERA, SAMPLES = robot.ARGUMENTS


def prepare():
    robot.install(ZIP)
    yield 1.5
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)
    gaussians = addon("interngs.formats.ply").read_ply(SPLATS).gaussians
    arrays = addon("blender_addon.scene.splat_arrays").splat_arrays(gaussians, viewing=True)
    scene = bpy.context.scene
    splat = addon("blender_addon.scene.splat_object").create("splat", arrays, scene.collection)
    splat.interngs_render.rendered_by = "BLENDER"
    told = json.loads(Path(CAMERA).read_text())
    camera = addon("interngs.scene.cameras").Camera(
        np.array(told["K"]), np.array(told["camera_from_world"]), *told["size_px"])
    scene.camera = addon("blender_addon.scene.cameras").new_camera_object("camera", camera, scene.collection)
    scene.camera.data.clip_start = 0.01
    scene.render.resolution_x, scene.render.resolution_y = told["size_px"]
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode, scene.render.image_settings.color_depth = "RGBA", "32"
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.device = int(SAMPLES), False, "CPU"
    scene.eevee.taa_render_samples = int(SAMPLES)
    RESULT["seconds"] = {}
    yield 1.0


def render():
    engines = [each.identifier for each in bpy.types.RenderSettings.bl_rna.properties["engine"].enum_items]
    eevee = next((each for each in ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE") if each in engines), "BLENDER_EEVEE_NEXT")
    for name, engine in (("cycles", "CYCLES"), ("eevee", eevee)):
        scene = bpy.context.scene
        try:
            scene.render.engine = engine
        except TypeError:
            scene.render.engine = "BLENDER_EEVEE"
        scene.render.filepath = str(robot.OUTPUT / f"{name}.exr")
        began = time.perf_counter()
        bpy.ops.render.render(write_still=True)
        RESULT["seconds"][name] = round(time.perf_counter() - began, 1)
        image = bpy.data.images.load(scene.render.filepath)
        image.colorspace_settings.name = "Non-Color"
        pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
        image.pixels.foreach_get(pixels)
        np.save(robot.OUTPUT / f"{name}.npy", pixels.reshape(image.size[1], image.size[0], 4)[::-1])
        bpy.data.images.remove(image)
        yield 0.5


robot.play([prepare, render], limit_s=900)
