# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on against real backend processes: whole jobs, and everything that may come between."""

import json
import threading
import time
from socket import socket

import bpy
import numpy as np
import pytest

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]


@pytest.fixture
def session(module):
    return module("blender_addon.session.session").session()


@pytest.fixture
def state(module):
    return module("blender_addon.session.state").session_state


@pytest.fixture
def pump(session, state):
    """Turn the pump, which Blender's timer does in a window, until something holds."""
    def until(condition, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            session.pump()
            time.sleep(0.01)
            assert time.monotonic() < deadline, (state().link, state().error, state().jobs, state().waiting)
    return until


@pytest.fixture
def scene(tmp_path):
    """A saved scene with three captured photographs of a cube."""
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_cube_add()
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 4, False
    scene.world = scene.world or bpy.data.worlds.new("world")
    settings = scene.interngs
    settings.rig.count, settings.rig.span = 3, 0.5
    bpy.ops.interngs.add_rig()
    settings.capture.width_px, settings.capture.height_px = 96, 72
    settings.capture.folder, settings.capture.mask = str(tmp_path / "capture"), True
    bpy.ops.interngs.capture()
    settings.job.preset, settings.job.title = "draft", "Cube"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "cube.blend"))
    return bpy.context.scene


@pytest.fixture
def short_jobs(module, monkeypatch):
    """Few Gaussians and steps of a set length for the stand-in pipeline."""
    jobs = module("blender_addon.ops.jobs")
    original = jobs.job_settings

    def use(step_s=0.005, steps=60):
        monkeypatch.setenv("STAND_IN_STEP_S", str(step_s))
        monkeypatch.setattr(jobs, "job_settings", lambda scene: original(scene) | {
            "seeding": {"max_seeds": 3000},
            "optimise": {"steps": steps, "checkpoint_every_steps": 10, "pseudo_views": 4}})

    use()
    return use


def connect(module, server, pump, state):
    preferences = module("blender_addon.preferences").preferences()
    preferences.servers.clear()
    preferences.servers.add().address = server.address
    preferences.active_server = 0
    bpy.ops.interngs.connect()
    pump(lambda: state().link.phase == "connected")


def splat_of(module):
    return module("blender_addon.scene.splat_object").find(bpy.context.scene.interngs.job.job_id)


def job_of(state):
    return state().job(bpy.context.scene.interngs.job.job_id)


def captured(module):
    """Camera and alpha [H, W] of each photograph."""
    photographs = module("blender_addon.scene.photographs")
    for row in bpy.context.scene.interngs.photos:
        image = bpy.data.images.load(bpy.path.abspath(row.path))
        pixels = np.empty(row.height_px * row.width_px * 4, np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
        yield (photographs.camera_of_row(bpy.context.scene, row),
               pixels.reshape(row.height_px, row.width_px, 4)[::-1, :, 3])


def test_a_whole_job_from_scene_capture_to_point_cloud(module, new_server, pump, state, scene, short_jobs):
    """The real pipeline on the CPU; the Gaussians lie on the cube that was captured."""
    connect(module, new_server(real=True), pump, state)
    bpy.ops.interngs.estimate()
    pump(lambda: state().preflight is not None)
    assert state().preflight.ok and state().preflight.seconds > 0
    scene.interngs.job.geometry = "given-depth"
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None and splat_of(module).interngs_splat.state == "FINAL", 280)
    splat = splat_of(module)
    gaussians = module("blender_addon.scene.splat_object").read(splat)
    assert splat.name.startswith("Cube")
    assert len(gaussians) > 200
    report = json.loads(splat.interngs_splat.report_json)
    # What the captured depth gave lies on the cube; the rest was filled in behind its edges.
    from_depth = report["seeding"]["kept"] - report["seeding"]["filled"]
    on_cube = np.abs(np.abs(gaussians.means).max(axis=1) - 1.0) < 0.1
    assert from_depth > 100 and on_cube.sum() > 0.8 * from_depth
    assert min(view["confirmed_share"] for view in report["geometry"]["views"]) > 0.99
    assert job_of(state).state == "done" and state().error is None
    assert report["geometry"]["method"] == "given-depth"
    facts = dict(module("blender_addon.scene.splat_facts").splat_facts(splat))
    assert facts["State"] == "Finished" and facts["Geometry"] == "Captured depth"
    for camera, alpha in captured(module):
        drawn = module("interngs.scene.thumbnail").render_by_numpy(gaussians, camera)[..., 3]
        # A mask alone, which says nothing of what it leaves out, lets four fifths of it be covered.
        assert drawn[alpha < 0.01].mean() < 0.15, "what is known to be empty stays empty"
        assert drawn[alpha > 0.99].mean() > 0.8
    given = {row.name: row.camera for row in bpy.context.scene.interngs.photos}
    bpy.context.view_layer.objects.active = splat
    bpy.ops.interngs.add_result_cameras()
    bpy.context.view_layer.update()
    for name, camera in given.items():
        again = next(each for each in splat.parent.children if each.name.startswith(name))
        assert np.allclose(again.matrix_world, camera.matrix_world, atol=1e-5)
        assert again.data.background_images[0].image is not None


