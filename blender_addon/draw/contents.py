# SPDX-License-Identifier: GPL-3.0-or-later
"""The splat objects of the open file as the GPU has them: read a little at a time, packed and sorted in a thread."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..scene.splat_arrays import BASE, SH_PREFIX
from ..scene.splat_object import is_splat, point_count, read_attribute
from ..session.worker import NewestWorker
from .packing import COEFFICIENTS, PackedSplat, join, pack
from .painter import Picture, texture
from .sort import Order, back_to_front

SAME_VIEW = 1e-4
"""Relative change of the viewing direction, or of the objects' depths to each other, below which an order is kept."""

READ_S = 0.004
"""Time for reading attributes in one turn; of each object that changed, one is read in any case."""

Matrix = NDArray[np.float32]


@dataclass(eq=False)
class _Member:
    """An object's Gaussians: ``arrays`` as they were read, until the worker has made ``packed`` of them."""

    data_id: int
    count: int
    arrays: list[NDArray[np.float32]] | None
    packed: PackedSplat | None = None
    stale: bool = False


@dataclass(eq=False)
class _Reading:
    """An object's attributes on their way from Blender; known to be stale when they change meanwhile."""

    data_id: int
    count: int
    left: list[str]
    arrays: list[NDArray[np.float32]] = field(default_factory=list)
    stale: bool = False

    def go_on(self, data: Any, until: float) -> bool:
        """Read until ``until`` (``time.perf_counter``), at least one attribute; whether all are read."""
        while self.left and not self.stale:
            name = self.left.pop(0)
            if name not in data.attributes:
                self.stale = True
                break
            self.arrays.append(read_attribute(data, name))
            if time.perf_counter() >= until:
                break
        return not self.left and not self.stale


@dataclass(frozen=True, eq=False)
class _Packed:
    """What the worker made of the objects ``ids``, with the order for each view."""

    ids: tuple[int, ...]
    sources: list[tuple[_Member, PackedSplat]]
    texels: NDArray[np.float32]
    harmonics: NDArray[np.float32] | None
    orders: dict[int, tuple[Matrix, tuple[bool, ...], Order]]


@dataclass(eq=False)
class _Contents:
    """What the GPU has."""

    ids: tuple[int, ...] = ()
    positions: list[NDArray[np.float32]] = field(default_factory=list)
    splats: Any = None
    harmonics: Any = None


@dataclass(eq=False)
class _View:
    """One 3D view: what it shows, from where, and the newest order for it."""

    matrix: Matrix
    ids: frozenset[int] = frozenset()
    contents: _Contents | None = None
    order: Any = None
    count: int = 0
    near: float = 0.0
    far: float = 1.0
    asked: tuple[_Contents, Matrix, tuple[bool, ...]] | None = None


