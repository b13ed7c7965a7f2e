# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks and the wipe by pixels; stepping through the photographs' cameras; the report page."""

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Matrix

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]


def save_png(module, path, pixels):
    Path(path).write_bytes(module("blender_addon.scene.png").png_bytes(pixels))


@pytest.fixture
def wiped(module, with_gpu, tmp_path):
    """What a photograph [H, W, 3] drawn by half over a 64 x 64 view looks like."""
    overlay = module("blender_addon.draw.compare_overlay")

    def draw(picture, camera, distortion):
        save_png(module, tmp_path / "a.png", picture)
        return with_gpu(lambda: paint_wiped(overlay, tmp_path / "a.png", camera, distortion))
    return draw


def paint_wiped(overlay, path, camera, distortion):
    import gpu

    image = bpy.data.images.load(str(path))
    target = gpu.types.GPUOffScreen(64, 64, format="RGBA32F")
    pixels = np.zeros((64, 64, 4), np.float32)
    to_region = Matrix(((1 / 32, 0, 0, -1), (0, 1 / 32, 0, -1), (0, 0, 1, 0), (0, 0, 0, 1)))
    with target.bind():
        framebuffer = gpu.state.active_framebuffer_get()
        framebuffer.clear(color=(0.0, 0.0, 0.0, 0.0))
        with gpu.matrix.push_pop(), gpu.matrix.push_pop_projection():
            gpu.matrix.load_matrix(Matrix())
            gpu.matrix.load_projection_matrix(to_region)
            overlay.paint_photograph(overlay.photograph_shader(), image,
                                     np.float64([[8, 8], [56, 8], [8, 56], [56, 56]]), 0.5, camera, distortion)
        framebuffer.read_color(0, 0, 64, 64, 4, 0, "FLOAT", data=gpu.types.Buffer("FLOAT", pixels.shape, pixels))
    return pixels


def linear(colour):
    return ((np.array(colour) / 255 + 0.055) / 1.055) ** 2.4


def camera_of_48_px(module):
    intrinsics = np.array([[40.0, 0, 24], [0, 40, 24], [0, 0, 1]])
    return module("interngs.scene.cameras").Camera(intrinsics, np.eye(4), 48, 48)


def test_the_photograph_ends_at_the_wipe(module, wiped):
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8], picture[8:] = (200, 100, 50), (20, 220, 120)        # upper and lower half
    pixels = wiped(picture, camera_of_48_px(module), module("interngs.scene.capture").Distortion())
    assert pixels[32, 40:, 3].max() == 0 and pixels[4, :, 3].max() == 0, "right of the wipe and outside: untouched"
    for row, colour in ((48, (200, 100, 50)), (16, (20, 220, 120))):
        np.testing.assert_allclose(pixels[row, 20, :3], linear(colour), atol=0.01)


@pytest.mark.parametrize("strength", [-0.3, 0.3])
def test_the_wipe_shows_the_photograph_without_its_lens(module, wiped, strength):
    """A straight line bent by the lens is drawn straight; where the photograph shows nothing, the wipe is black."""
    capture, lens = module("interngs.scene.capture"), module("blender_addon.scene.distortion")
    camera, distortion = camera_of_48_px(module), capture.Distortion("SIMPLE_RADIAL", (strength,))
    scale, at = 10, 6.0                                # a line 6 px from the left of the pinhole picture
    along = np.stack([np.full(4000, at), np.linspace(-20, 68, 4000)], axis=-1)
    bent = lens.photograph_pixels(camera, distortion, along) * scale
    bent = bent[np.isfinite(bent).all(axis=1)].round().astype(int)
    picture = np.full((48 * scale, 48 * scale, 3), (40, 80, 160), np.uint8)
    for x, y in bent[((bent > 6) & (bent < 48 * scale - 6)).all(axis=1)]:
        picture[y - 4:y + 5, x - 4:x + 5] = 255
    pixels = wiped(picture, camera, distortion)
    rows = np.arange(16, 48)
    brightest = pixels[rows, 8:28, 0].argmax(axis=1)
    assert np.abs(brightest + 0.5 - at).max() <= 1.0, "straight, and where the pinhole camera sees it"
    corner = pixels[9, 9, :3]
    np.testing.assert_allclose(corner, linear((40, 80, 160)) if strength < 0 else 0, atol=0.02)
    assert pixels[9, 9, 3] == 1