def test_live_previews_then_the_result_without_leaks(module, new_server, pump, state, session, scene, short_jobs):
    short_jobs(step_s=0.05, steps=120)
    connect(module, new_server(), pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None)
    splat = splat_of(module)
    assert splat.interngs_splat.state == "PREVIEW"
    pump(lambda: job_of(state).job_id in state().progress)
    steps = {splat.interngs_splat.step}
    pump(lambda: steps.add(splat_of(module).interngs_splat.step) or len(steps) > 2)
    pump(lambda: splat_of(module).interngs_splat.state == "FINAL")
    assert splat_of(module) == splat
    read = module("blender_addon.scene.splat_object").read(splat)
    assert read.means[0, 0] == 120 and read.sh_degree == 1
    data = bpy.data.pointclouds if splat.type == "POINTCLOUD" else bpy.data.meshes
    assert [each.name for each in data if each.name.startswith("Cube") and each.name != "Cube"] in ([], ["Cube.001"])
    assert not [each for each in data if each.users == 0]
    assert state().error is None


def test_pause_resume_cancel_discard(module, new_server, pump, state, scene, short_jobs):
    short_jobs(step_s=0.05, steps=100)
    connect(module, new_server(), pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: job_of(state) is not None and job_of(state).state == "training")
    assert not bpy.ops.interngs.reconstruct.poll()
    job_id = job_of(state).job_id
    bpy.ops.interngs.command_job(job_id=job_id, command="pause")
    pump(lambda: job_of(state).state == "paused")
    bpy.ops.interngs.command_job(job_id=job_id, command="resume")
    pump(lambda: job_of(state).state == "training")
    bpy.ops.interngs.command_job(job_id=job_id, command="cancel")
    pump(lambda: job_of(state).state == "cancelled")
    pump(lambda: splat_of(module) is not None and splat_of(module).interngs_splat.state == "PARTIAL")
    bpy.ops.interngs.command_job(job_id=job_id, command="discard")
    pump(lambda: job_of(state) is None)
    assert splat_of(module) is not None


def test_the_backend_is_killed_in_mid_job_and_started_again(module, new_server, pump, state, scene, short_jobs):
    short_jobs(step_s=0.05, steps=100)
    server = new_server()
    connect(module, server, pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None and job_of(state).state == "training")
    server.kill()
    pump(lambda: state().link.phase == "lost")
    words, _ = module("blender_addon.session.wording").connection(state().link)
    assert words.startswith("Lost")
    server.start()
    pump(lambda: state().link.phase == "connected")
    assert state().link.restarted
    pump(lambda: splat_of(module).interngs_splat.state == "FINAL", 120)


