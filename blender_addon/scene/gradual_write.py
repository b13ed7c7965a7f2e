# SPDX-License-Identifier: GPL-3.0-or-later
"""Write Gaussians into a data-block of their own over several turns, so that no turn keeps the interface waiting."""

from __future__ import annotations

import time

import bpy

from .splat_arrays import SplatArrays
from .splat_object import SplatData, new_data, remove_data, write_attribute

SUFFIX = " (arriving)"


class GradualWrite:
    """A data-block that nothing uses yet.  It is known by its name alone: undo and redo move data-blocks about."""

    def __init__(self, name: str, splats: SplatArrays) -> None:
        self._splats = splats
        self._left = list(splats.arrays)
        data = new_data(f"{name}{SUFFIX}", splats.count)
        self._name, self._is_mesh = data.name, isinstance(data, bpy.types.Mesh)

    def go_on(self, until: float) -> bool:
        """Write attributes until ``until`` (``time.perf_counter``), at least one; whether all are written."""
        data = self._data()
        if data is None:
            raise LookupError("the data-block is gone")
        while self._left:
            name = self._left.pop(0)
            write_attribute(data, name, self._splats.arrays[name])
            if time.perf_counter() >= until:
                break
        return not self._left

    def take(self) -> SplatData:
        """The finished data-block, which is the caller's now."""
        data = self._data()
        if data is None:
            raise LookupError("the data-block is gone")
        data.update_tag()
        return data

    def drop(self) -> None:
        """Remove it, if it is still there."""
        data = self._data()
        if data is not None and data.users == 0:
            remove_data(data)

    def _data(self) -> SplatData | None:
        return (bpy.data.meshes if self._is_mesh else bpy.data.pointclouds).get(self._name)
