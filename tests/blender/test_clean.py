# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleaning in Blender: live counts, crops by objects, removal with undo, editing by hand."""

import json
import time

import bpy
import numpy as np
import pytest

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]


@pytest.fixture
def new_splat(add_splat):
    """A splat in the scene: a unit sphere, the first 10 faint, the next 10 huge, 10 needles, 10 far away."""
    def make(count=2000, name="fern", degree=1):
        random = np.random.default_rng(0)
        means = random.normal(size=(count, 3))
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        means[30:40] *= random.uniform(20, 40, (10, 1))
        log_scales = np.full((count, 3), -4.0)
        log_scales[10:20] = 2.0
        log_scales[20:30, 0] = 1.0
        logits = np.full(count, 2.0)
        logits[:10] = -6
        return add_splat(name, means, np.tile([1.0, 0, 0, 0], (count, 1)), log_scales, logits,
                         random.normal(size=(count, (degree + 1) ** 2, 3)))
    return make


@pytest.fixture
def marking(module):
    return module("blender_addon.session.marking")


@pytest.fixture
def measured(marking):
    """Turn the pump until the marks of a splat are those of its settings."""
    def wait(splat, timeout_s=20.0):
        until = time.monotonic() + timeout_s
        while True:
            marking.marking().want(splat)
            marking.marking().pump()
            known = marking.marking().known(splat)
            if known is not None and known.asked == known.answered and known.asked is not None:
                return known
            assert time.monotonic() < until
            time.sleep(0.005)
    return wait


def only(settings, *names):
    for name in ("opacity", "size", "needles", "isolated", "support", "hull", "depth"):
        setattr(settings, f"use_{name}", name in names)


def count(splat):
    return len(splat.data.vertices) if splat.type == "MESH" else len(splat.data.points)


def test_counts_follow_the_settings(new_splat, measured):
    splat = new_splat()
    assert measured(splat).marks.counts == {"opacity": 10, "size": 20, "needles": 10, "isolated": 10}
    splat.interngs_clean.max_needle = 1e6
    splat.interngs_clean.min_opacity = 1.0
    known = measured(splat)
    assert known.marks.counts == {"opacity": 2000, "size": 20, "needles": 0, "isolated": 10}
    only(splat.interngs_clean, "opacity")
    assert measured(splat).marks.counts == {"opacity": 2000}


def test_removal_is_exact_undone_and_done_again(new_splat, splats, measured):
    splat = new_splat()
    before = {each.name: splats.read_attribute(splat.data, each.name)
              for each in splat.data.attributes if not each.name.startswith(".")}
    bpy.ops.ed.undo_push(message="made")
    measured(splat)
    assert bpy.ops.interngs.clean("EXEC_DEFAULT", True) == {"FINISHED"}
    splat = bpy.data.objects["fern"]
    assert count(splat) == 1960
    for name, values in before.items():
        np.testing.assert_array_equal(splats.read_attribute(splat.data, name), values[40:])
    bpy.ops.ed.undo()
    assert count(bpy.data.objects["fern"]) == 2000
    bpy.ops.ed.redo()
    assert count(bpy.data.objects["fern"]) == 1960
    bpy.context.view_layer.objects.active = bpy.data.objects["fern"]
    assert bpy.ops.interngs.clean() == {"CANCELLED"}, "running again removes nothing more"


def test_a_script_need_not_wait_for_the_counts(new_splat):
    splat = new_splat()
    only(splat.interngs_clean, "isolated")
    assert bpy.ops.interngs.clean() == {"FINISHED"}
    assert count(splat) == 1990


def test_removal_keeps_the_artists_own_attributes(new_splat):
    splat = new_splat(100)
    splat.data.attributes.new("mine", "INT", "POINT").data.foreach_set("value", np.arange(100, dtype=np.int32))
    only(splat.interngs_clean, "opacity")
    bpy.ops.interngs.clean()
    left = np.empty(90, np.int32)
    splat.data.attributes["mine"].data.foreach_get("value", left)
    np.testing.assert_array_equal(left, np.arange(10, 100))


def test_removal_leaves_a_linked_copy_alone(new_splat):
    splat = new_splat(100)
    other = bpy.data.objects.new("other", splat.data)
    bpy.context.scene.collection.objects.link(other)
    only(splat.interngs_clean, "opacity")
    bpy.ops.interngs.clean()
    assert (count(splat), count(other)) == (90, 100)


