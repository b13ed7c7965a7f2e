# SPDX-License-Identifier: GPL-3.0-or-later
"""What a capture says must be where the pixels are: projection, depth, mask; and nothing of the scene may change."""

import bpy
import numpy as np
import pytest
from mathutils import Vector

pytestmark = pytest.mark.blender

TARGETS = [(0.0, 0.0, 0.0), (0.7, 0.2, 0.3), (-0.5, 0.4, -0.6)]
VARIANTS = {
    "plain": ((96, 72), {}, (1, 1)),
    "shifted": ((96, 72), {"shift_x": 0.12, "shift_y": -0.2}, (1, 1)),
    "portrait": ((72, 96), {"shift_y": 0.1}, (1, 1)),
    "wide pixels": ((96, 72), {"lens": 28.0, "shift_x": -0.1, "shift_y": 0.05}, (2, 1)),
    "tall pixels": ((72, 96), {"shift_x": 0.1}, (1, 1.5)),
    "fit vertical": ((96, 72), {"sensor_fit": "VERTICAL", "sensor_height": 20.0, "shift_x": 0.1}, (1, 1)),
    "fit horizontal": ((72, 96), {"sensor_fit": "HORIZONTAL", "shift_y": -0.1}, (1, 1)),
}


def look_from(position, target=(0, 0, 0), name="camera", **values):
    data = bpy.data.cameras.new(name)
    for key, value in values.items():
        setattr(data, key, value)
    found = bpy.data.objects.new(name, data)
    found.location = position
    found.rotation_euler = (Vector(target) - Vector(position)).to_track_quat("-Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(found)
    return found


def white_ball(position, radius):
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=4, radius=radius, location=position)
    ball = bpy.context.object
    material = bpy.data.materials.new("white")
    if not material.node_tree:
        material.use_nodes = True
    material.node_tree.nodes.clear()
    emission = material.node_tree.nodes.new("ShaderNodeEmission")
    output = material.node_tree.nodes.new("ShaderNodeOutputMaterial")
    material.node_tree.links.new(emission.outputs[0], output.inputs[0])
    ball.data.materials.append(material)
    return ball


def read_png(path):
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1]


def set_engine(samples=32):
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = samples, False
    return scene


def run_capture(module, cameras, tmp_path, **values):
    capture = module("blender_addon.scene.capture")
    scene = bpy.context.scene
    settings = capture.CaptureSettings(**values)
    return capture.capture_now(scene, bpy.context.view_layer.name, cameras, settings, tmp_path)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_known_point_is_seen_where_the_camera_says(module, tmp_path, variant):
    (width, height), values, aspect = VARIANTS[variant]
    scene = set_engine()
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = aspect
    camera = look_from((4.0, -5.0, 2.5), **({"lens": 40.0} | values))
    balls = [white_ball(target, 0.12) for target in TARGETS]
    for number, target in enumerate(TARGETS):
        for other, ball in enumerate(balls):
            ball.hide_render = other != number
        view = run_capture(module, [camera], tmp_path / str(number), width_px=width, height_px=height,
                           depth=True, alpha=False)[0]
        image = read_png(view.image_path)[..., 0].astype(np.float64)
        image = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
        pixel, depth = view.camera.project(np.array([target]))
        u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        centroid = np.array([(u * image).sum(), (v * image).sum()]) / image.sum()
        assert image.sum() > 3 and image[[0, -1]].max() == 0 and image[:, [0, -1]].max() == 0
        assert np.abs(centroid - pixel[0]).max() < 0.1, (centroid, pixel)
        nearest = np.load(view.depth_path)
        assert abs(nearest[nearest > 0].min() / (depth[0] - 0.12) - 1) < 0.02


