# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's own projection matrix is what our intrinsics are held to."""

import itertools

import bpy
import numpy as np
import pytest

pytestmark = pytest.mark.blender

SIZES = [(400, 300), (300, 400), (256, 256)]
ASPECTS = [(1.0, 1.0), (2.0, 1.0), (1.0, 1.5)]
SHIFTS = [(0.0, 0.0), (0.17, -0.23)]
FITS = ["AUTO", "HORIZONTAL", "VERTICAL"]


def blender_K(camera_object, width, height, aspect):
    """K out of Blender's projection matrix (NDC y up, image y down)."""
    graph = bpy.context.evaluated_depsgraph_get()
    matrix = np.array(camera_object.evaluated_get(graph).calc_matrix_camera(
        graph, x=width, y=height, scale_x=aspect[0], scale_y=aspect[1]))
    return np.array([[matrix[0, 0] * width / 2, 0, width / 2 - matrix[0, 2] * width / 2],
                     [0, matrix[1, 1] * height / 2, height / 2 + matrix[1, 2] * height / 2], [0, 0, 1]])


def new_camera(**values):
    data = bpy.data.cameras.new("probe")
    for name, value in values.items():
        setattr(data, name, value)
    found = bpy.data.objects.new("probe", data)
    bpy.context.scene.collection.objects.link(found)
    return found


@pytest.mark.parametrize("size, aspect, shift, fit", list(itertools.product(SIZES, ASPECTS, SHIFTS, FITS)))
def test_intrinsics_equal_blenders_projection(module, size, aspect, shift, fit):
    cameras = module("blender_addon.scene.cameras")
    probe = new_camera(lens=35.0, sensor_width=32.0, sensor_height=20.0, sensor_fit=fit,
                       shift_x=shift[0], shift_y=shift[1])
    bpy.context.view_layer.update()
    ours = cameras.camera_of_object(probe, *size, aspect)
    assert np.allclose(ours.K, blender_K(probe, *size, aspect), atol=2e-3)


def test_a_camera_object_made_from_a_record_gives_the_record_back(module):
    cameras = module("blender_addon.scene.cameras")
    record_type = module("interngs.scene.cameras").Camera
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
    pose[:3, 3] = (0.3, -2.0, 5.0)
    K = np.array([[812.3, 0, 301.7], [0, 640.9, 255.1], [0, 0, 1]])
    record = record_type(K, pose, 640, 480)
    made = cameras.new_camera_object("photo", record, bpy.context.scene.collection)
    bpy.context.view_layer.update()
    back = cameras.camera_of_object(made, 640, 480, (1.0, 1.0))
    assert np.allclose(back.K, K, atol=1e-3)
    assert np.allclose(back.camera_from_world, pose, atol=1e-5)


def test_constraints_and_parents_count_and_scale_does_not(module):
    cameras = module("blender_addon.scene.cameras")
    probe, parent = new_camera(), bpy.data.objects.new("parent", None)
    bpy.context.scene.collection.objects.link(parent)
    parent.location, parent.scale = (1, 2, 3), (2, 2, 2)
    probe.parent = parent
    probe.location = (1, 0, 0)
    bpy.context.view_layer.update()
    ours = cameras.camera_of_object(probe, 100, 100, (1.0, 1.0))
    assert np.allclose(ours.centre, (3, 2, 3), atol=1e-6)
    assert np.allclose(ours.forward, (0, 0, -1), atol=1e-6)


@pytest.mark.parametrize("values, scale, code", [
    ({"type": "ORTHO"}, (1, 1, 1), "camera-not-perspective"),
    ({"type": "PANO"}, (1, 1, 1), "camera-not-perspective"),
    ({}, (-1, 1, 1), "camera-sheared"),
    ({}, (0, 1, 1), "camera-no-scale")])
def test_what_is_no_pinhole_camera_is_refused(module, values, scale, code):
    cameras, errors = module("blender_addon.scene.cameras"), module("interngs.errors")
    probe = new_camera(**values)
    probe.scale = scale
    bpy.context.view_layer.update()
    with pytest.raises(errors.InputError) as refused:
        cameras.camera_of_object(probe, 100, 100, (1.0, 1.0))
    assert refused.value.code == code