def test_marks_are_drawn_in_their_filters_colours(module, with_gpu):
    overlay, filters = module("blender_addon.draw.mark_overlay"), module("interngs.scene.marks").FILTERS
    positions = np.float32([[0, 0, 0], [0.5, 0.5, 0], [-0.5, -0.5, 0]])
    first = np.uint8([1 + filters.index("isolated"), 0, 1 + filters.index("box")])

    def work():
        import gpu

        target = gpu.types.GPUOffScreen(64, 64, format="RGBA32F")
        pixels = np.zeros((64, 64, 4), np.float32)
        with target.bind():
            framebuffer = gpu.state.active_framebuffer_get()
            framebuffer.clear(color=(0.0, 0.0, 0.0, 0.0))
            overlay.paint_points(overlay.points_batch(*overlay.marked_points(positions, first)), Matrix(), Matrix())
            framebuffer.read_color(0, 0, 64, 64, 4, 0, "FLOAT", data=gpu.types.Buffer("FLOAT", pixels.shape, pixels))
        return pixels

    pixels = with_gpu(work)
    np.testing.assert_allclose(pixels[32, 32], (*overlay.COLOURS["isolated"], 1), atol=1e-3)
    np.testing.assert_allclose(pixels[16, 16], (*overlay.COLOURS["box"], 1), atol=1e-3)
    assert pixels[48, 48, 3] == 0, "what stays is not drawn"


def test_the_corners_are_those_of_the_camera(module, tmp_path):
    overlay, cameras = module("blender_addon.draw.compare_overlay"), module("blender_addon.scene.cameras")
    camera_object = bpy.data.objects.new("a", bpy.data.cameras.new("a"))
    bpy.context.scene.collection.objects.link(camera_object)
    camera_object.location, camera_object.rotation_euler = (1, 2, 3), (0.3, 0.2, 0.1)
    camera_object.data.shift_x = 0.1
    bpy.context.view_layer.update()
    camera = cameras.camera_of_object(camera_object, 120, 80, (1.0, 1.0))
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 120, 80
    frame = [camera_object.matrix_world @ each for each in camera_object.data.view_frame(scene=bpy.context.scene)]
    centre = np.array(camera_object.matrix_world.translation)

    def direction(point):
        ray = np.array(point) - centre
        return ray / np.linalg.norm(ray)

    wanted = [direction(each) for each in frame]
    for corner in overlay.world_corners(camera):
        assert min(np.abs(direction(corner) - each).max() for each in wanted) < 1e-4


@pytest.fixture
def photographs(module, splats, add_splat, tmp_path):
    """A splat, and three photographs of it taken by real cameras; the last one is switched off."""
    random, thumbnail = np.random.default_rng(0), module("interngs.scene.thumbnail")
    gaussians = splats.read(add_splat(
        "fern", random.normal(0, 0.5, (400, 3)), np.tile([1.0, 0, 0, 0], (400, 1)), np.full((400, 3), -2.0),
        np.full(400, 2.0), random.uniform(-1, 1, (400, 1, 3))))
    settings = bpy.context.scene.interngs
    for index, x in enumerate((-1.0, 0.0, 1.0)):
        camera_object = bpy.data.objects.new(f"view {index}", bpy.data.cameras.new(f"view {index}"))
        bpy.context.scene.collection.objects.link(camera_object)
        camera_object.location, camera_object.rotation_euler = (x, 0, 6), (0, 0.1 * x, 0)
        bpy.context.view_layer.update()
        camera = module("blender_addon.scene.cameras").camera_of_object(camera_object, 96, 64, (1.0, 1.0))
        picture = thumbnail.render_by_numpy(gaussians, camera)
        save_png(module, tmp_path / f"view {index}.png",
                 np.round(picture[..., :3] * picture[..., 3:] * 255).astype(np.uint8))
        row = settings.photos.add()
        row.name, row.path, row.camera = f"view {index}", str(tmp_path / f"view {index}.png"), camera_object
        row.width_px, row.height_px, row.use = 96, 64, index != 2
    bpy.context.view_layer.objects.active = bpy.data.objects["fern"]
    return settings.photos