class SplatContents:
    """All splat objects that any 3D view shows.  Main thread only; keeps no reference to Blender's data."""

    def __init__(self, worker: NewestWorker) -> None:
        self._worker = worker
        self._members: dict[int, _Member] = {}
        self._readings: dict[int, _Reading] = {}
        self._read_since = False
        self._contents = _Contents()
        self._views: dict[int, _View] = {}
        self._objects = 0

    def clear(self) -> None:
        """Forget everything."""
        self.__init__(self._worker)  # type: ignore[misc]

    def mark_stale(self, data_id: int | None = None) -> None:
        """Read the Gaussians of a data-block (or of all) again at the next picture."""
        for each in (*self._members.values(), *self._readings.values()):
            each.stale |= data_id is None or each.data_id == data_id

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being read, packed or sorted, and nothing of it waits to be taken."""
        return not self._readings and not self._worker.is_busy and not self._worker.has_news

    @property
    def is_reading(self) -> bool:
        """Whether ``read_on`` has something to do."""
        return bool(self._readings)

    def keep_views(self, keys: set[int]) -> None:
        """Forget the views that are gone."""
        for key in self._views.keys() - keys:
            del self._views[key]

    def picture(self, key: int, view: Matrix, splats: Sequence[bpy.types.Object]) -> Picture | None:
        """What to paint now in a view; None while nothing is ready.  Orders the packing and sorting that are due.

        Args:
            key: of the view.
            view: [4, 4] view_from_world.
            splats: the objects that the view shows.
        """
        self._take_packed()
        if not splats:
            self._views.pop(key, None)
            if not self._views:
                # nothing is shown: free the GPU's memory
                self._members, self._readings, self._contents = {}, {}, _Contents()
            return None
        by_id = {each.session_uid: each for each in splats}
        mine = self._views.setdefault(key, _View(view))
        mine.matrix, mine.ids = view, frozenset(by_id)
        self._read_if_changed(by_id)
        contents = self._contents
        if not contents.ids:
            return None
        views = np.stack([view @ _matrix(by_id.get(each)) for each in contents.ids]).astype(np.float32)
        shown = tuple(each in by_id for each in contents.ids)
        self._sort(key, mine, views[:, 2], shown)
        if mine.contents is not contents or not mine.count:
            return None
        return Picture(contents.splats, contents.harmonics, mine.order, mine.count, views, shown, mine.near, mine.far)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def _read_if_changed(self, here: dict[int, bpy.types.Object]) -> None:
        for each, splat in here.items():
            member = self._members.get(each)
            if (member is None or member.stale or member.data_id != splat.data.session_uid
                    or member.count != point_count(splat.data)) and each not in self._readings:
                self._begin(each, splat)
        if self._readings:
            self.read_on(here.values())
        elif len(bpy.data.objects) != self._objects:
            self._objects = len(bpy.data.objects)
            if not self._members.keys() <= {each.session_uid for each in bpy.data.objects}:
                self._pack()

    def _begin(self, key: int, splat: bpy.types.Object) -> None:
        if not _is_locked(splat):
            names = ["position", "scale", "rotation", BASE, *_band_names(splat.data)]
            self._readings[key] = _Reading(splat.data.session_uid, point_count(splat.data), names)

    def read_on(self, objects: Iterable[bpy.types.Object] | None = None) -> None:
        """One turn of reading what changed, of ``objects`` or of all; the last turn orders the packing."""
        until = time.perf_counter() + READ_S
        here = {each.session_uid: each for each in (bpy.data.objects if objects is None else objects)}
        if objects is None:
            self._readings = {each: reading for each, reading in self._readings.items() if each in here}
        for each in [each for each in self._readings if each in here]:
            splat, reading = here[each], self._readings.pop(each)
            if not is_splat(splat) or _is_locked(splat):
                continue
            if reading.stale or (reading.data_id, reading.count) != (splat.data.session_uid, point_count(splat.data)):
                self._begin(each, splat)
                reading = self._readings.pop(each)
            if reading.go_on(splat.data, until):
                self._members[each] = _Member(reading.data_id, reading.count, reading.arrays)
                self._read_since = True
            else:
                self._readings[each] = reading
        if self._read_since and not self._readings:
            self._read_since = False
            self._pack()

    # ---- packing -----------------------------------------------------------------------------------------------------

    def _pack(self) -> None:
        """Let the worker join what the views show; what was packed before is not packed again."""
        wanted = frozenset[int]().union(*(view.ids for view in self._views.values()))
        by_id = {each.session_uid: each for each in bpy.data.objects if each.session_uid in wanted}
        self._members = {each: self._members[each] for each in sorted(self._members) if each in by_id}
        ids, members = tuple(self._members), list(self._members.values())
        jobs = [(member, member.arrays, member.packed) for member in members]
        views = {}
        if ids:
            world = [_matrix(by_id[each]) for each in ids]
            views = {key: (np.stack([(view.matrix @ each)[2] for each in world]).astype(np.float32),
                           tuple(each in view.ids for each in ids)) for key, view in self._views.items()}

        def work() -> _Packed:
            splats = [pack(*arrays[:4], arrays[4:]) if packed is None and arrays is not None else packed
                      for _, arrays, packed in jobs]
            known = [each for each in splats if each is not None]
            orders = {key: (rows, shown, back_to_front([each.position for each in known], rows, shown))
                      for key, (rows, shown) in views.items()}
            return _Packed(ids, list(zip(members, known, strict=True)), *join(known), orders)

        self._worker.put("pack", work)

    def _take_packed(self) -> None:
        done: _Packed | None = self._worker.take("pack")
        if done is None:
            return
        for member, packed in done.sources:
            member.packed, member.arrays = packed, None
        contents = self._contents = _Contents(
            done.ids, [packed.position for _, packed in done.sources], texture(done.texels, "RGBA32F"),
            None if done.harmonics is None else texture(done.harmonics, "RGBA32F"))
        for key, (rows, shown, order) in done.orders.items():
            if key in self._views:
                self._views[key].asked = contents, rows, shown
                _take_order(self._views[key], contents, order)

    # ---- sorting -----------------------------------------------------------------------------------------------------

    def _sort(self, key: int, view: _View, rows: Matrix, shown: tuple[bool, ...]) -> None:
        done = self._worker.take(("sort", key))
        contents = self._contents
        if done is not None and done[0] is contents:
            _take_order(view, contents, done[1])
        if view.asked is not None and view.asked[0] is contents and view.asked[2] == shown and (
                _is_same_view(view.asked[1], rows)):
            return
        positions = contents.positions
        view.asked = contents, rows, shown
        self._worker.put(("sort", key), lambda: (contents, back_to_front(positions, rows, shown)))


def _take_order(view: _View, contents: _Contents, order: Order) -> None:
    view.contents, view.count = contents, order.count
    view.near, view.far = order.near, order.far
    view.order = texture(order.texels, "R32F")


def _is_same_view(before: Matrix, now: Matrix) -> bool:
    """Whether two sets of rows sort alike: a common scale, and a common shift in depth, change no order."""
    def comparable(rows: Matrix) -> Matrix:
        scaled = rows / max(float(np.linalg.norm(rows[0, :3])), 1e-12)
        scaled[:, 3] -= scaled[0, 3]
        return scaled

    return bool(np.allclose(comparable(before), comparable(now), rtol=SAME_VIEW, atol=SAME_VIEW))


def _matrix(splat: bpy.types.Object | None) -> NDArray[np.float64]:
    """World matrix in double precision: far from the origin products of single ones would be coarse."""
    return np.eye(4) if splat is None else np.array(splat.matrix_world, np.float64)


def _band_names(data: Any) -> list[str]:
    names = [f"{SH_PREFIX}{number}" for number in range(COEFFICIENTS)]
    return [name for name in names if name in data.attributes]


def _is_locked(splat: bpy.types.Object) -> bool:
    """Whether a mesh is being edited: its attributes are empty until edit mode ends."""
    return splat.mode == "EDIT" and isinstance(splat.data, bpy.types.Mesh)