def test_another_file_in_mid_job_then_back(module, new_server, pump, state, scene, short_jobs):
    short_jobs(step_s=0.05, steps=100)
    connect(module, new_server(), pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None)
    file, job_id = bpy.data.filepath, bpy.context.scene.interngs.job.job_id
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_homefile(use_empty=True)
    until = time.monotonic() + 1.0
    pump(lambda: time.monotonic() > until)
    assert not bpy.data.objects and state().link.is_up and state().error is None
    bpy.ops.wm.open_mainfile(filepath=file)
    assert bpy.context.scene.interngs.job.job_id == job_id
    pump(lambda: splat_of(module).interngs_splat.state == "FINAL", 120)


def test_attach_to_a_finished_job_after_blender_was_closed(module, addon, new_server, pump, state, scene, short_jobs):
    server = new_server()
    connect(module, server, pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: bpy.context.scene.interngs.job.job_id and job_of(state).state not in ("uploading",))
    job_id = bpy.context.scene.interngs.job.job_id
    bpy.ops.wm.read_homefile(use_empty=True)
    addon.unregister()
    addon.register()
    session = module("blender_addon.session.session").session()
    connect(module, server, lambda condition: _turn(session, condition), state)
    _turn(session, lambda: state().job(job_id) is not None and state().job(job_id).state == "done")
    assert not bpy.data.objects
    bpy.ops.interngs.watch_job(job_id=job_id)
    _turn(session, lambda: splat_of(module) is not None and splat_of(module).interngs_splat.state == "FINAL")
    assert len(module("blender_addon.scene.splat_object").read(splat_of(module))) == 3000


def _turn(session, condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        session.pump()
        time.sleep(0.01)
        assert time.monotonic() < deadline


def test_disabling_in_mid_job_ends_cleanly_in_under_two_seconds(module, addon, new_server, pump, state, scene,
                                                                short_jobs):
    short_jobs(step_s=0.05, steps=100)
    connect(module, new_server(), pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None)
    began = time.perf_counter()
    addon.unregister()
    assert time.perf_counter() - began < 2.0
    assert not [each for each in threading.enumerate() if each.name.startswith("interngs")]
    assert not hasattr(bpy.types.Scene, "interngs")
    addon.register()
    assert bpy.context.scene.interngs.job.title == "Cube"


def test_a_deleted_object_is_not_forced_back(module, new_server, pump, state, session, scene, short_jobs):
    short_jobs(step_s=0.05, steps=100)
    connect(module, new_server(), pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None)
    job_id = bpy.context.scene.interngs.job.job_id
    bpy.data.objects.remove(splat_of(module))
    pump(lambda: session.object_is_gone(job_id))
    until = time.monotonic() + 0.5
    pump(lambda: time.monotonic() > until)
    assert splat_of(module) is None
    bpy.ops.interngs.watch_job(job_id=job_id)
    pump(lambda: splat_of(module) is not None)


def test_live_updates_push_no_undo_and_undo_does_not_break_them(module, new_server, pump, state, scene, short_jobs):
    short_jobs(step_s=0.05, steps=100)
    bpy.ops.ed.undo_push(message="before")
    connect(module, new_server(), pump, state)
    scene = bpy.context.scene
    scene.interngs.job.preset = "draft"
    bpy.ops.ed.undo_push(message="preset")
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None)
    step = splat_of(module).interngs_splat.step
    pump(lambda: splat_of(module).interngs_splat.step > step)
    bpy.ops.ed.undo_push(message="artist's own work")
    pump(lambda: splat_of(module).interngs_splat.step > step + 20)
    bpy.ops.ed.undo()
    job_id = next(iter(state().jobs)).job_id
    if bpy.context.scene.interngs.job.job_id != job_id:
        bpy.ops.interngs.watch_job(job_id=job_id)
    pump(lambda: splat_of(module) is not None and splat_of(module).interngs_splat.state == "FINAL", 120)
    assert state().error is None