@pytest.mark.parametrize("variant", VARIANTS)
def test_depth_unprojects_onto_the_surface(module, tmp_path, variant):
    (width, height), values, aspect = VARIANTS[variant]
    scene = set_engine(1)
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = aspect
    scene.unit_settings.scale_length = 0.01
    camera = look_from((3.0, -4.0, 5.0), **({"lens": 30.0, "clip_end": 50.0} | values))
    bpy.ops.mesh.primitive_plane_add(size=200.0, rotation=(0.2, -0.1, 0.0))
    plane = bpy.context.object
    bpy.context.view_layer.update()
    normal, origin = np.array(plane.matrix_world)[:3, 2], np.array(plane.matrix_world)[:3, 3]
    view = run_capture(module, [camera], tmp_path, width_px=width, height_px=height, alpha=False)[0]
    depth = np.load(view.depth_path)
    rays = view.camera.pixel_rays() @ view.camera.camera_from_world[:3, :3]
    expected = ((origin - view.camera.centre) @ normal) / (rays @ normal)
    inside = (expected > 0) & (expected < 50.0 * 0.999)
    assert inside.any()
    assert np.abs(depth[inside] / expected[inside] - 1).max() < 1e-3
    beyond = (expected <= 0) | (expected > 50.0 * 1.001)
    assert (depth[beyond] == 0).all()


def test_alpha_is_the_subject_and_the_mask_leaves_out_what_stands_before_it(module, tmp_path):
    set_engine(1)
    camera = look_from((0.0, 0.0, 10.0), lens=50.0)
    bpy.ops.mesh.primitive_plane_add(size=2.0)
    subject = bpy.context.object
    bpy.ops.mesh.primitive_plane_add(size=2.0, location=(1.0, 0.0, 1.0))
    bpy.ops.mesh.primitive_plane_add(size=50.0, location=(0.0, 0.0, -1.0))
    plain = run_capture(module, [camera], tmp_path / "plain", width_px=80, height_px=80, alpha=False)[0]
    view = run_capture(module, [camera], tmp_path, width_px=80, height_px=80, subject=(subject.name,))[0]
    image, seen = read_png(view.image_path), read_png(view.mask_path)[..., 0] > 0.5
    points = view.camera.unproject(np.load(view.depth_path))
    rays = view.camera.pixel_rays() @ view.camera.camera_from_world[:3, :3]
    on_ground = view.camera.centre + rays * (-view.camera.centre[2] / rays[..., 2])[..., None]
    covered = (np.abs(on_ground[..., :2]) < 1.0).all(axis=-1)
    assert np.array_equal(image[..., 3] > 0.5, covered), "nothing is where the subject is not"
    assert np.array_equal(seen & covered, np.abs(points[..., 2]) < 1e-3), "what stands before it says nothing of it"
    assert (~seen).any() and seen[~covered].all()
    np.testing.assert_array_equal(image[..., :3], read_png(plain.image_path)[..., :3])
    assert sorted(each.suffix for each in tmp_path.iterdir() if each.is_file()) == [".npy", ".png", ".png"]


def test_a_subject_in_full_view_needs_no_mask(module, tmp_path):
    set_engine(1)
    camera = look_from((0.0, 0.0, 10.0))
    bpy.ops.mesh.primitive_plane_add(size=2.0)
    subject = bpy.context.object
    view = run_capture(module, [camera], tmp_path, width_px=40, height_px=30, subject=(subject.name,), depth=False)[0]
    assert view.mask_path is None and view.depth_path is None
    assert [each.name for each in tmp_path.iterdir()] == [view.image_path.name]
    assert 0 < (read_png(view.image_path)[..., 3] > 0.5).mean() < 0.5


def test_without_a_subject_everything_but_the_background_is_there(module, tmp_path):
    set_engine(64)
    camera = look_from((0.0, 0.0, 10.0))
    white_ball((0, 0, 0), 1.5)
    view = run_capture(module, [camera], tmp_path, width_px=40, height_px=30)[0]
    image, depth = read_png(view.image_path), np.load(view.depth_path)
    assert view.mask_path is None
    assert (image[..., 3][depth > 0] > 0.3).all() and (image[..., 3][depth == 0] < 0.7).all()
    edge = (image[..., 3] > 0.2) & (image[..., 3] < 0.8)
    assert edge.any() and (image[edge][:, :3] > 0.95).all(), "colour at the edge is the ball's, not the background's"


