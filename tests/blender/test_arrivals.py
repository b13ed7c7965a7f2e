# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians from the backend come into the scene over several turns: whole, once, and with nothing left behind."""

import time

import bpy
import numpy as np
import pytest

pytestmark = [pytest.mark.blender, pytest.mark.usefixtures("addon")]


@pytest.fixture
def arrivals(module, monkeypatch):
    """As the session has it; each turn writes one attribute."""
    arrivals_module = module("blender_addon.session.arrivals")
    monkeypatch.setattr(arrivals_module, "WRITE_S", 0.0)
    bpy.context.scene.interngs.job.job_id = "job"
    made = arrivals_module.Arrivals()
    yield made
    made.close()


@pytest.fixture
def gaussians(module):
    def make(count):
        quats = np.tile(np.float32([1, 0, 0, 0]), (count, 1))
        return module("interngs.scene.gaussians").Gaussians(
            np.float32(np.arange(3 * count).reshape(count, 3)), quats, np.zeros((count, 3), np.float32),
            np.zeros(count, np.float32), np.zeros((count, 1, 3), np.float32))
    return make


def turns(arrivals, splats, job="job"):
    """Pump to the end; what each turn that did something left in the scene."""
    seen, until = [], time.monotonic() + 20
    while not arrivals.is_idle:
        ready = arrivals.pump("server")
        if arrivals.is_writing or ready is not None:
            seen.append(splats.find(job))
        assert time.monotonic() < until
    return seen


def leftovers():
    blocks = (*bpy.data.pointclouds, *bpy.data.meshes)
    return [each.name for each in blocks if "arriving" in each.name or not each.users]


def test_shown_once_all_is_written(arrivals, splats, gaussians):
    arrivals.put("job", "PREVIEW", 1, gaussians(50))
    seen = turns(arrivals, splats)
    assert len(seen) > 5 and not any(seen[:-1]), "nothing is seen of it before"
    assert len(splats.read(seen[-1])) == 50 and seen[-1].interngs_splat.step == 1
    arrivals.put("job", "FINAL", 2, gaussians(60), {"a": 1})
    again = turns(arrivals, splats)
    assert {each.name for each in again} == {seen[-1].name}
    assert [len(splats.read(each)) for each in again[-1:]] == [60] and again[-1].interngs_splat.state == "FINAL"
    assert not leftovers()


def test_linked_copies_and_materials_follow(arrivals, splats, gaussians):
    arrivals.put("job", "PREVIEW", 1, gaussians(50))
    splat = turns(arrivals, splats)[-1]
    copy, name = splat.copy(), splat.data.name
    copy.interngs_splat.job_id = ""
    bpy.context.scene.collection.objects.link(copy)
    splat.data.materials.append(bpy.data.materials.new("artist's own"))
    arrivals.put("job", "PREVIEW", 2, gaussians(60))
    turns(arrivals, splats)
    assert copy.data == splat.data and splat.data.name == name and len(splats.read(copy)) == 60
    assert splat.data.materials[-1].name == "artist's own" and not leftovers()


@pytest.mark.parametrize("gone", [False, True])
def test_undo_in_the_middle_begins_again(arrivals, splats, gaussians, gone):
    arrivals.put("job", "FINAL", 1, gaussians(50))
    until = time.monotonic() + 20
    while arrivals._write is None:
        arrivals.pump("server")
        assert time.monotonic() < until
    arrivals.pump("server")
    if gone:        # undo took it out of the file
        blocks = bpy.data.meshes if arrivals._write._is_mesh else bpy.data.pointclouds
        blocks.remove(blocks[arrivals._write._name])
    arrivals.undone()
    assert len(splats.read(turns(arrivals, splats)[-1])) == 50
    assert not leftovers()


def test_another_file_in_the_middle(arrivals, splats, gaussians):
    arrivals.put("job", "FINAL", 1, gaussians(50))
    until = time.monotonic() + 20
    while arrivals._write is None:
        arrivals.pump("server")
        assert time.monotonic() < until
    bpy.ops.wm.read_homefile(use_empty=True)
    arrivals.file_loaded()
    assert arrivals.is_idle and arrivals.pump("server") is None and not leftovers()


def test_deleted_and_edited_objects_are_left_alone(arrivals, splats, gaussians, module):
    state = module("blender_addon.session.state").session_state
    arrivals.put("job", "PREVIEW", 1, gaussians(50))
    splat = turns(arrivals, splats)[-1]
    bpy.context.view_layer.objects.active = splat
    bpy.ops.object.mode_set(mode="EDIT")
    arrivals.put("job", "PREVIEW", 2, gaussians(60))
    turns(arrivals, splats)
    bpy.ops.object.mode_set(mode="OBJECT")
    assert len(splats.read(splat)) == 50 and splat.interngs_splat.step == 1
    bpy.data.objects.remove(splat)
    arrivals.put("job", "PREVIEW", 3, gaussians(60))
    turns(arrivals, splats)
    assert splats.find("job") is None and "job" in state().hidden_jobs
    arrivals.show_again("job")
    arrivals.put("job", "PREVIEW", 4, gaussians(60))
    assert len(splats.read(turns(arrivals, splats)[-1])) == 60
