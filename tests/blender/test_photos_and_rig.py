# SPDX-License-Identifier: GPL-3.0-or-later
"""The photograph list, pose import and the camera rig, through the operators that the panels' buttons call."""

import json
import struct
import zlib

import bpy
import numpy as np
import pytest

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]


def write_png(path, pixels):
    """An RGB PNG."""
    height, width = pixels.shape[:2]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b""))


@pytest.fixture
def photos(tmp_path):
    """Four photographs of one texture; the last one blurred."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        image = np.random.default_rng(number).random((60, 80, 3))
        for _ in range(2 if number < 3 else 30):
            image = sum((np.roll(image, step, axis) for step in (1, -1) for axis in (0, 1)), image) / 5
        write_png(folder / f"IMG_{number}.png", (image * 255).astype(np.uint8))
    return folder


def add(folder, names=None):
    names = names or [path.name for path in sorted(folder.iterdir())]
    return bpy.ops.interngs.add_photos(directory=str(folder), files=[{"name": name} for name in names])


def settings():
    return bpy.context.scene.interngs


def new_camera(name):
    found = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    bpy.context.scene.collection.objects.link(found)
    return found


def test_add_reorder_remove_clear(photos):
    assert add(photos) == {"FINISHED"}
    assert [row.name for row in settings().photos] == ["IMG_0", "IMG_1", "IMG_2", "IMG_3"]
    assert (settings().photos[0].width_px, settings().photos[0].height_px) == (80, 60)
    add(photos, ["IMG_1.png"])
    assert len(settings().photos) == 4
    settings().active_photo = 0
    bpy.ops.interngs.move_photo(direction="DOWN")
    assert [row.name for row in settings().photos][:2] == ["IMG_1", "IMG_0"] and settings().active_photo == 1
    bpy.ops.interngs.remove_photo()
    assert [row.name for row in settings().photos] == ["IMG_1", "IMG_2", "IMG_3"]
    bpy.ops.interngs.clear_photos()
    assert len(settings().photos) == 0
    assert not bpy.ops.interngs.remove_photo.poll()


def test_what_is_no_photograph_is_named_and_the_rest_is_added(photos, module):
    (photos / "notes.jpg").write_text("no image")
    assert add(photos, ["notes.jpg", "IMG_0.png"]) == {"FINISHED"}
    assert [row.name for row in settings().photos] == ["IMG_0"]
    with pytest.raises(RuntimeError, match="no JPEG, PNG or WebP"):
        add(photos, ["notes.jpg"])
    shown = module("blender_addon.session.state").session_state().error
    assert shown.code == "image-type" and "image-type" in shown.details
    bpy.ops.interngs.dismiss_error()
    assert module("blender_addon.session.state").session_state().error is None


def test_cameras_are_matched_by_name(photos):
    add(photos)
    first, second = new_camera("IMG_0"), new_camera("img_2.png")
    bpy.ops.interngs.match_cameras()
    assert [row.camera for row in settings().photos] == [first, None, second, None]


def test_the_check_names_missing_poses_blur_and_turned_masks(photos, tmp_path):
    add(photos)
    for row in settings().photos:
        row.camera = new_camera(row.name)
    settings().photos[1].camera = None
    write_png(tmp_path / "mask.png", np.zeros((80, 60, 3), np.uint8))
    settings().photos[2].mask_path = str(tmp_path / "mask.png")
    bpy.ops.interngs.check_photos()
    first, second, third, fourth = settings().photos
    assert first.warning == ""
    assert "No camera" in second.warning and second.warning_is_error
    assert "another size" in third.warning and third.warning_is_error
    settings().photos[2].mask_path = ""
    settings().photos[1].camera = new_camera("late")
    bpy.ops.interngs.check_photos()
    assert [row.warning for row in settings().photos][:3] == ["", "", ""]
    assert "lurred" in fourth.warning and not fourth.warning_is_error


def test_what_is_sent(photos, module):
    photographs, errors = module("blender_addon.scene.photographs"), module("interngs.errors")
    scene = bpy.context.scene
    with pytest.raises(errors.InputError) as refused:
        photographs.capture_source(scene)
    assert refused.value.code == "no-photos"
    add(photos)
    with pytest.raises(errors.InputError) as refused:
        photographs.capture_source(scene)
    assert refused.value.code == "pose-missing" and "IMG_0" in refused.value.cause
    settings().job.poses = "ESTIMATE"
    assert all(view.camera is None for view in photographs.capture_source(scene).views)
    settings().job.poses = "CAMERAS"
    for row in settings().photos:
        row.camera = new_camera(row.name)
        row.camera.location.x = 2.0
    settings().photos[3].use = False
    bpy.context.view_layer.update()
    sent = photographs.capture_source(scene)
    assert [view.name for view in sent.views] == ["IMG_0", "IMG_1", "IMG_2"]
    assert np.allclose(sent.views[0].camera.centre, (2, 0, 0)) and sent.views[0].camera.width_px == 80
    settings().job.preset, settings().job.max_side_px = "draft", 0
    assert photographs.job_settings(scene) == {"preset": "draft", "geometry": "auto", "seed": 0}
    settings().job.max_side_px = 320
    assert photographs.job_settings(scene)["max_side_px"] == 320
    settings().job.depth_prior, settings().job.appearance_prior = "none", "controlnet-tile"
    sent = photographs.job_settings(scene)
    assert (sent["depth_prior"], sent["appearance_prior"]) == ("none", "controlnet-tile")


@pytest.mark.parametrize("upright", [False, True])
def test_imported_poses_come_back_exactly(photos, module, upright):
    """transforms.json -> camera objects -> what is sent: the same cameras, up to the upright turn of the whole."""
    scene_cameras = module("interngs.scene.cameras")
    formats = module("interngs.formats.transforms_json")
    given = {}
    for number in range(4):
        rotation, _ = np.linalg.qr(np.random.default_rng(number).normal(size=(3, 3)) + 3 * np.diag([1, -1, -1]))
        pose = np.eye(4)
        pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
        pose[:3, 3] = (number, 1.0, 4.0)
        K = np.array([[90.0 + number, 0, 41.5], [0, 95.0, 28.5], [0, 0, 1]])
        given[f"IMG_{number}.png"] = scene_cameras.Camera(K, pose, 80, 60)
    formats.write_transforms_json(photos / "transforms.json", given)
    assert bpy.ops.interngs.import_poses(filepath=str(photos / "transforms.json"), upright=upright) == {"FINISHED"}
    bpy.context.view_layer.update()
    sent = module("blender_addon.scene.photographs").capture_source(bpy.context.scene)
    turn = np.array(settings().photos[0].camera.parent.matrix_world)
    for view, camera in zip(sent.views, given.values(), strict=True):
        assert np.allclose(view.camera.K, camera.K, atol=1e-3)
        assert np.allclose(view.camera.camera_from_world @ turn, camera.camera_from_world, atol=1e-5)
    if upright:
        ups = [-view.camera.camera_from_world[1, :3] for view in sent.views]
        assert np.allclose(np.mean(ups, axis=0) / np.linalg.norm(np.mean(ups, axis=0)), (0, 0, 1), atol=1e-5)
    camera_object = settings().photos[0].camera
    assert camera_object.data.background_images[0].image.filepath.endswith("IMG_0.png")
    assert camera_object.data.show_background_images


def test_importing_twice_updates_the_rows(photos, module):
    formats, scene_cameras = module("interngs.formats.transforms_json"), module("interngs.scene.cameras")
    camera = scene_cameras.Camera(np.array([[90.0, 0, 40], [0, 90, 30], [0, 0, 1]]), np.eye(4), 80, 60)
    formats.write_transforms_json(photos / "transforms.json", {"IMG_0.png": camera, "IMG_1.png": camera})
    for _ in range(2):
        bpy.ops.interngs.import_poses(filepath=str(photos / "transforms.json"))
    assert len(settings().photos) == 2


def test_a_broken_pose_file_is_explained(photos, module):
    (photos / "transforms.json").write_text("{")
    with pytest.raises(RuntimeError):
        bpy.ops.interngs.import_poses(filepath=str(photos / "transforms.json"))
    shown = module("blender_addon.session.state").session_state().error
    assert shown.cause and shown.remedy and "Traceback" not in shown.details


@pytest.mark.parametrize("kind", ["ARC", "RING", "DOME"])
def test_every_camera_of_a_rig_sees_the_whole_selection(module, kind):
    bpy.ops.mesh.primitive_monkey_add(location=(3, 2, 1), rotation=(0.3, 0.2, 0.1))
    monkey = bpy.context.object
    rig, capture = settings().rig, settings().capture
    rig.kind, rig.count = kind, 6
    capture.width_px, capture.height_px = 300, 500
    assert bpy.ops.interngs.add_rig() == {"FINISHED"}
    cameras = [each for each in rig.collection.objects]
    assert len(cameras) == 6 and all(each.select_get() for each in cameras) and not monkey.select_get()
    bpy.context.view_layer.update()
    corners = np.array([monkey.matrix_world @ vertex.co for vertex in monkey.data.vertices])
    for each in cameras:
        camera = module("blender_addon.scene.cameras").camera_of_object(each, 300, 500, (1.0, 1.0))
        pixels, depth = camera.project(corners)
        assert depth.min() > each.data.clip_start
        assert pixels.min() > 0 and (pixels < (300, 500)).all()
        assert np.ptp(pixels, axis=0).max() > 100


def test_the_rig_needs_a_selection_and_says_so():
    for each in bpy.context.selected_objects:
        each.select_set(False)
    assert not bpy.ops.interngs.add_rig.poll()


def test_a_capture_becomes_photographs_with_the_poses_they_were_rendered_at(module, tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    settings().rig.count = 2
    bpy.ops.interngs.add_rig()
    capture = settings().capture
    capture.width_px, capture.height_px, capture.folder, capture.mask = 64, 64, str(tmp_path / "out"), True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert bpy.ops.interngs.capture() == {"FINISHED"}
    rows = settings().photos
    assert len(rows) == 2 and all(row.depth_path and not row.mask_path and row.camera for row in rows)
    assert rows[0].path.startswith("//")
    photographs = module("blender_addon.scene.photographs")
    before = [view.camera.camera_from_world for view in photographs.capture_source(scene).views]
    rows[0].camera.location.x += 1.0
    bpy.context.view_layer.update()
    after = [view.camera.camera_from_world for view in photographs.capture_source(scene).views]
    assert np.array_equal(before, after)
    settings().active_photo = 0
    bpy.ops.interngs.release_pose()
    released = photographs.capture_source(scene).views[0]
    assert released.depth is None and not np.allclose(released.camera.camera_from_world, before[0])
    assert bpy.ops.interngs.capture() == {"FINISHED"}
    assert len(rows) == 2


def test_everything_survives_saving(photos, module, tmp_path):
    add(photos)
    settings().photos[0].camera = new_camera("IMG_0")
    settings().job.preset = "high"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert len(settings().photos) == 0
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert len(settings().photos) == 4 and settings().photos[0].camera.name == "IMG_0"
    assert settings().job.preset == "high"
    assert module("blender_addon.scene.photographs").photo_path(settings().photos[1]) == photos / "IMG_1.png"


def test_undo_brings_the_list_back(photos):
    bpy.ops.ed.undo_push(message="start")
    add(photos)
    bpy.ops.ed.undo_push(message="added")
    bpy.ops.interngs.clear_photos()
    bpy.ops.ed.undo_push(message="cleared")
    bpy.ops.ed.undo()
    assert len(settings().photos) == 4


def seen():
    """What undo must bring back: objects with their cameras' poses, and the list."""
    scene = bpy.context.scene
    rows = [(row.name, row.use, row.camera.name if row.camera else "", row.fixed_camera, row.depth_path)
            for row in scene.interngs.photos]
    objects = sorted((each.name, tuple(np.ravel(each.matrix_world))) for each in scene.objects)
    return rows, objects, scene.camera.name if scene.camera else "", scene.interngs.active_photo


