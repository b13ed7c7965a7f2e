# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview on a real GPU interface (Mesa's in CI): colour, shape, order, depth, and the library's own picture."""

import subprocess
import time

import bpy
import numpy as np
import pytest
from mathutils import Matrix

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon", "egl")]
SIZE = 64
FLAT = np.diag(np.float32([1, 1, -0.1, 1]))
"""An orthographic window matrix of [-1, 1]."""


def painted(module, picture, projection, image_size, scene_depth=1.0, background=(0.0, 0.0, 0.0, 0.0), **look):
    """[H, W, 4] of linear premultiplied light, bottom row first.  Call with a live context."""
    import gpu

    painter = module("blender_addon.draw.painter")
    depth = painter.texture(np.full(image_size[::-1], scene_depth, np.float32), "R32F")
    target = gpu.types.GPUOffScreen(*image_size, format="RGBA32F")
    with target.bind():
        framebuffer = gpu.state.active_framebuffer_get()
        framebuffer.clear(color=background)
        painter.SplatPainter().paint(picture, np.float32(projection), image_size, depth, painter.Look(**look))
        pixels = np.zeros((*image_size[::-1], 4), np.float32)
        framebuffer.read_color(0, 0, *image_size, 4, 0, "FLOAT", data=gpu.types.Buffer("FLOAT", pixels.shape, pixels))
    return pixels


@pytest.fixture
def paint(module, with_gpu):
    """Paint objects, each (position, scale, base[, rotation]), seen by an orthographic view of [-1, 1]."""
    def run(*objects, views=None, shown=None, bands=(), **options):
        packing, sort = module("blender_addon.draw.packing"), module("blender_addon.draw.sort")
        painter = module("blender_addon.draw.painter")
        packed = []
        for position, scale, base, *rotation in objects:
            arrays = [np.float32(each) for each in (position, scale, rotation[0] if rotation else
                                                    [[1, 0, 0, 0]] * len(position), base)]
            packed.append(packing.pack(*arrays, [np.float32(each) for each in bands]))
        matrices = np.float32(views if views is not None else [np.eye(4)] * len(objects))
        visible = tuple(shown or [True] * len(objects))
        order = sort.back_to_front([each.position for each in packed], matrices[:, 2], visible)
        texels, harmonics = packing.join(packed)

        def work():
            bands_texture = None if harmonics is None else painter.texture(harmonics, "RGBA32F")
            picture = painter.Picture(
                painter.texture(texels, "RGBA32F"), bands_texture, painter.texture(order.texels, "R32F"),
                order.count, matrices, visible, order.near, order.far)
            return painted(module, picture, FLAT, (SIZE, SIZE), **options)

        return with_gpu(work)
    return run


def dc(*srgb):
    return [(each - 0.5) / 0.28209479 for each in srgb]


def srgb(linear):
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055) * 255


def moved(x=0.0, y=0.0, z=0.0, scale=1.0):
    matrix = np.diag(np.float32([scale, scale, scale, 1]))
    matrix[:3, 3] = x, y, z
    return matrix


WIDE = [[0.3, 0.3, 0.3]]
RED, GREEN = [*dc(1, 0, 0), 0.99], [*dc(0, 1, 0), 0.99]