@pytest.mark.parametrize("shape", ["box", "sphere"])
def test_a_new_crop_holds_nearly_all_and_follows_its_empty(new_splat, measured, shape):
    splat = new_splat()
    splat.location, splat.scale = (5, 6, 7), (2, 2, 2)
    only(splat.interngs_clean)
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.interngs.add_crop("EXEC_DEFAULT", True, shape=shape) == {"FINISHED"}
    bpy.ops.ed.undo()
    assert getattr(bpy.data.objects["fern"].interngs_clean, shape) is None
    bpy.ops.ed.redo()
    splat = bpy.data.objects["fern"]
    crop = getattr(splat.interngs_clean, shape)
    assert crop.parent == splat and crop.empty_display_type == ("CUBE" if shape == "box" else "SPHERE")
    bpy.context.view_layer.update()
    assert 0 < measured(splat).marks.counts[shape] < 150
    crop.matrix_world = [[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]
    crop.scale = [each / 2 for each in (0.5, 0.5, 0.5)]
    bpy.context.view_layer.update()
    inside = count(splat) - measured(splat).marks.counts[shape]
    setattr(splat.interngs_clean, f"{shape}_keep", "OUTSIDE")
    assert measured(splat).marks.counts[shape] == inside


def test_a_mesh_crops_by_its_bounds(new_splat, measured):
    splat = new_splat()
    only(splat.interngs_clean)
    mesh = bpy.data.meshes.new("wedge")
    mesh.from_pydata([(0, -9, -9), (9, 9, -9), (0, 9, 9)], [], [])
    wedge = bpy.data.objects.new("wedge", mesh)
    bpy.context.scene.collection.objects.link(wedge)
    splat.interngs_clean.box = wedge
    bpy.context.view_layer.update()
    known = measured(splat)
    inside = ((known.positions >= (0, -9, -9)) & (known.positions <= 9)).all(axis=1)
    np.testing.assert_array_equal(known.marks.kept, inside)
    bpy.data.objects.remove(wedge)
    bpy.context.view_layer.update()
    assert measured(splat).marks.counts == {}


def report(count=3):
    frames = []
    for angle in np.arange(count) * 2 * np.pi / count:
        c, s = np.cos(angle), np.sin(angle)
        pose = np.eye(4)
        pose[:3, :3], pose[2, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], 4.0
        frames.append({"name": f"view {len(frames)}", "width_px": 100, "height_px": 100,
                       "K": [[100, 0, 50], [0, 100, 50], [0, 0, 1]], "camera_from_world": pose.tolist()})
    return json.dumps({"cameras": {"origin": "given", "frames": frames}})


def test_support_and_hull_by_the_results_cameras(new_splat, measured):
    splat = new_splat()
    only(splat.interngs_clean, "support", "hull")
    assert "cameras" in measured(splat).error
    splat.interngs_splat.report_json = report()
    splat.interngs_clean.min_views = 1
    counts = measured(splat).marks.counts
    assert 1 <= counts["support"] <= 10 and counts["hull"] == 10
    splat.location = (100, 0, 0)        # the splat moved as an object: its cameras belong to its own space
    bpy.context.view_layer.update()
    assert measured(splat).marks.counts == counts


def test_captured_depth_removes_what_floats_before_it(new_splat, measured, tmp_path):
    splat = new_splat()
    only(splat.interngs_clean, "depth")
    splat.interngs_splat.report_json = report(1)
    np.save(tmp_path / "view.npy", np.full((50, 50), 4.0, np.float32))
    row = bpy.context.scene.interngs.photos.add()
    row.name, row.use, row.path, row.depth_path = "view 0", True, "x.png", str(tmp_path / "view.npy")
    known = measured(splat)
    z = known.positions[:, 2] + 4
    in_frame = (np.abs(known.positions[:, :2]).max(axis=1) * 100 < 50 * z) & (z > 0)
    np.testing.assert_array_equal(~known.marks.kept, in_frame & (z < 4 * 0.98))


def test_nothing_is_measured_unasked(new_splat, marking):
    splat = new_splat()
    for _ in range(3):
        marking.marking().pump()
    assert marking.marking().known(splat) is None and not marking.marking().is_busy


def test_the_settings_are_saved_with_the_splat(new_splat, tmp_path):
    splat = new_splat()
    bpy.ops.interngs.add_crop(shape="sphere")
    splat.interngs_clean.min_opacity = 0.25
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    settings = bpy.data.objects["fern"].interngs_clean
    assert settings.min_opacity == 0.25 and settings.sphere.name == "fern sphere"


def _delete_selected_by_hand():
    edited = bpy.context.active_object
    if edited.type == "MESH":
        bpy.ops.mesh.delete(type="VERT")
    else:
        bpy.ops.pointcloud.delete()


def test_points_deleted_by_hand(new_splat, splats, measured):
    splat = new_splat()
    before = splats.read(splat)
    only(splat.interngs_clean, "opacity")
    measured(splat)
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.interngs.edit_points(select="MARKED") == {"FINISHED"}
    assert bpy.context.mode in ("EDIT_MESH", "EDIT_POINTCLOUD", "EDIT_POINT_CLOUD")
    _delete_selected_by_hand()
    bpy.ops.object.mode_set(mode="OBJECT")
    after = splats.read(bpy.data.objects["fern"])
    for name in ("means", "quats", "log_scales", "sh"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[10:])
    bpy.ops.ed.undo_push(message="edited")
    bpy.ops.ed.undo()
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    assert len(splats.read(bpy.data.objects["fern"])) == len(before)
    bpy.ops.ed.redo()
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    assert len(splats.read(bpy.data.objects["fern"])) == len(before) - 10


def test_edited_points_are_shown_meanwhile(module, new_splat):
    follow = module("blender_addon.scene.point_edit").follow_edit_mode
    splat = new_splat(50)
    usual = splat.display_type
    bpy.ops.interngs.edit_points()
    follow()
    assert splat.display_type == "TEXTURED"
    assert not any(modifier.show_in_editmode for modifier in splat.modifiers)
    bpy.ops.object.mode_set(mode="OBJECT")
    follow()
    assert splat.display_type == usual == "BOUNDS"


def test_the_operators_wait_for_a_splat(addon):
    bpy.ops.mesh.primitive_cube_add()
    for name in ("add_crop", "clean", "edit_points"):
        assert not getattr(bpy.ops.interngs, name).poll()


def test_half_a_million_hold_the_interface_for_a_blink(new_splat, measured, marking):
    splat = new_splat(500_000, degree=3)
    start = time.process_time()
    marking.marking().want(splat)
    marking.marking().pump()
    assert time.process_time() - start < 1.0, "only reading happens on the main thread"
    measured(splat, 60)
    start = time.process_time()
    bpy.ops.interngs.clean()
    assert time.process_time() - start < 1.5
    assert count(splat) == 499_960