def test_the_splat_follows_the_cameras_parent(module, new_server, pump, state, scene, short_jobs):
    empty = bpy.data.objects.new("frame", None)
    bpy.context.scene.collection.objects.link(empty)
    empty.location = (1, 2, 3)
    bpy.context.view_layer.update()
    for row in bpy.context.scene.interngs.photos:
        row.camera.parent = empty
        row.camera.matrix_parent_inverse = empty.matrix_world.inverted()
    connect(module, new_server(), pump, state)
    bpy.ops.interngs.reconstruct()
    pump(lambda: splat_of(module) is not None)
    bpy.context.view_layer.update()
    assert splat_of(module).parent == empty and np.allclose(splat_of(module).matrix_world, np.eye(4), atol=1e-6)
    empty.location.x += 1
    bpy.context.view_layer.update()
    assert np.allclose(splat_of(module).matrix_world.translation, (1, 0, 0), atol=1e-6)


def test_a_failed_job_says_why_in_words(module, new_server, pump, state, scene, short_jobs):
    connect(module, new_server(), pump, state)
    bpy.context.scene.interngs.job.seed = 1001
    bpy.ops.interngs.reconstruct()
    pump(lambda: job_of(state) is not None and job_of(state).state == "failed")
    assert job_of(state).error.cause == "The stand-in does not like this capture."


def test_no_backend_means_lost_and_retrying_never_waiting(module, pump, state, session):
    module("blender_addon.preferences").preferences().servers[0].address = "tcp://127.0.0.1:9"
    began = time.perf_counter()
    bpy.ops.interngs.connect()
    session.pump()
    assert time.perf_counter() - began < 0.5
    pump(lambda: state().link.phase == "lost")
    assert state().link.retry_in_s is not None and state().link.error is not None
    assert not bpy.ops.interngs.reconstruct.poll() and not bpy.ops.interngs.connect.poll()
    bpy.ops.interngs.disconnect()
    pump(lambda: state().link.phase == "idle")


def test_another_computer_needs_online_access(module, state):
    module("blender_addon.preferences").preferences().servers[0].address = "tcp://192.0.2.7:47800"
    assert not bpy.app.online_access
    with pytest.raises(RuntimeError, match="offline"):
        bpy.ops.interngs.connect()
    assert state().error.code == "offline" and "Online Access" in state().error.remedy


def test_start_stop_and_log_of_a_local_backend(module, pump, state, session, scene, repository, tmp_path,
                                                monkeypatch):
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("INTERNGS_SERVER_DIR", str(tmp_path / "server"))
    preferences = module("blender_addon.preferences").preferences()
    preferences.servers[0].address = f"tcp://127.0.0.1:{port}"
    preferences.backend_home = str(tmp_path)
    with pytest.raises(RuntimeError, match="no Intern-GS backend"):
        bpy.ops.interngs.start_local_backend()
    preferences.backend_home = str(repository)
    preferences.backend_store = str(tmp_path / "store")
    bpy.ops.interngs.start_local_backend()
    pump(lambda: state().link.phase == "connected")
    pump(lambda: any("listens on" in line for line in session.local.log))   # its own thread reads what it writes
    assert not bpy.ops.interngs.start_local_backend.poll()
    bpy.ops.interngs.stop_local_backend()
    pump(lambda: not session.local.is_running)
    assert session.local.exit_code == 0 and state().link.phase == "idle"


def test_pairing_with_a_server_that_asks_for_keys(module, new_server, pump, state):
    server = new_server(require_keys=True)
    module("blender_addon.preferences").preferences().servers[0].address = server.address
    bpy.ops.interngs.connect()
    pump(lambda: state().link.phase == "refused")
    assert state().error is not None
    bpy.context.window_manager.interngs.pairing = server.pairing_line()
    bpy.ops.interngs.pair()
    pump(lambda: state().link.phase == "connected")
    assert bpy.context.window_manager.interngs.pairing == ""
