# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a splat object's Gaussians that keep everything else: a subset of them, or all of them transformed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...interngs.scene.transforms import transform_gaussians
from .result_cameras import splat_since_training
from .splat_arrays import SH_PREFIX, SplatArrays, gaussians_from_arrays, splat_arrays
from .splat_object import OWN, read_attribute, update, wants_viewing_attributes

OTHER_TYPES: dict[str, tuple[str, int, type]] = {
    "FLOAT": ("value", 1, np.float32), "INT": ("value", 1, np.int32), "BOOLEAN": ("value", 1, np.bool_),
    "FLOAT_VECTOR": ("vector", 3, np.float32), "FLOAT2": ("vector", 2, np.float32),
    "FLOAT_COLOR": ("color", 4, np.float32), "BYTE_COLOR": ("color", 4, np.float32),
    "QUATERNION": ("value", 4, np.float32), "FLOAT4": ("vector", 4, np.float32), "INT8": ("value", 1, np.int8),
    "INT32_2D": ("value", 2, np.int32), "FLOAT4X4": ("value", 16, np.float32)}
"""How attributes that an artist added are read and written: property, components, type."""


def is_own(name: str) -> bool:
    """Whether an attribute is one of the splat's."""
    return name in OWN or name.startswith(SH_PREFIX)


def own_arrays(data: bpy.types.ID) -> dict[str, NDArray[np.float32]]:
    """The splat's attributes, as they are."""
    return {attribute.name: read_attribute(data, attribute.name) for attribute in data.attributes
            if is_own(attribute.name)}


@dataclass(frozen=True, eq=False)
class AllArrays:
    """Everything that a splat's points carry.

    Attributes:
        own: the splat's attributes, as they are.
        others: the artist's own, by name: type and values [N, components].
    """

    own: dict[str, NDArray[np.float32]]
    others: dict[str, tuple[str, NDArray[np.generic]]]

    def subset(self, kept: NDArray[np.bool_] | NDArray[np.integer]) -> AllArrays:
        """What a mask or indices pick, bit for bit; any thread."""
        index = np.flatnonzero(kept) if kept.dtype == bool else kept
        return AllArrays({name: np.take(array, index, axis=0) for name, array in self.own.items()},
                         {name: (kind, np.take(array, index, axis=0)) for name, (kind, array) in self.others.items()})


def read_all(splat: bpy.types.Object) -> AllArrays:
    """Read a splat's points."""
    others = {}
    for attribute in splat.data.attributes:
        known = OTHER_TYPES.get(attribute.data_type)
        if not is_own(attribute.name) and known is not None and attribute.domain == "POINT" and (
                not attribute.name.startswith(".")):
            prop, width, dtype = known
            values = np.empty(len(attribute.data) * width, dtype)
            attribute.data.foreach_get(prop, values)
            others[attribute.name] = attribute.data_type, values.reshape(-1, width)
    return AllArrays(own_arrays(splat.data), others)


def show_subset(splat: bpy.types.Object, arrays: AllArrays) -> int:
    """Give a splat fewer points; a linked copy of the data keeps its own.  Returns how many there are now."""
    count = len(arrays.own["position"])
    if splat.data.users > 1:
        splat.data = splat.data.copy()
    update(splat, SplatArrays(count, arrays.own))
    for name, (kind, values) in arrays.others.items():
        attribute = splat.data.attributes.get(name) or splat.data.attributes.new(name, kind, "POINT")
        if count:
            attribute.data.foreach_set(OTHER_TYPES[kind][0], values.reshape(-1))
    return count


@dataclass(frozen=True, eq=False)
class Transformed:
    """Arrays of a transformed splat, ready for ``show_transformed``."""

    new_from_old: NDArray[np.float64]
    splats: SplatArrays


def prepare_transform(splat: bpy.types.Object, new_from_old: NDArray[np.float64]) -> Callable[[], Transformed]:
    """Read the Gaussians now; the function returned does the arithmetic, in any thread.

    Raises:
        InputError: the matrix flattens space (raised by the function).
    """
    arrays, viewing = own_arrays(splat.data), wants_viewing_attributes()
    return lambda: Transformed(new_from_old, splat_arrays(
        transform_gaussians(gaussians_from_arrays(arrays), new_from_old), viewing))


def show_transformed(splat: bpy.types.Object, transformed: Transformed) -> None:
    """Write transformed Gaussians back; the way to the training cameras follows, the object's transform does not."""
    if splat.data.users > 1:
        splat.data = splat.data.copy()
    update(splat, transformed.splats)
    since = transformed.new_from_old @ splat_since_training(splat)
    splat.interngs_place.splat_from_training = since.ravel()


def keep_children(splat: bpy.types.Object, new_from_old: NDArray[np.float64]) -> None:
    """Let children stay where they are when the splat's own space changes under them."""
    for child in splat.children:
        child.matrix_parent_inverse = Matrix(new_from_old.tolist()) @ child.matrix_parent_inverse


def is_uniform(matrix: NDArray[np.float64], tolerance: float = 1e-4) -> bool:
    """Whether a matrix scales all axes alike (mirrors too), so that a transform of Gaussians by it is exact."""
    lengths = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    return bool(lengths[0] - lengths[2] <= tolerance * lengths[0])