UNDOABLE = {
    "add_photos": lambda photos: add(photos, ["IMG_3.png"]),
    "remove_photo": lambda _: bpy.ops.interngs.remove_photo("EXEC_DEFAULT", True),
    "clear_photos": lambda _: bpy.ops.interngs.clear_photos("EXEC_DEFAULT", True),
    "move_photo": lambda _: bpy.ops.interngs.move_photo("EXEC_DEFAULT", True, direction="UP"),
    "match_cameras": lambda _: bpy.ops.interngs.match_cameras("EXEC_DEFAULT", True),
    "release_pose": lambda _: bpy.ops.interngs.release_pose("EXEC_DEFAULT", True),
    "import_poses": lambda photos: bpy.ops.interngs.import_poses(
        "EXEC_DEFAULT", True, filepath=str(photos / "transforms.json")),
    "add_rig": lambda _: bpy.ops.interngs.add_rig("EXEC_DEFAULT", True),
    "view_through": lambda _: over_the_view(bpy.ops.interngs.view_through),
}
ONLY_REGISTERED = ("add_photos", "view_through")
"""Called here without an undo step of their own, which their option UNDO makes in the interface."""


def over_the_view(operator):
    window = bpy.context.window_manager.windows[0]
    area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
    with bpy.context.temp_override(window=window, area=area):
        return operator()