def test_workbench_captures_too(module, tmp_path, egl):
    camera = look_from((0.0, -6.0, 0.0))
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.scene.render.engine = "CYCLES"
    view = run_capture(module, [camera], tmp_path, width_px=64, height_px=48, engine="WORKBENCH", alpha=False)[0]
    image = read_png(view.image_path)[..., :3]
    assert image.shape == (48, 64, 3)
    assert image[24, 32].mean() != pytest.approx(image[0, 0].mean(), abs=0.02)
    assert np.load(view.depth_path)[24, 32] == pytest.approx(5.0, rel=1e-4)


def snapshot():
    """Every plain value of the scene, its render settings, cameras, objects and the number of data-blocks."""
    scene = bpy.context.scene
    values = {}
    owners = {"scene": scene, "render": scene.render, "image": scene.render.image_settings, "view": scene.view_settings,
              "display": scene.display_settings, "cycles": scene.cycles, "layer": bpy.context.view_layer,
              "shading": scene.display.shading, "preferences": bpy.context.preferences.view}
    owners |= {f"camera {each.name}": each for each in bpy.data.cameras}
    owners |= {f"dof {each.name}": each.dof for each in bpy.data.cameras}
    owners |= {f"object {each.name}": each for each in bpy.data.objects}
    for where, owner in owners.items():
        for prop in owner.bl_rna.properties:
            if prop.identifier == "users" and bpy.app.version < (4, 5):
                continue  # 4.2's own Scene.copy counts objects of the master collection twice, until the next load
            if prop.type in {"BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"}:
                value = getattr(owner, prop.identifier)
                values[where, prop.identifier] = tuple(np.ravel(value)) if getattr(prop, "is_array", False) else value
    for prop in bpy.data.bl_rna.properties:
        if prop.type == "COLLECTION":
            values["data", prop.identifier] = sorted(
                each.name for each in getattr(bpy.data, prop.identifier) if each.name != "Render Result")
    values["active camera"] = scene.camera.name if scene.camera else None
    return values


def furnish():
    scene = set_engine(7)
    scene.render.resolution_x, scene.render.resolution_percentage = 640, 37
    scene.render.use_border = scene.render.use_motion_blur = True
    scene.render.film_transparent = True
    scene.render.filepath = "//artist/####"
    camera = look_from((0.0, -6.0, 1.0), lens=40.0)
    camera.data.dof.use_dof = True
    scene.camera = camera
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.view_layer.update()
    return camera


def test_every_setting_is_as_before(module, tmp_path):
    camera = furnish()
    before = snapshot()
    run_capture(module, [camera], tmp_path, width_px=32, height_px=24, subject=(bpy.context.object.name,))
    assert snapshot() == before


@pytest.mark.parametrize("renders", [0, 1, 2])
def test_every_setting_is_as_before_after_a_cancel_or_an_error(module, tmp_path, renders):
    capture = module("blender_addon.scene.capture")
    camera = furnish()
    before = snapshot()
    settings = capture.CaptureSettings(32, 24, subject=(bpy.context.object.name,))
    run = capture.SceneCapture(bpy.context.scene, bpy.context.view_layer.name, [camera], settings, tmp_path)
    for _ in range(renders):
        run.begin_next(capture.render_now)
        run.finish_current()

    def fail(_scene):
        raise RuntimeError("no render")

    with pytest.raises(RuntimeError):
        run.begin_next(fail)
    run.close()
    assert snapshot() == before


def test_an_unusable_camera_leaves_nothing_behind(module, tmp_path):
    errors = module("interngs.errors")
    camera = furnish()
    camera.data.type = "ORTHO"
    before = snapshot()
    with pytest.raises(errors.InputError):
        run_capture(module, [camera], tmp_path, width_px=32, height_px=24)
    assert snapshot() == before
