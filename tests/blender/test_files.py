# SPDX-License-Identifier: GPL-3.0-or-later
"""Splat files in Blender: every format there and back, animations, collections, drops, assets with their pictures."""

import os
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Euler

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]
SHARED = Path(os.environ.get("INTERNGS_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))


@pytest.fixture
def make(add_splat):
    def new(count=200, name="fern", degree=2):
        random = np.random.default_rng(len(name))
        quats = random.normal(size=(count, 4))
        return add_splat(name, random.normal(size=(count, 3)), quats / np.linalg.norm(quats, axis=1, keepdims=True),
                         random.normal(-4, 0.3, (count, 3)), random.normal(size=count),
                         random.uniform(-0.5, 0.5, (count, (degree + 1) ** 2, 3)))
    return new


EXACT = [".ply", ".glb", ".usda"]


@pytest.mark.parametrize("ending", [*EXACT, ".compressed.ply", ".splat", ".spz"])
def test_there_and_back_as_it_stands_in_the_scene(splats, in_world, make, tmp_path, ending):
    splat = make()
    splat.location, splat.rotation_euler, splat.scale = (1, 2, 3), Euler((0.4, -1, 2)), (2, 2, 2)
    before = in_world(splat)
    path = tmp_path / f"out{ending}"
    assert bpy.ops.interngs.export_splats(filepath=str(path)) == {"FINISHED"}
    assert path.is_file()
    bpy.ops.ed.undo_push(message="exported")
    assert bpy.ops.interngs.import_splats("EXEC_DEFAULT", True, filepath=str(path)) == {"FINISHED"}
    found = bpy.data.objects["out"]
    assert bpy.context.active_object == found and [each.name for each in bpy.context.selected_objects] == ["out"]
    after = splats.read(found)
    assert len(after) == len(before)
    for axis in range(3):
        np.testing.assert_allclose(np.sort(after.means[:, axis]), np.sort(before.means[:, axis]), atol=0.02)
    if ending in EXACT:
        np.testing.assert_allclose(after.means, before.means, atol=1e-5)
        np.testing.assert_allclose(after.sh, before.sh, atol=1e-5)
        np.testing.assert_allclose(after.log_scales, before.log_scales, atol=1e-4)
    assert after.sh_degree == (0 if ending == ".splat" else 2)
    bpy.ops.ed.undo()
    assert "out" not in bpy.data.objects
    bpy.ops.ed.redo()
    assert len(splats.read(bpy.data.objects["out"])) == len(before)


def test_up_stays_up_in_the_formats_axes(module, splats, make, tmp_path):
    splat = make(1)
    splat.location = tuple(-np.array(splats.read(splat).means[0]))
    splat.location[2] += 5
    bpy.context.view_layer.update()
    read = module("interngs.formats.registry").read_splat
    for ending, expected in ((".ply", (0, -5, 0)), (".glb", (0, 5, 0))):
        bpy.ops.interngs.export_splats(filepath=str(tmp_path / f"a{ending}"))
        np.testing.assert_allclose(read(tmp_path / f"a{ending}").gaussians.means[0], expected, atol=1e-5)
    bpy.ops.interngs.export_splats(filepath=str(tmp_path / "b.ply"), axes="blender", scale=100)
    np.testing.assert_allclose(read(tmp_path / "b.ply").gaussians.means[0], (0, 0, 500), atol=1e-3)
    bpy.ops.interngs.import_splats(filepath=str(tmp_path / "b.ply"), scale=0.01)
    np.testing.assert_allclose(splats.read(bpy.data.objects["b"]).means[0], (0, 0, 5), atol=1e-5)


def test_selected_visible_all_merged_and_each(splats, make, tmp_path):
    make(10, "one"), make(20, "two", degree=0), make(30, "three")
    bpy.data.objects["one"].select_set(False)
    bpy.data.objects["three"].hide_set(True)
    bpy.data.objects["two"].select_set(True)
    bpy.context.view_layer.update()
    path = str(tmp_path / "all.ply")
    for scope, count in (("SELECTED", 20), ("VISIBLE", 30), ("ALL", 60)):
        bpy.ops.interngs.export_splats(filepath=path, scope=scope)
        bpy.ops.interngs.import_splats(filepath=path)
        assert len(splats.read(bpy.context.active_object)) == count
        bpy.data.objects.remove(bpy.context.active_object)
        bpy.data.objects["two"].select_set(True)
    bpy.ops.interngs.export_splats(filepath=path, scope="ALL", layout_of_files="EACH")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["all.ply", "one.ply", "three.ply", "two.ply"]


def test_a_folder_for_each_collection(make, tmp_path):
    for name in ("one", "two"):
        splat, group = make(10, name), bpy.data.collections.new(f"Room {name}")
        bpy.context.scene.collection.children.link(group)
        group.objects.link(splat)
        bpy.context.scene.collection.objects.unlink(splat)
    bpy.ops.interngs.export_splats(filepath=str(tmp_path / "x.spz"), scope="ALL", layout_of_files="COLLECTIONS")
    assert sorted(each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*.spz")) == [
        "Room_one/one.spz", "Room_two/two.spz"]


def test_an_animation_as_numbered_files(module, splats, make, tmp_path):
    splat = make(10)
    for frame, x in ((1, 0.0), (3, 2.0)):
        splat.location[0] = x
        splat.keyframe_insert("location", index=0, frame=frame)
    bpy.context.scene.frame_set(7)
    before = splats.read(splat).means
    bpy.ops.interngs.export_splats(filepath=str(tmp_path / "walk.ply"), animation=True, frame_start=1, frame_end=3)
    assert bpy.context.scene.frame_current == 7
    read = module("interngs.formats.registry").read_splat
    for frame, x in ((1, 0.0), (2, 1.0), (3, 2.0)):
        found = read(tmp_path / f"walk_{frame:04d}.ply", "blender").gaussians.means
        np.testing.assert_allclose(found, before + np.float32([x, 0, 0]), atol=1e-5)


def test_a_collections_own_exporter(make, tmp_path):
    group = bpy.data.collections.new("Splats")
    bpy.context.scene.collection.children.link(group)
    group.objects.link(make(10))
    layer = bpy.context.view_layer
    layer.active_layer_collection = layer.layer_collection.children["Splats"]
    bpy.ops.collection.exporter_add(name="INTERNGS_FH_splats")
    group.exporters[0].export_properties.filepath = str(tmp_path / "group.ply")
    assert bpy.ops.collection.exporter_export(index=0) == {"FINISHED"}
    assert (tmp_path / "group.ply").is_file()


def test_what_cannot_be_done_is_said(make, tmp_path):
    with pytest.raises(RuntimeError, match="no splat to export"):
        bpy.ops.interngs.export_splats(filepath=str(tmp_path / "a.ply"))
    make(10)
    with pytest.raises(RuntimeError, match="can only be read"):
        bpy.ops.interngs.export_splats(filepath=str(tmp_path / "a.ksplat"))
    with pytest.raises(RuntimeError, match="last frame"):
        bpy.ops.interngs.export_splats(filepath=str(tmp_path / "a.ply"), animation=True, frame_start=5, frame_end=1)
    (tmp_path / "bad.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 1000000000\nend_header\n")
    with pytest.raises(RuntimeError, match="bad"):
        bpy.ops.interngs.import_splats(filepath=str(tmp_path / "bad.ply"))
    assert [each.name for each in bpy.data.objects] == ["fern"]


def test_several_files_as_a_drop_gives_them(splats, make, tmp_path):
    make(10)
    for name in ("a.ply", "b.compressed.ply"):
        bpy.ops.interngs.export_splats(filepath=str(tmp_path / name))
    bpy.ops.interngs.import_splats(directory=str(tmp_path), files=[{"name": "a.ply"}, {"name": "b.compressed.ply"}])
    assert {"a", "b"} <= {each.name for each in bpy.data.objects}
    handler = bpy.types.INTERNGS_FH_splats
    assert {".ply", ".spz", ".splat", ".glb", ".usda", ".ksplat"} <= set(handler.bl_file_extensions.split(";"))


@pytest.fixture
def over_view():
    """Context of the mouse over a region of the 3D view."""
    window = bpy.context.window_manager.windows[0]
    area = next(each for each in window.screen.areas if each.type == "VIEW_3D")

    def override(kind="WINDOW", **more):
        region = next(each for each in area.regions if each.type == kind)
        return bpy.context.temp_override(**({"window": window, "area": area, "region": region} | more))
    return override


@pytest.mark.parametrize("ending", [".spz", ".splat"])
def test_files_dropped_by_blender_itself(splats, make, over_view, tmp_path, ending):
    make(10)
    for name in ("a", "b"):
        bpy.ops.interngs.export_splats(filepath=str(tmp_path / f"{name}{ending}"))
    dropped = {"directory": str(tmp_path), "files": [{"name": f"a{ending}"}, {"name": f"b{ending}"}]}
    with over_view():
        bpy.ops.wm.drop_import_file("INVOKE_DEFAULT", **dropped)
    assert {"a", "b"} <= {each.name for each in bpy.data.objects}
    assert all(len(splats.read(bpy.data.objects[name])) == 10 for name in ("a", "b"))


def test_a_ply_dropped_where_blenders_own_importer_wants_it_too(splats, make, over_view, tmp_path):
    """Blender asks which importer to take; it then invokes ours with the folder and the names."""
    make(10)
    bpy.ops.interngs.export_splats(filepath=str(tmp_path / "a.ply"))
    handler = bpy.types.INTERNGS_FH_splats
    with over_view():
        assert handler.poll_drop(bpy.context)
        category, name = handler.bl_import_operator.split(".")
        operator = getattr(getattr(bpy.ops, category), name)
        assert {"directory", "files"} <= set(operator.get_rna_type().properties.keys())
        assert operator("INVOKE_DEFAULT", directory=str(tmp_path), files=[{"name": "a.ply"}]) == {"FINISHED"}
    assert len(splats.read(bpy.data.objects["a"])) == 10


def test_drops_elsewhere_are_left_to_others(over_view):
    handler, photos = bpy.types.INTERNGS_FH_splats, bpy.types.INTERNGS_FH_photos
    with over_view("UI"):
        assert not handler.poll_drop(bpy.context) and photos.poll_drop(bpy.context)
    area = next(each for each in bpy.context.window_manager.windows[0].screen.areas if each.type == "OUTLINER")
    with over_view(area=area, region=area.regions[-1]):
        assert not handler.poll_drop(bpy.context) and not photos.poll_drop(bpy.context)


def test_what_is_not_kept_is_said(module, make):
    words = module("blender_addon.ops.splat_files").losses_in_words
    by_name = {each.name: each for each in module("interngs.formats.registry").FORMATS}
    assert words(by_name["ply"], 3) == ["Nothing is lost"]
    assert "Colour no longer changes with the view" in words(by_name["splat"], 1)
    assert words(by_name["splat"], 0) == [f"Rounded: {by_name['splat'].loss}"]
    assert "View-dependent colour cut to degree 3" in words(by_name["glb"], 4)


def test_the_real_files_open(splats):
    folder = SHARED / "data" / "splats"
    files = [each for each in (folder / "biker.spz", folder / "kacytran_model.splat") if each.is_file()]
    if not files:
        pytest.skip(f"no real splats in {folder}")
    for path in files:
        bpy.ops.interngs.import_splats(filepath=str(path))
        assert len(splats.read(bpy.context.active_object)) > 10_000


def test_an_asset_with_its_picture(module, splats, make, tmp_path):
    splat = make(3000)
    bpy.ops.ed.undo_push(message="made")
    assert bpy.ops.interngs.mark_asset("EXEC_DEFAULT", True) == {"FINISHED"}
    splat = bpy.data.objects["fern"]
    assert splat.asset_data is not None
    pixels = np.empty(256 * 256 * 4, np.float32)
    splat.preview.image_pixels_float.foreach_get(pixels)
    alpha = pixels.reshape(256, 256, 4)[..., 3]
    assert 0.05 < alpha.mean() < 0.8 and alpha.max() > 0.7
    bpy.ops.ed.undo()
    assert bpy.data.objects["fern"].asset_data is None
    bpy.ops.ed.redo()
    assert bpy.data.objects["fern"].asset_data is not None
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location = (0, 0, 9)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    bpy.context.view_layer.update()
    bpy.context.view_layer.objects.active = bpy.data.objects["fern"]
    assert bpy.ops.interngs.mark_asset(from_camera=True) == {"FINISHED"}