@pytest.mark.parametrize("name", UNDOABLE)
def test_undo_and_redo_of_every_operator_of_these_panels(module, photos, name):
    cameras = module("interngs.scene.cameras")
    camera = cameras.Camera(np.array([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]), np.eye(4), 80, 60)
    module("interngs.formats.transforms_json").write_transforms_json(
        photos / "transforms.json", {"IMG_0.png": camera, "IMG_3.png": camera})
    add(photos, ["IMG_0.png", "IMG_1.png"])
    new_camera("IMG_0")
    row = settings().photos[1]
    row.camera, row.fixed_camera, row.depth_path = new_camera("other"), "{}", "depth.npy"
    settings().active_photo = 1
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="start")
    before = seen()
    assert UNDOABLE[name](photos) == {"FINISHED"}
    if name in ONLY_REGISTERED:
        assert "UNDO" in getattr(bpy.types, f"INTERNGS_OT_{name}").bl_options
        bpy.ops.ed.undo_push(message=name)
    bpy.context.view_layer.update()
    after = seen()
    assert after != before
    bpy.ops.ed.undo()
    assert seen() == before
    bpy.ops.ed.redo()
    assert seen() == after


def test_every_operator_has_a_tooltip_and_a_label(module):
    found = [each for each in dir(bpy.ops.interngs) if not each.startswith("_")]
    assert len(found) >= 25
    for name in found:
        described = getattr(bpy.ops.interngs, name).get_rna_type()
        assert described.description and described.name, name
        assert not described.description.endswith("."), name


def test_every_property_has_a_tooltip(module):
    properties = module("blender_addon.properties")
    for group in properties.CLASSES:
        for prop in group.bl_rna.properties:
            if prop.identifier not in ("rna_type", "name", "rig", "capture", "job", "photos"):
                assert prop.description, f"{group.__name__}.{prop.identifier}"
                assert json.dumps(prop.name)
