# SPDX-License-Identifier: GPL-3.0-or-later
"""Placing in Blender: transforms applied whole, floors, known distances, origins; undone and redone."""

import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]


@pytest.fixture
def make(add_splat):
    """A tilted slab of Gaussians with a box standing on it, as an active object."""
    def new(count=3000, name="fern", degree=2, tilt=0.4):
        random = np.random.default_rng(0)
        means = random.uniform(-1, 1, (count, 3)) * (2, 2, 0.005)
        means[: count // 5] = np.add(random.uniform(-0.2, 0.2, (count // 5, 3)), (0, 0, 0.6))
        quats = random.normal(size=(count, 4))
        turned = np.array(Matrix.Rotation(tilt, 3, "X"))
        return add_splat(name, means @ turned.T + (0.3, 0.2, 5), quats / np.linalg.norm(quats, axis=1, keepdims=True),
                         random.normal(-4, 0.3, (count, 3)), np.full(count, 2.0),
                         random.normal(0, 0.3, (count, (degree + 1) ** 2, 3)))
    return new


def covariances(module, gaussians):
    axes = module("interngs.scene.quaternions").matrices_from_quaternions(gaussians.quats)
    axes = axes * gaussians.scales.astype(np.float64)[:, None, :]
    return axes @ axes.transpose(0, 2, 1)


def same_splat(module, one, two, sh=True):
    np.testing.assert_allclose(one.means, two.means, atol=2e-5)
    np.testing.assert_allclose(covariances(module, one), covariances(module, two), rtol=1e-3, atol=1e-7)
    if sh:
        np.testing.assert_allclose(one.sh, two.sh, atol=2e-5)


@pytest.mark.parametrize("scale", [(2, 2, 2), (-1.5, 1.5, 1.5), (1, 2, 0.5)], ids=["uniform", "mirrored", "stretched"])
def test_apply_changes_nothing_that_is_seen(in_world, module, make, scale):
    splat = make()
    child = bpy.data.objects.new("child", None)
    bpy.context.scene.collection.objects.link(child)
    child.parent, child.location = splat, (1, 1, 1)
    splat.location, splat.rotation_euler, splat.scale = (1, -2, 3), Euler((0.5, 1.2, -0.7)), scale
    before = in_world(splat)
    child_before = np.array(child.matrix_world)
    bpy.ops.ed.undo_push(message="placed")
    assert bpy.ops.interngs.apply_transform("EXEC_DEFAULT", True) == {"FINISHED"}
    splat = bpy.data.objects["fern"]
    assert splat.matrix_basis == Matrix()
    same_splat(module, in_world(splat), before, sh=scale != (1, 2, 0.5))
    np.testing.assert_allclose(np.array(bpy.data.objects["child"].matrix_world), child_before, atol=1e-5)
    bpy.ops.ed.undo()
    splat = bpy.data.objects["fern"]
    np.testing.assert_allclose(splat.scale, scale)
    same_splat(module, in_world(splat), before)
    bpy.ops.ed.redo()
    assert bpy.data.objects["fern"].matrix_basis == Matrix()
    same_splat(module, in_world(bpy.data.objects["fern"]), before, sh=scale != (1, 2, 0.5))


def test_apply_takes_every_selected_splat_and_no_linked_copy(splats, make):
    one, two = make(50, "one"), make(60, "two")
    copy = bpy.data.objects.new("copy", two.data)
    bpy.context.scene.collection.objects.link(copy)
    one.select_set(True)
    one.location, two.location = (1, 0, 0), (0, 2, 0)
    bpy.context.view_layer.update()
    before = splats.read(copy)
    bpy.ops.interngs.apply_transform()
    assert one.matrix_basis == Matrix() and two.matrix_basis == Matrix()
    np.testing.assert_array_equal(splats.read(copy).means, before.means)
    np.testing.assert_allclose(splats.read(two).means, before.means + np.float32([0, 2, 0]), atol=1e-6)
    assert bpy.ops.interngs.apply_transform() == {"CANCELLED"}, "nothing is left to apply"


def test_flat_scales_are_refused_and_nothing_changes(splats, make):
    splat = make(50)
    before = splats.read(splat)
    splat.scale = (1, 0, 1)
    bpy.context.view_layer.update()
    with pytest.raises(RuntimeError, match="scale of zero"):
        bpy.ops.interngs.apply_transform()
    np.testing.assert_array_equal(splats.read(splat).means, before.means)
    assert tuple(splat.scale) == (1, 0, 1)


def floor_heights(in_world, splat):
    means = in_world(splat).means
    return means[len(means) // 5:, 2], means[: len(means) // 5, 2]


def test_the_main_plane_becomes_the_floor(in_world, make):
    make()
    bpy.ops.ed.undo_push(message="made")
    assert bpy.ops.interngs.fit_floor("EXEC_DEFAULT", True) == {"FINISHED"}
    slab, box = floor_heights(in_world, bpy.data.objects["fern"])
    assert np.abs(slab).max() < 0.02 and box.min() > 0.3
    bpy.ops.ed.undo()
    assert bpy.data.objects["fern"].matrix_basis == Matrix()
    bpy.ops.ed.redo()
    assert np.abs(floor_heights(in_world, bpy.data.objects["fern"])[0]).max() < 0.02


def test_three_picks_lay_the_floor_and_the_cameras_come_along(in_world, make):
    splat = make()
    parent = bpy.data.objects.new("parent", None)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    for each in (parent, camera):
        bpy.context.scene.collection.objects.link(each)
    splat.parent = camera.parent = parent
    camera.location = (0, -3, 8)
    bpy.context.view_layer.update()
    between = np.array(splat.matrix_world.inverted() @ camera.matrix_world)
    turned = np.array(Matrix.Rotation(0.4, 3, "X"))
    bpy.ops.ed.undo_push(message="made")
    picks = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]]) @ turned.T + (0.3, 0.2, 5)
    assert bpy.ops.interngs.pick_floor("EXEC_DEFAULT", True, points=list(picks.ravel())) == {"FINISHED"}
    slab, box = floor_heights(in_world, bpy.data.objects["fern"])
    assert np.abs(slab).max() < 0.02 and box.min() > 0.3
    splat, camera = bpy.data.objects["fern"], bpy.data.objects["camera"]
    np.testing.assert_allclose(np.array(splat.matrix_world.inverted() @ camera.matrix_world), between, atol=1e-5)
    bpy.ops.ed.undo()
    assert bpy.data.objects["parent"].matrix_world == Matrix()
    bpy.ops.ed.redo()
    assert np.abs(floor_heights(in_world, bpy.data.objects["fern"])[0]).max() < 0.02
    bpy.context.view_layer.objects.active = bpy.data.objects["fern"]
    with pytest.raises(RuntimeError, match="one line"):
        bpy.ops.interngs.pick_floor(points=[0, 0, 0, 1, 0, 0, 2, 0, 0])


