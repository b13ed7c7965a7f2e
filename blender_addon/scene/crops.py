# SPDX-License-Identifier: GPL-3.0-or-later
"""Crop objects: empties and meshes whose box or ellipsoid cuts a splat."""

from __future__ import annotations

from typing import Literal

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from ...interngs.scene.clean import box_matrix
from ...interngs.scene.marks import Region
from .splat_object import read_attribute

CropShape = Literal["box", "sphere"]
EMPTY_DISPLAY = {"box": "CUBE", "sphere": "SPHERE"}
MIDDLE_SHARE = 0.98
"""A new crop holds this share of the Gaussians along each axis."""


def world_from_region(crop: bpy.types.Object) -> NDArray[np.float64]:
    """[4, 4] from the cube -1..1 (or the unit ball) to the world, for an empty as it is drawn or a mesh's bounds."""
    matrix = np.array(crop.matrix_world, np.float64)
    if crop.type == "EMPTY":
        size = crop.empty_display_size
        return matrix @ np.diag([size, size, size, 1.0])
    corners = np.array([tuple(corner) for corner in crop.bound_box], np.float64)
    return matrix @ box_matrix(corners.min(axis=0), corners.max(axis=0))


def region_of(splat: bpy.types.Object, crop: bpy.types.Object | None, keep: str) -> Region | None:
    """A crop object as a region in the splat's own space; None without one."""
    if crop is None or crop.name not in bpy.context.scene.objects:
        return None
    splat_from_world = np.linalg.inv(np.array(splat.matrix_world, np.float64))
    return Region(splat_from_world @ world_from_region(crop), keep == "INSIDE")


def add_crop(splat: bpy.types.Object, shape: CropShape) -> bpy.types.Object:
    """A new empty round most of a splat, parented to it so that it follows, bound as its box or sphere."""
    positions = read_attribute(splat.data, "position").reshape(-1, 3)
    low, high = np.full(3, -1.0), np.full(3, 1.0)
    if len(positions):
        rest = (1 - MIDDLE_SHARE) / 2
        low, high = np.quantile(positions, [rest, 1 - rest], axis=0)
    half = np.maximum((high - low) / 2, 1e-6)
    if shape == "sphere":
        half[:] = np.linalg.norm(half)
    empty = bpy.data.objects.new(f"{splat.name} {shape}", None)
    empty.empty_display_type, empty.empty_display_size = EMPTY_DISPLAY[shape], 1.0
    for collection in splat.users_collection:
        collection.objects.link(empty)
    empty.parent = splat
    empty.matrix_basis = Matrix.LocRotScale(Vector((low + high) / 2), None, Vector(half))
    setattr(splat.interngs_clean, shape, empty)
    return empty
