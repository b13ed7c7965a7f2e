# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians in a Blender object: values, updates in place, no data-blocks left, saved and opened again."""

import json

import bpy
import numpy as np
import pytest

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]


@pytest.fixture
def make(module):
    record = module("interngs.scene.gaussians").Gaussians

    def gaussians(count, degree=1, seed=0):
        random = np.random.default_rng(seed)
        quats = random.normal(size=(count, 4)).astype(np.float32)
        return record(random.normal(size=(count, 3)).astype(np.float32),
                      quats / np.linalg.norm(quats, axis=1, keepdims=True),
                      random.uniform(-5, -2, (count, 3)).astype(np.float32),
                      random.normal(size=count).astype(np.float32),
                      random.normal(size=(count, (degree + 1) ** 2, 3)).astype(np.float32))
    return gaussians


@pytest.fixture
def splat(module):
    return module("blender_addon.scene.splat_object")


@pytest.fixture
def arrays_of(module, splat):
    arrays = module("blender_addon.scene.splat_arrays")
    return lambda gaussians: arrays.splat_arrays(gaussians, splat.wants_viewing_attributes())


def blocks():
    return {name: sorted(each.name for each in getattr(bpy.data, name))
            for name in ("objects", "meshes", "pointclouds", "materials", "node_groups")}


def same(one, two):
    return (np.array_equal(one.means, two.means) and np.array_equal(one.quats, two.quats)
            and np.allclose(one.log_scales, two.log_scales, atol=1e-5) and np.array_equal(one.sh, two.sh)
            and np.allclose(one.opacity_logits, two.opacity_logits, atol=1e-4))


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_what_is_written_is_read_back(splat, make, arrays_of, degree):
    gaussians = make(1000, degree)
    made = splat.create("fern", arrays_of(gaussians), bpy.context.scene.collection)
    assert splat.is_splat(made)
    assert same(splat.read(made), gaussians)


def test_the_object_is_the_best_kind_of_this_blender(splat, make, arrays_of):
    made = splat.create("fern", arrays_of(make(10)), bpy.context.scene.collection)
    assert made.type == ("POINTCLOUD" if bpy.app.version >= (4, 5) else "MESH")
    names = set(made.data.attributes.keys())
    assert {"position", "scale", "rotation", "radiance:base", "radiance:sh_0", "radiance:sh_2"} <= names
    assert {"radius", "opacity", "colour"} <= names or hasattr(made.data, "type")


def test_updates_keep_the_object_and_leave_nothing_behind(splat, make, arrays_of):
    made = splat.create("fern", arrays_of(make(500)), bpy.context.scene.collection)
    parent = bpy.data.objects.new("parent", None)
    bpy.context.scene.collection.objects.link(parent)
    made.parent, made.location = parent, (1, 2, 3)
    before, pointer = blocks(), made.as_pointer()
    for count, degree, seed in [(500, 1, 1), (800, 1, 2), (100, 0, 3), (100, 3, 4), (900, 2, 5)]:
        gaussians = make(count, degree, seed)
        splat.update(made, arrays_of(gaussians))
        bpy.context.view_layer.update()
        assert same(splat.read(made), gaussians)
    assert blocks() == before
    assert made.as_pointer() == pointer and made.parent == parent and tuple(made.location) == (1, 2, 3)


def test_creating_does_not_touch_selection(splat, make, arrays_of):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    splat.create("fern", arrays_of(make(50)), bpy.context.scene.collection)
    assert bpy.context.object == cube and cube.select_get()


def test_none_and_not_finite_gaussians(splat, make, arrays_of):
    gaussians = make(100)
    gaussians.means[3] = np.nan
    gaussians.sh[7, 0, 0] = np.inf
    arrays = arrays_of(gaussians)
    assert (arrays.count, arrays.dropped) == (98, 2)
    made = splat.create("fern", arrays, bpy.context.scene.collection)
    empty = arrays_of(gaussians.select(np.zeros(100, bool)))
    splat.update(made, empty)
    assert len(splat.read(made)) == 0
    splat.update(made, arrays)
    assert len(splat.read(made)) == 98


def test_saved_and_opened_again_without_the_backend(splat, make, arrays_of, tmp_path):
    gaussians = make(2000, 3)
    made = splat.create("fern", arrays_of(gaussians), bpy.context.scene.collection)
    made.interngs_splat.job_id = "a" * 32
    made.interngs_splat.report_json = json.dumps({"psnr": 22.5})
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "fern.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert splat.find("a" * 32) is None
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "fern.blend"))
    found = splat.find("a" * 32)
    assert found is not None and found.name == "fern"
    assert same(splat.read(found), gaussians)
    assert json.loads(found.interngs_splat.report_json) == {"psnr": 22.5}


def test_undo_and_redo_keep_a_whole_object(splat, make, arrays_of):
    bpy.ops.ed.undo_push(message="before")
    splat.create("fern", arrays_of(make(100)), bpy.context.scene.collection)
    bpy.ops.ed.undo_push(message="made")
    splat.update(bpy.data.objects["fern"], arrays_of(make(200)))
    bpy.ops.ed.undo_push(message="updated")
    bpy.ops.ed.undo()
    assert len(splat.read(bpy.data.objects["fern"])) == 100
    bpy.ops.ed.undo()
    assert "fern" not in bpy.data.objects
    bpy.ops.ed.redo()
    assert len(splat.read(bpy.data.objects["fern"])) == 100


def test_the_viewing_points_render_in_their_colours(module, splat, arrays_of, tmp_path):
    record = module("interngs.scene.gaussians").Gaussians
    colour = (np.array([[[0.9, 0.4, 0.1]]]) - 0.5) / 0.28209479177387814
    one = record(np.zeros((1, 3), np.float32), np.array([[1, 0, 0, 0]], np.float32),
                 np.full((1, 3), np.log(0.5), np.float32), np.full(1, 9.0, np.float32), colour.astype(np.float32))
    if not splat.wants_viewing_attributes():
        pytest.skip("only on Linux versions without native splats")
    splat.create("one", arrays_of(one), bpy.context.scene.collection).hide_render = False
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location = (0, 0, 5)
    scene.collection.objects.link(camera)
    scene.camera, scene.render.engine = camera, "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 4, False
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x = scene.render.resolution_y = 32
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(tmp_path / "one.png")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    image.colorspace_settings.name = "Non-Color"
    pixels = np.array(image.pixels[:]).reshape(32, 32, 4)
    assert np.allclose(pixels[16, 16, :3], (0.9, 0.4, 0.1), atol=0.01)