def test_a_known_distance(make):
    splat = make()
    splat.location = (1, 2, 3)
    bpy.context.view_layer.update()
    bpy.ops.ed.undo_push(message="made")
    bpy.ops.interngs.scale_by_distance("EXEC_DEFAULT", True, first=(0, 0, 0), second=(0, 0, 2), distance=5)
    splat = bpy.data.objects["fern"]
    np.testing.assert_allclose(splat.scale, (2.5, 2.5, 2.5), rtol=1e-6)
    np.testing.assert_allclose(splat.location, (1, 2, 3), atol=1e-6)
    bpy.ops.ed.undo()
    np.testing.assert_allclose(bpy.data.objects["fern"].scale, (1, 1, 1))
    bpy.ops.ed.redo()
    np.testing.assert_allclose(bpy.data.objects["fern"].scale, (2.5, 2.5, 2.5), rtol=1e-6)
    with pytest.raises(RuntimeError, match="two different points"):
        bpy.ops.interngs.scale_by_distance(first=(1, 1, 1), second=(1, 1, 1), distance=5)


def test_the_origin_goes_to_the_base_and_nothing_moves(in_world, module, make):
    splat = make(tilt=0.0)
    splat.location, splat.rotation_euler, splat.scale = (1, -2, 3), Euler((0, 0, 0.7)), (2, 2, 2)
    before = in_world(splat)
    bpy.ops.ed.undo_push(message="made")
    assert bpy.ops.interngs.origin_to_base("EXEC_DEFAULT", True) == {"FINISHED"}
    splat = bpy.data.objects["fern"]
    same_splat(module, in_world(splat), before)
    low = np.quantile(before.means[:, 2], 0.01)
    middle = np.mean(np.quantile(before.means[:, :2], [0.02, 0.98], axis=0), axis=0)
    np.testing.assert_allclose(splat.matrix_world.translation, (*middle, low), atol=1e-3)
    bpy.ops.ed.undo()
    np.testing.assert_allclose(bpy.data.objects["fern"].location, (1, -2, 3))
    bpy.ops.ed.redo()
    same_splat(module, in_world(bpy.data.objects["fern"]), before)


def test_what_was_trained_is_found_again_after_applying(module, splats, make):
    views = module("blender_addon.scene.training_views")
    splat = make(50)
    splat.interngs_splat.report_json = ('{"cameras": {"origin": "given", "frames": [{"name": "a", "width_px": 9, '
                                        '"height_px": 9, "K": [[9,0,4],[0,9,4],[0,0,1]], "camera_from_world": '
                                        '[[1,0,0,0],[0,1,0,0],[0,0,1,4],[0,0,0,1]]}]}}')
    trained = splats.read(splat).means.astype(np.float64)
    splat.location, splat.rotation_euler, splat.scale = (1, -2, 3), Euler((0.1, 0.2, 0.7)), (2, 2, 2)
    bpy.context.view_layer.update()
    bpy.ops.interngs.apply_transform()
    bpy.ops.interngs.origin_to_base()
    matrix = views.training_views(bpy.context.scene, splat).cameras_from_splat
    np.testing.assert_allclose(splats.read(splat).means @ matrix[:3, :3].T + matrix[:3, 3], trained, atol=1e-4)


def test_a_click_finds_the_surface(module, make):
    splat = make(tilt=0.0)
    splat.location = (10, 0, 0)
    bpy.context.view_layer.update()
    picker = module("blender_addon.scene.placing").Picker(splat)
    assert picker.pick(np.array([0, 0, 9.0]), np.array([0, 0, -1.0])) is None
    found = picker.pick(np.array([10.3, 0.2, 9.0]), np.array([0, 0, -1.0]))
    assert found is not None and found[2] == pytest.approx(5.7, abs=0.15)
