# SPDX-License-Identifier: GPL-3.0-or-later
"""Final renders: frames from the backend, merged by depth in the compositor, and splats in Cycles through nodes."""

import subprocess
import time

import bpy
import numpy as np
import pytest
from mathutils import Matrix

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]
WIDTH, HEIGHT = 96, 72

REFERENCE = """
import sys, numpy as np, torch
from interngs.render.final import FrameRenderer
from interngs.scene.cameras import Camera
from interngs.scene.gaussians import Gaussians
data = np.load(sys.argv[1])
gaussians = Gaussians(*(data[name] for name in ("means", "quats", "log_scales", "opacity_logits", "sh")))
renderer, made = FrameRenderer([gaussians], torch.device("cpu")), {}
for number, (K, pose, matrix) in enumerate(zip(data["K"], data["pose"], data["matrix"])):
    frame = renderer.render(Camera(K, pose, *(int(each) for each in data["size"])), [(0, matrix)])
    made[f"rgba{number}"], made[f"depth{number}"] = frame.rgba, frame.depth
np.savez(sys.argv[2], **made)
"""


@pytest.fixture
def state(module):
    return module("blender_addon.session.state").session_state


@pytest.fixture
def pump(module, state):
    session = module("blender_addon.session.session").session()

    def until(condition, timeout_s=400.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            session.pump()
            time.sleep(0.01)
            assert time.monotonic() < deadline, (state().link, state().error, state().jobs, state().waiting)
    return until


@pytest.fixture
def connected(module, new_server, pump, state):
    preferences = module("blender_addon.preferences").preferences()
    preferences.servers.clear()
    preferences.servers.add().address = new_server().address
    bpy.ops.interngs.connect()
    pump(lambda: state().link.phase == "connected")


def ball(module, count=1500, degree=2, seed=1, colour=None):
    random = np.random.default_rng(seed)
    quats = random.normal(size=(count, 4)).astype(np.float32)
    sh = random.normal(scale=0.3, size=(count, (degree + 1) ** 2, 3)).astype(np.float32)
    if colour is not None:
        sh[:] = 0
        sh[:, 0] = (np.float32(colour) - 0.5) / 0.28209479
    return module("interngs.scene.gaussians").Gaussians(
        random.normal(scale=0.5, size=(count, 3)).astype(np.float32),
        quats / np.linalg.norm(quats, axis=1, keepdims=True),
        random.uniform(-3.5, -2, (count, 3)).astype(np.float32), random.normal(size=count).astype(np.float32), sh)


@pytest.fixture
def scene(module, tmp_path):
    """A saved scene with a moving camera and a moving, turned and scaled splat."""
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 2 * WIDTH, 2 * HEIGHT, 50
    scene.frame_start, scene.frame_end, scene.frame_step = 3, 7, 2
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.data.shift_y, scene.camera = 0.1, camera
    camera.rotation_euler = (np.radians(90), 0, 0)
    for frame, x in ((3, 0.0), (7, 0.6)):
        camera.location = (x, -4, 0)
        camera.keyframe_insert("location", frame=frame)
    return scene


def add_splat(module, gaussians, animated=True):
    arrays = module("blender_addon.scene.splat_arrays").splat_arrays(gaussians, viewing=True)
    made = module("blender_addon.scene.splat_object").create("splat", arrays, bpy.context.scene.collection)
    if animated:
        for frame, turn in ((3, 0.0), (7, 1.0)):
            made.rotation_euler, made.scale = (0.2, turn, 0.4), (1.2, 1.2, 1.2)
            made.keyframe_insert("rotation_euler", frame=frame)
    return made


def read_frame(module, path):
    read = module("blender_addon.scene.exr").read_channel
    return (np.stack([read(path, f"Combined.{each}") for each in "RGBA"], axis=-1), read(path, "Depth.Z"))


@pytest.fixture
def reference(backend_python, repository, tmp_path):
    def render(gaussians, cameras, matrices):
        given, made = tmp_path / "given.npz", tmp_path / "made.npz"
        np.savez(given, means=gaussians.means, quats=gaussians.quats, log_scales=gaussians.log_scales,
                 opacity_logits=gaussians.opacity_logits, sh=gaussians.sh, K=[each.K for each in cameras],
                 pose=[each.camera_from_world for each in cameras], matrix=matrices,
                 size=[cameras[0].width_px, cameras[0].height_px])
        subprocess.run([str(backend_python), "-c", REFERENCE, str(given), str(made)], cwd=repository, check=True,
                       timeout=300)
        with np.load(made) as data:
            return [(data[f"rgba{number}"], data[f"depth{number}"]) for number in range(len(cameras))]
    return render


def test_an_animation_is_the_librarys_own_pictures(module, connected, pump, state, scene, reference, tmp_path):
    """Camera and object move; one job a part; the frames equal ``interngs.render`` to the last bit of a half float."""
    splat = add_splat(module, ball(module))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    scene, splat = bpy.context.scene, bpy.data.objects["splat"]
    final = module("blender_addon.scene.final_frames")
    scene.interngs_render.frames = "ANIMATION"
    scene.frame_set(4)
    plan = final.plan_render(scene, bpy.context.view_layer, True)
    assert plan.frames == (3, 5, 7) and scene.frame_current == 4
    bpy.ops.interngs.render_splats()
    pump(lambda: scene.interngs_render.first_file != "")
    assert state().error is None and (scene.interngs_render.first_frame, scene.interngs_render.last_frame) == (3, 7)
    cameras, matrices = [], []
    for number in plan.frames:
        scene.frame_set(number)
        matrices.append(np.array(splat.matrix_world))
        cameras.append(module("blender_addon.scene.cameras").camera_of_object(scene.camera, WIDTH, HEIGHT, (1, 1)))
    assert not np.allclose(matrices[0], matrices[-1])
    gaussians = module("blender_addon.scene.splat_object").read(splat)
    folder = tmp_path / "shot_splats"
    assert sorted(path.name for path in folder.iterdir()) == [f"splats_000{number}.exr" for number in plan.frames]
    for number, (rgba, depth) in zip(plan.frames, reference(gaussians, cameras, matrices), strict=True):
        found_rgba, found_depth = read_frame(module, folder / f"splats_000{number}.exr")
        assert rgba[..., 3].max() > 0.5
        assert np.array_equal(found_rgba, rgba.astype(np.float16).astype(np.float32))
        assert np.array_equal(found_depth, depth)
    pump(lambda: not state().jobs)  # the backend keeps nothing of it


def test_what_cannot_be_rendered_is_said(module, connected, state, scene, tmp_path):
    with pytest.raises(RuntimeError):
        bpy.ops.interngs.render_splats()  # no splat
    splat = add_splat(module, ball(module, 50), animated=False)
    with pytest.raises(RuntimeError, match="folder"):
        bpy.ops.interngs.render_splats()
    scene.interngs_render.folder = str(tmp_path / "frames")
    splat.hide_set(True)
    with pytest.raises(RuntimeError, match="No splat is seen"):
        bpy.ops.interngs.render_splats()
    splat.hide_set(False)
    scene.camera.data.type = "ORTHO"
    with pytest.raises(RuntimeError, match="orthographic"):
        bpy.ops.interngs.render_splats()
    splat.interngs_render.rendered_by = "BLENDER"
    with pytest.raises(RuntimeError):
        bpy.ops.interngs.render_splats()


def test_a_cancelled_render_leaves_nothing_behind(module, connected, pump, state, scene, tmp_path):
    add_splat(module, ball(module, 300))
    scene.interngs_render.folder, scene.interngs_render.frames = str(tmp_path / "frames"), "ANIMATION"
    scene.frame_end, scene.frame_step = 300, 1
    bpy.ops.interngs.render_splats()
    pump(lambda: bool(state().jobs))
    bpy.ops.interngs.cancel_render()
    pump(lambda: not state().jobs and not state().waiting)
    assert not bpy.ops.interngs.cancel_render.poll() and bpy.ops.interngs.render_splats.poll()


def test_frames_of_an_earlier_session_are_fetched_by_the_eye(module, connected, pump, state, scene, tmp_path):
    add_splat(module, ball(module, 200), animated=False)
    scene.interngs_render.folder = str(tmp_path / "frames")
    scene.frame_set(12)
    bpy.ops.interngs.render_splats()
    pump(lambda: bool(state().jobs))
    module("blender_addon.session.session").session().renders.current = None  # as after Blender was closed
    pump(lambda: state().jobs[0].state == "done")
    assert not (tmp_path / "frames").exists()
    bpy.ops.interngs.watch_job(job_id=state().jobs[0].job_id)
    pump(lambda: scene.interngs_render.first_file != "")
    assert (tmp_path / "frames" / "splats_0012.exr").exists() and scene.interngs_render.first_frame == 12
    assert scene.interngs.job.job_id == "" and state().error is None


def blender_pixels(scene, path):
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "32"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path), check_existing=False)
    pixels = np.array(image.pixels[:], np.float32).reshape(HEIGHT, WIDTH, 4)[::-1]
    bpy.data.images.remove(image)
    return pixels


