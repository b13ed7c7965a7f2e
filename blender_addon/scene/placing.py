# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves a splat as an object, together with its cameras where they hang on the same parent, and moves its origin."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...interngs.scene.pick import seen_point
from ...interngs.scene.placement import base_matrix
from .result_cameras import splat_since_training
from .splat_arrays import BASE
from .splat_edit import keep_children
from .splat_object import read_attribute

OPAQUE_ENOUGH = 0.3


def moved_object(splat: bpy.types.Object, with_cameras: bool) -> bpy.types.Object:
    """What is moved when a splat is placed: itself, or the empty that it and its cameras hang on."""
    parent = splat.parent
    return parent if with_cameras and parent is not None and parent.type == "EMPTY" else splat


def move_in_world(moved: bpy.types.Object, new_from_old: NDArray[np.float64]) -> None:
    """Move an object by a matrix in world space."""
    moved.matrix_world = Matrix((new_from_old @ np.array(moved.matrix_world, np.float64)).tolist())


def about(pivot: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """``matrix`` [4, 4] about a pivot point [3] in place of the origin."""
    there, back = np.eye(4), np.eye(4)
    there[:3, 3], back[:3, 3] = pivot, -pivot
    return there @ matrix @ back


def world_positions(splat: bpy.types.Object, opaque_only: bool = False) -> NDArray[np.float64]:
    """[N, 3] centres in world space."""
    positions = read_attribute(splat.data, "position").reshape(-1, 3)
    if opaque_only:
        opacity = read_attribute(splat.data, BASE).reshape(-1, 4)[:, 3]
        positions = positions[opacity >= min(OPAQUE_ENOUGH, float(np.median(opacity)) if len(opacity) else 0)]
    matrix = np.array(splat.matrix_world, np.float64)
    return positions @ matrix[:3, :3].T + matrix[:3, 3]


def origin_to_base(splat: bpy.types.Object) -> None:
    """Put the object's origin at the middle of the splat's base; nothing moves in the world.

    Raises:
        InputError: there are no Gaussians.
    """
    if splat.data.users > 1:
        splat.data = splat.data.copy()
    world = np.array(splat.matrix_world, np.float64)
    base = -base_matrix(world_positions(splat))[:3, 3]
    local = (np.linalg.inv(world) @ [*base, 1.0])[:3]
    positions = read_attribute(splat.data, "position").reshape(-1, 3)
    splat.data.attributes["position"].data.foreach_set("vector", (positions - local).astype(np.float32).reshape(-1))
    splat.data.update_tag()
    new_from_old = np.eye(4)
    new_from_old[:3, 3] = -local
    keep_children(splat, new_from_old)
    splat.interngs_place.splat_from_training = (new_from_old @ splat_since_training(splat)).ravel()
    splat.matrix_world = Matrix((world @ np.linalg.inv(new_from_old)).tolist())


class Picker:
    """Picks points on a splat's surface; reads its Gaussians once."""

    def __init__(self, splat: bpy.types.Object) -> None:
        data = splat.data
        self._world = np.array(splat.matrix_world, np.float64)
        self._arrays = (read_attribute(data, "position").reshape(-1, 3),
                        read_attribute(data, "rotation").reshape(-1, 4),
                        read_attribute(data, "scale").reshape(-1, 3),
                        read_attribute(data, BASE).reshape(-1, 4)[:, 3])

    def pick(self, origin: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The surface point [3] along a ray, all in world space; None where the splat is not there."""
        splat_from_world = np.linalg.inv(self._world)
        found = seen_point(*self._arrays, splat_from_world[:3, :3] @ origin + splat_from_world[:3, 3],
                           splat_from_world[:3, :3] @ direction)
        return None if found is None else self._world[:3, :3] @ found + self._world[:3, 3]