def test_stepping_through_the_photographs(photographs):
    scene, window = bpy.context.scene, bpy.context.window_manager.interngs_finish
    photographs[1].camera.data.show_background_images = True
    scene.camera = photographs[0].camera
    bpy.ops.ed.undo_push(message="before")
    seen = []
    for step in (0, 1, 1, 1, -1):
        assert bpy.ops.interngs.compare("EXEC_DEFAULT", True, step=step) == {"FINISHED"}
        seen.append(bpy.context.scene.camera.name)
        data = bpy.data.objects["view 1"].data
        assert data.show_background_images == data.show_passepartout == (seen[-1] != "view 1")
    assert seen == ["view 0", "view 1", "view 2", "view 0", "view 2"] and window.compare
    assert "view 2.png" in bpy.data.images
    bpy.ops.ed.undo()
    assert bpy.context.scene.camera.name == "view 0"
    bpy.ops.ed.redo()
    assert bpy.context.scene.camera.name == "view 2"
    bpy.ops.interngs.compare(step=-1)
    bpy.ops.interngs.end_compare()
    assert not window.compare and bpy.data.objects["view 1"].data.show_background_images
    rows = bpy.context.scene.interngs.photos            # undo frees what was read of the scene before it
    assert len(rows) == 3
    assert all(row.camera.data.show_passepartout and not row.camera.data.keys() for row in rows)


def test_the_report_page_measures_what_is_there(photographs, tmp_path):
    path = tmp_path / "page.html"
    splat = bpy.data.objects["fern"]
    assert bpy.ops.interngs.report_page(filepath=str(path), width_px=96) == {"FINISHED"}
    page = path.read_text()
    assert page.index("view 2") < page.index("view 0") and page.count("held out,") == 1
    figures = [float(each.split(" dB")[0].split()[-1]) for each in page.split("<h3>")[1:]]
    assert len(figures) == 3 and min(figures) > 45, "the photographs are renders of this very splat"
    splat.location = (0.2, 0, 0)
    bpy.context.view_layer.update()
    bpy.ops.interngs.report_page(filepath=str(path), width_px=48)
    moved = [float(each.split(" dB")[0].split()[-1]) for each in path.read_text().split("<h3>")[1:]]
    assert max(moved) < 35
    assert not [each for each in bpy.data.images if each.users == 0 and each.name.startswith("view")]


def test_the_report_compares_with_the_undistorted_photograph(module, photographs, tmp_path):
    lens = module("interngs.scene.capture").Distortion("OPENCV", (-1.0, 0.3, 0.02, -0.02))
    path = tmp_path / "page.html"
    for row in photographs:
        row.distortion = json.dumps({"model": lens.model, "parameters": list(lens.parameters)})

    def figures():
        assert bpy.ops.interngs.report_page(filepath=str(path), width_px=96) == {"FINISHED"}
        return [float(each.split(" dB")[0].split()[-1]) for each in path.read_text().split("<h3>")[1:]]

    wrong = figures()
    bend(module, photographs, lens, scale=4)
    right = figures()
    assert min(right) > 35 and (np.array(right) > np.array(wrong) + 3).all(), (wrong, right)


def bend(module, photographs, lens, scale):
    """Photographs of the splat as ``lens`` takes them: pixels of a pinhole picture that sees more."""
    distortion, splats = module("blender_addon.scene.distortion"), module("blender_addon.scene.splat_object")
    gaussians = splats.read(bpy.data.objects["fern"])
    for row in photographs:
        camera = module("blender_addon.scene.photographs").camera_of_row(bpy.context.scene, row)
        large = camera.resized(camera.width_px * scale, camera.height_px * scale)
        wide = type(large)(large.K + np.array([[0, 0, 100], [0, 0, 100], [0, 0, 0]]), large.camera_from_world,
                           large.width_px + 200, large.height_px + 200)      # the lens sees beyond the pinhole's frame
        drawn = module("interngs.scene.thumbnail").render_by_numpy(gaussians, wide)
        drawn = drawn[..., :3] * drawn[..., 3:]
        u, v = np.meshgrid(np.arange(large.width_px) + 0.5, np.arange(large.height_px) + 0.5)
        wanted = found = np.stack([u, v], axis=-1)
        for _ in range(30):                                 # invert the lens by fixed-point steps
            found = found + (wanted - distortion.photograph_pixels(large, lens, found))
        x, y = (np.nan_to_num(np.floor(found[..., axis] + 100)).astype(int) for axis in (0, 1))
        picture = drawn[y.clip(0, len(drawn) - 1), x.clip(0, drawn.shape[1] - 1)]
        save_png(module, bpy.path.abspath(row.path), np.round(picture * 255).astype(np.uint8))


def test_without_photographs_there_is_nothing_to_compare(photographs):
    for row in photographs:
        row.camera = None
    assert not bpy.ops.interngs.compare.poll()
    with pytest.raises(RuntimeError, match="No photograph has both"):
        bpy.ops.interngs.report_page(filepath="x.html")
    photographs.clear()
    assert not bpy.ops.interngs.report_page.poll()