def cycles(scene, samples=16):
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.device = samples, False, "CPU"
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"


def test_merged_by_depth_with_blenders_render(module, connected, pump, scene, tmp_path):
    """A red cube half before, half behind a green splat; then the set-up made again changes nothing."""
    add_splat(module, ball(module, 4000, 0, colour=(0.1, 0.9, 0.1)), animated=False)
    scene.interngs_render.folder = str(tmp_path / "frames")
    scene.frame_set(3)
    scene.camera.data.shift_y = 0.0
    bpy.ops.interngs.render_splats()
    pump(lambda: scene.interngs_render.first_file != "")
    bpy.ops.mesh.primitive_cube_add(size=0.8)
    cube = bpy.context.object
    red = bpy.data.materials.new("red")
    module("blender_addon.compat").enable_nodes(red)
    red.node_tree.nodes.clear()
    emission, output = red.node_tree.nodes.new("ShaderNodeEmission"), red.node_tree.nodes.new(
        "ShaderNodeOutputMaterial")
    emission.inputs["Color"].default_value = (1, 0, 0, 1)
    red.node_tree.links.new(emission.outputs[0], output.inputs[0])
    cube.data.materials.append(red)
    cycles(scene, 4)
    alone = blender_pixels(scene, tmp_path / "alone.exr")
    assert not bpy.data.objects["splat"].hide_viewport and alone[..., 1].max() < 0.01  # F12 shows no wrong points
    for name, y, is_red in (("before", -2.2, True), ("behind", 2.2, False)):
        cube.location = (0, y, 0)
        for _ in range(2):
            bpy.ops.interngs.merge_render()
        pixels = blender_pixels(scene, tmp_path / f"{name}.exr")
        middle = pixels[HEIGHT // 2, WIDTH // 2]
        assert middle[3] > 0.9 and (middle[0] > 0.7) == is_red and (middle[1] > 0.3) != is_red, (name, middle)
    tree = (scene.compositing_node_group if hasattr(scene, "compositing_node_group") else scene.node_tree)
    assert sum(each.bl_idname == "CompositorNodeZcombine" for each in tree.nodes) == 1


def psnr(one, two):
    return -10 * np.log10(np.mean((one - two) ** 2))


def srgb(linear):
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def test_cycles_draws_gaussians_through_nodes(module, scene, reference, tmp_path):
    """Compared with the library's picture, without view dependence: the blending differs (linear light, not sRGB)."""
    gaussians = ball(module, 800, 0)
    splat = add_splat(module, gaussians, animated=False)
    splat.matrix_world = Matrix.Rotation(0.5, 4, (1, 1, 0)) @ Matrix.Scale(1.1, 4)
    scene.frame_set(3)
    splat.interngs_render.rendered_by = "BLENDER"
    assert not splat.hide_render and scene.cycles.transparent_max_bounces >= 128
    cycles(scene, 16)
    pixels = blender_pixels(scene, tmp_path / "cycles.exr")
    camera = module("blender_addon.scene.cameras").camera_of_object(scene.camera, WIDTH, HEIGHT, (1, 1))
    ((rgba, _),) = reference(gaussians, [camera], [np.array(splat.matrix_world)])
    seen, wanted = srgb(pixels[..., :3]), srgb(rgba[..., :3])
    figures = {"colour": psnr(seen, wanted), "alpha": psnr(pixels[..., 3], rgba[..., 3])}
    assert rgba[..., 3].mean() > 0.15
    # With few samples the noise of the transparency counts too.
    assert figures["colour"] > 29.0 and figures["alpha"] > 22.0, figures
    splat.interngs_render.rendered_by = "SPLATS"
    assert splat.hide_render and "Intern-GS Ellipsoids" not in splat.modifiers