def test_the_colour_that_was_asked_for(paint):
    pixels = paint(([[0, 0, 0]] * 8, WIDE * 8, [[*dc(127 / 255, 64 / 255, 191 / 255), 1.0]] * 8))
    middle = pixels[SIZE // 2, SIZE // 2]
    assert middle[3] > 0.995
    assert np.abs(srgb(middle[:3] / middle[3]) - (127, 64, 191)).max() < 2


def test_shape_and_turn(paint):
    half = np.sin(np.pi / 8), np.cos(np.pi / 8)
    pixels = paint(([[0, 0, 0]], [[0.4, 0.1, 0.1]], [[0, 0, 0, 0.9]], [[half[1], 0, 0, half[0]]]))
    alpha = pixels[..., 3].astype(np.float64)
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5 - SIZE / 2
    weight = alpha / alpha.sum()
    xx, xy, yy = (weight * x * x).sum(), (weight * x * y).sum(), (weight * y * y).sum()
    assert np.degrees(np.arctan2(2 * xy, xx - yy) / 2) == pytest.approx(45.0, abs=1.0)
    larger, smaller = np.linalg.eigvalsh([[xx, xy], [xy, yy]])[::-1]
    assert np.sqrt(larger / smaller) == pytest.approx(4.0, rel=0.12)
    assert alpha.max() == pytest.approx(0.9, abs=0.02)


def test_near_hides_far_whatever_the_order_given(paint):
    for position, base in (([[0, 0, 1]] * 6 + [[0, 0, -1]] * 6, [RED] * 6 + [GREEN] * 6),
                           ([[0, 0, -1]] * 6 + [[0, 0, 1]] * 6, [GREEN] * 6 + [RED] * 6)):
        middle = paint((position, WIDE * 12, base))[SIZE // 2, SIZE // 2]
        assert middle[0] > 0.97 and middle[1] < 0.03


def test_objects_that_stand_in_each_other_are_sorted_together(paint):
    """Red at z = 0.2 and -0.6; green, in an object of its own, between them and behind both."""
    narrow = [[0.12, 0.12, 0.12]]
    red = [[0, 0, 0.2]] * 3 + [[0.5, 0, -0.6]] * 3, narrow * 6, [RED] * 6
    green = [[0, 0, -0.3]] * 3 + [[0.5, 0, 0.5]] * 3, narrow * 6, [GREEN] * 6
    for objects in ((red, green), (green, red)):
        pixels = paint(*objects)
        left, right = pixels[SIZE // 2, SIZE // 2], pixels[SIZE // 2, SIZE // 2 + SIZE // 4]
        assert left[0] > 0.6 > left[1] and right[1] > 0.6 > right[0]
    pixels = paint(red, green, views=[np.eye(4), moved(z=2.0)])
    assert pixels[SIZE // 2, SIZE // 2, 1] > 0.97


def test_moved_scaled_and_hidden_objects(paint):
    one = [[0, 0, 0]], [[0.1, 0.1, 0.1]], [[*dc(1, 0, 0), 0.9]]
    pixels = paint(one, one, one, views=[moved(0.5), moved(-0.5, scale=2.0), moved(y=0.5)], shown=[True, True, False])
    alpha = pixels[..., 3]
    assert alpha[32, 48] > 0.8 and alpha[32, 16] > 0.8 and alpha[48, 32] == 0.0
    # Four times the area, less what the edge cuts off.
    assert alpha[:, :24].sum() / alpha[:, 40:].sum() == pytest.approx(3.5, rel=0.05)


def test_what_stands_before_the_gaussians_hides_them(paint):
    one = [[0, 0, 0]], WIDE, [[0, 0, 0, 0.9]]
    shown, hidden = paint(one, scene_depth=0.6), paint(one, scene_depth=0.4)
    assert shown[..., 3].max() > 0.8 and hidden[..., 3].max() == 0.0


def test_gaussians_hide_what_is_behind_them(paint):
    blue = (0.0, 0.0, 1.0, 1.0)
    pixels = paint(([[0, 0, 0]] * 8, [[0.15, 0.15, 0.15]] * 8, [RED] * 8), scene_depth=0.6, background=blue)
    assert pixels[32, 32, 2] < 0.01 and pixels[32, 32, 0] > 0.98 and pixels[2, 2, 2] == 1.0


def test_colour_by_viewing_direction(paint):
    """Degree one along z: seen from above and from below the object is bright and dark."""
    one = [[0, 0, 0]] * 4, WIDE * 4, [[0, 0, 0, 0.99]] * 4
    bands = [[[0, 0, 0]] * 4, [[0.8, 0.8, 0.8]] * 4, [[0, 0, 0]] * 4]
    above = paint(one, bands=bands)[32, 32]
    below = paint(one, bands=bands, views=[np.diag(np.float32([1, -1, -1, 1]))])[32, 32]
    expected = 0.5 - 0.4886025 * 0.8, 0.5 + 0.4886025 * 0.8
    for pixel, wanted in zip((above, below), expected, strict=True):
        assert np.abs(srgb(pixel[:3] / pixel[3]) / 255 - wanted).max() < 0.01


def test_sliders_and_modes(paint):
    one = [[0, 0, 0]], [[0.2, 0.2, 0.2]], [[*dc(1, 0, 0), 0.5]]
    normal, fainter, larger = paint(one), paint(one, opacity=0.5), paint(one, size=1.5)
    assert fainter[..., 3].max() == pytest.approx(normal[..., 3].max() / 2, abs=0.01)
    assert larger[..., 3].sum() > 1.8 * normal[..., 3].sum() and larger[..., 3].max() < 0.51
    surface, dot = paint(one, mode="ELLIPSOIDS")[..., 3], paint(one, mode="POINTS")[..., 3]
    assert set(np.unique(surface)) == {0.0, 1.0} and set(np.unique(dot)) == {0.0, 1.0}
    assert surface.sum() == pytest.approx(np.pi * (0.3 * SIZE / 2) ** 2, rel=0.1) and 4 <= dot.sum() <= 12
    two = [[-0.5, 0, 0.5]] * 4 + [[0.5, 0, -0.5]] * 4, [[0.2, 0.2, 0.2]] * 8, [[0, 0, 0, 0.99]] * 8
    depth = paint(two, mode="DEPTH")
    assert depth[32, 16, 0] > 0.97 and depth[32, 48, 0] < 0.03 < 0.97 < depth[32, 48, 3]


# ---- against the library's renderer ----------------------------------------------------------------------------------

RENDER = """
import sys, numpy as np, torch
from interngs.render.view import ViewRenderer
from interngs.scene.cameras import Camera
from interngs.scene.gaussians import Gaussians
data = np.load(sys.argv[1])
gaussians = Gaussians(*(data[name] for name in ("means", "quats", "log_scales", "opacity_logits", "sh")))
camera = Camera(data["K"], data["pose"], *(int(each) for each in data["size"]))
picture = ViewRenderer(gaussians, torch.device("cpu")).render(camera)
np.savez(sys.argv[2], rgb=picture.rgb, alpha=picture.alpha)
"""


@pytest.fixture
def library_picture(backend_python, repository, tmp_path):
    """(sRGB over black [H, W, 3], alpha [H, W]) by ``interngs.render``, in the repository's own environment."""
    def render(gaussians, camera):
        given, made = tmp_path / "given.npz", tmp_path / "made.npz"
        np.savez(given, means=gaussians.means, quats=gaussians.quats, log_scales=gaussians.log_scales,
                 opacity_logits=gaussians.opacity_logits, sh=gaussians.sh, K=camera.K, pose=camera.camera_from_world,
                 size=[camera.width_px, camera.height_px])
        subprocess.run([str(backend_python), "-c", RENDER, str(given), str(made)], cwd=repository, check=True,
                       timeout=300)
        with np.load(made) as data:
            return data["rgb"], data["alpha"]
    return render


def some_gaussians(module, count, degree=3, seed=5):
    random = np.random.default_rng(seed)
    quats = random.normal(size=(count, 4)).astype(np.float32)
    bands = random.normal(scale=0.15, size=(count, (degree + 1) ** 2, 3)).astype(np.float32)
    bands[:, 0] = random.normal(scale=0.8, size=(count, 3))
    return module("interngs.scene.gaussians").Gaussians(
        random.normal(size=(count, 3)).astype(np.float32),
        quats / np.linalg.norm(quats, axis=1, keepdims=True),
        random.uniform(-4.5, -1.8, (count, 3)).astype(np.float32),
        random.normal(loc=0.5, scale=2.0, size=count).astype(np.float32), bands)


def finished_picture(contents, view, splats, timeout_s=30.0):
    """What is painted once packing and sorting are done.  Call with a live context."""
    until = time.monotonic() + timeout_s
    while True:
        picture = contents.picture(1, np.float32(view), splats)
        if picture is not None and contents.is_settled:
            return contents.picture(1, np.float32(view), splats)
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def contents(module):
    worker = module("blender_addon.session.worker").NewestWorker()
    yield module("blender_addon.draw.contents").SplatContents(worker)
    worker.close()


def new_splat(module, gaussians, matrix=None):
    arrays = module("blender_addon.scene.splat_arrays").splat_arrays(gaussians, viewing=True)
    made = module("blender_addon.scene.splat_object").create("splat", arrays, bpy.context.scene.collection)
    if matrix is not None:
        made.matrix_world = matrix
    bpy.context.view_layer.update()
    return made


@pytest.mark.parametrize("shift", [0.0, 0.15])
def test_the_same_picture_as_the_library(module, with_gpu, contents, library_picture, shift):
    """Two objects, 10 000 Gaussians of degree 3 in all, one of them moved, turned and scaled; a shifted lens."""
    parts = [some_gaussians(module, 7000), some_gaussians(module, 3000, degree=1, seed=6)]
    matrix = Matrix.Translation((0.4, 0.2, -0.3)) @ Matrix.Rotation(0.7, 4, (1, 2, 3)) @ Matrix.Scale(1.4, 4)
    splats = [new_splat(module, parts[0]), new_splat(module, parts[1], matrix)]
    camera_object = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    bpy.context.scene.collection.objects.link(camera_object)
    camera_object.matrix_world = Matrix.Translation((1, -6, 1.5)) @ Matrix.Rotation(1.35, 4, "X")
    camera_object.data.shift_x = shift
    bpy.context.view_layer.update()
    size = (192, 144)
    projection = camera_object.calc_matrix_camera(bpy.context.evaluated_depsgraph_get(), x=size[0], y=size[1])
    view = camera_object.matrix_world.inverted()
    camera = module("blender_addon.scene.cameras").camera_of_object(camera_object, *size, (1.0, 1.0))

    def work():
        return painted(module, finished_picture(contents, view, splats), projection, size)

    pixels = with_gpu(work)[::-1]
    whole = module("interngs.scene.gaussians").concatenate(
        [parts[0], module("interngs.scene.transforms").transform_gaussians(parts[1], np.array(matrix))])
    rgb, alpha = library_picture(whole, camera)
    covered = np.maximum(pixels[..., 3:], 1e-6)
    seen = srgb(pixels[..., :3] / covered) / 255 * pixels[..., 3:]
    assert alpha.mean() > 0.2
    assert np.abs(seen - rgb).mean() < 2 / 255, np.abs(seen - rgb).mean() * 255
    assert np.abs(pixels[..., 3] - alpha).mean() < 2 / 255


# ---- what is read, and when ------------------------------------------------------------------------------------------

def test_only_what_changed_is_read_again_and_sorted_again(module, with_gpu, contents, monkeypatch):
    import gpu

    put = []
    original = contents._worker.put
    monkeypatch.setattr(contents._worker, "put", lambda key, work: put.append(key) or original(key, work))
    one, two = new_splat(module, some_gaussians(module, 500)), new_splat(module, some_gaussians(module, 300, 0))
    view = np.array(Matrix.Translation((0, 0, -5)))

    def work():
        first = finished_picture(contents, view, [one, two])
        assert first.count == 800 and put == ["pack"]
        finished_picture(contents, np.array(Matrix.Translation((0.5, 0.2, -7))), [one, two])
        assert put == ["pack"]  # moved without a turn: the order stays
        finished_picture(contents, np.array(Matrix.Rotation(0.3, 4, "X")), [one, two])
        assert put == ["pack", ("sort", 1)]
        hidden = finished_picture(contents, view, [two])
        assert hidden.count == 300 and "pack" not in put[1:]
        two.location.x = 3
        bpy.context.view_layer.update()
        assert finished_picture(contents, view, [one, two]).views[1][0, 3] == 3 and "pack" not in put[1:]
        put.clear()
        arrays = module("blender_addon.scene.splat_arrays").splat_arrays(some_gaussians(module, 200, 0, 9), True)
        module("blender_addon.scene.splat_object").update(two, arrays)
        again = finished_picture(contents, view, [one, two])
        assert again.count == 700 and "pack" in put and isinstance(again.splats, gpu.types.GPUTexture)

    with_gpu(work)


def test_many_attributes_are_read_over_several_turns(module, with_gpu, contents, monkeypatch):
    monkeypatch.setattr(module("blender_addon.draw.contents"), "READ_S", 0.0)
    arrays, objects = module("blender_addon.scene.splat_arrays"), module("blender_addon.scene.splat_object")
    one, two = new_splat(module, some_gaussians(module, 500)), new_splat(module, some_gaussians(module, 300, 0))
    view = np.array(Matrix.Translation((0, 0, -5)), np.float32)

    def work():
        turns = 0
        assert contents.picture(1, view, [one, two]) is None and contents.is_reading
        while contents.is_reading:
            turns += 1
            if turns == 3:      # it changes while it is being read: its count, then its values alone
                objects.update(two, arrays.splat_arrays(some_gaussians(module, 200, 0, 1), True))
            if turns == 5:
                objects.update(two, arrays.splat_arrays(some_gaussians(module, 200, 0, 2), True))
                contents.mark_stale(two.data.session_uid)
            contents.read_on()
        assert turns >= 4
        assert finished_picture(contents, view, [one, two]).count == 700
        positions = np.concatenate(contents._contents.positions)
        np.testing.assert_array_equal(positions[-200:], some_gaussians(module, 200, 0, 2).means)

    with_gpu(work)


def test_what_goes_while_it_is_read_is_forgotten(module, contents, monkeypatch):
    monkeypatch.setattr(module("blender_addon.draw.contents"), "READ_S", 0.0)
    made, other = new_splat(module, some_gaussians(module, 500)), new_splat(module, some_gaussians(module, 50))
    contents.picture(1, np.eye(4, dtype=np.float32), [made, other])
    assert contents.is_reading
    other.data.attributes.remove(other.data.attributes["scale"])
    bpy.data.objects.remove(made)
    contents.read_on()
    assert not contents.is_reading


def test_deleted_undone_and_reloaded_objects(module, with_gpu, contents, tmp_path):
    bpy.ops.ed.undo_push(message="empty")
    made = new_splat(module, some_gaussians(module, 400))
    name, view = made.name, np.array(Matrix.Translation((0, 0, -5)))
    bpy.ops.ed.undo_push(message="made")

    def shown():
        splats = [each for each in bpy.data.objects if each.interngs_splat.is_splat]
        return with_gpu(lambda: finished_picture(contents, view, splats).count if splats
                        else contents.picture(1, np.float32(view), []))

    assert shown() == 400
    bpy.ops.ed.undo()
    contents.mark_stale()
    assert name not in bpy.data.objects and shown() is None
    bpy.ops.ed.redo()
    contents.mark_stale()
    assert shown() == 400
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "splat.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "splat.blend"))
    contents.clear()
    assert shown() == 400
    bpy.data.objects.remove(bpy.data.objects[name])
    assert shown() is None


def test_changes_of_the_data_are_noticed(module, monkeypatch):
    preview = module("blender_addon.draw.preview")
    noticed = []
    monkeypatch.setattr(preview.preview().contents, "mark_stale", lambda data_id=None: noticed.append(data_id))
    made = new_splat(module, some_gaussians(module, 100))
    noticed.clear()
    made.location.x = 1
    bpy.context.view_layer.update()
    assert made.data.session_uid not in noticed
    arrays = module("blender_addon.scene.splat_arrays").splat_arrays(some_gaussians(module, 100, 0, 2), True)
    module("blender_addon.scene.splat_object").update(made, arrays)
    bpy.context.view_layer.update()
    assert made.data.session_uid in noticed
