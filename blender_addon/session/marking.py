# SPDX-License-Identifier: GPL-3.0-or-later
"""Live counts and marks of the cleaning filters: measured beside the interface, looked at by panels and overlay."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from bpy.app.handlers import persistent
from numpy.typing import NDArray

from ...interngs.errors import InternGSError
from ...interngs.scene.marks import Marks, Measures, Thresholds, mark
from ..scene.crops import region_of
from ..scene.point_edit import follow_edit_mode
from ..scene.splat_arrays import BASE
from ..scene.splat_object import is_splat, point_count, read_attribute
from ..scene.training_views import TrainingViews, load_depths, training_views
from .worker import NewestWorker

TICK_S, IDLE_TICK_S = 0.1, 0.4
WANTED_FOR_S = 1.5
"""Filters are measured while something asked for them so recently: panels ask whenever they are drawn."""


def thresholds_of(splat: bpy.types.Object) -> Thresholds:
    """What the artist's settings of a splat say."""
    s = splat.interngs_clean
    return Thresholds(
        box=region_of(splat, s.box, s.box_keep), sphere=region_of(splat, s.sphere, s.sphere_keep),
        min_opacity=s.min_opacity if s.use_opacity else None, max_relative_size=s.max_size if s.use_size else None,
        max_needle=s.max_needle if s.use_needles else None,
        max_isolation=s.max_isolation if s.use_isolated else None,
        max_sparsity=s.max_sparsity if s.use_isolated else None,
        min_views=s.min_views if s.use_support else None, max_hull_reach=s.hull_reach if s.use_hull else None,
        max_before_surface=s.depth_tolerance if s.use_depth else None)


def _signature(thresholds: Thresholds) -> tuple[object, ...]:
    """Equal for equal thresholds."""
    regions = tuple(None if region is None else (region.splat_from_region.tobytes(), region.keep_inside)
                    for region in (thresholds.box, thresholds.sphere))
    return (*regions, *(getattr(thresholds, name) for name in Thresholds.__dataclass_fields__
                        if name not in ("box", "sphere")))


def read_measures(splat: bpy.types.Object, views: TrainingViews | None) -> Measures:
    """What the filters need of a splat, read now; depth files are read here too, so give ``views`` when wanted.

    Raises:
        InternGSError: a depth file cannot be read.
    """
    depths = load_depths(views.depth_files) if views is not None else []
    return _measures(_arrays(splat), views, depths)


def mark_now(scene: bpy.types.Scene, splat: bpy.types.Object) -> Marks:
    """Measure and mark at once (for scripts; a panel never waits for this).

    Raises:
        InternGSError: a filter lacks cameras or depth, or a crop is flat.
    """
    thresholds = thresholds_of(splat)
    return mark(read_measures(splat, training_views(scene, splat) if _needs_views(thresholds) else None), thresholds)


def _needs_views(thresholds: Thresholds) -> bool:
    return any(value is not None for value in (thresholds.min_views, thresholds.max_hull_reach,
                                               thresholds.max_before_surface))


def _arrays(splat: bpy.types.Object) -> tuple[NDArray[np.float32], ...]:
    return (read_attribute(splat.data, "position").reshape(-1, 3), read_attribute(splat.data, "scale").reshape(-1, 3),
            np.ascontiguousarray(read_attribute(splat.data, BASE).reshape(-1, 4)[:, 3]))


def _measures(arrays: tuple[NDArray[np.float32], ...], views: TrainingViews | None, depths: list[Any]) -> Measures:
    if views is None:
        return Measures(*arrays)
    return Measures(*arrays, tuple(views.cameras.values()), depths, views.cameras_from_splat)


@dataclass(eq=False)
class Marked:
    """What is known of one splat.

    Attributes:
        marks: newest that were finished; of older thresholds while ``is_current`` is false.
        positions: [N, 3] centres that the marks are about.
        error: why there are no marks.
    """

    name: str
    data_key: tuple[object, ...]
    arrays: tuple[NDArray[np.float32], ...]
    views_key: object = None
    measures: Measures | None = None
    asked: tuple[object, ...] | None = None
    answered: tuple[object, ...] | None = None
    marks: Marks | None = None
    error: str = ""

    @property
    def positions(self) -> NDArray[np.float32]:
        """[N, 3] centres."""
        return self.arrays[0]

    @property
    def is_current(self) -> bool:
        """Whether the marks are those of the newest thresholds."""
        return self.marks is not None and self.asked == self.answered


class Marking:
    """Measures the splat that panels or overlay want.  Main thread only."""

    def __init__(self) -> None:
        self._worker = NewestWorker()
        self._marked: Marked | None = None
        self._wanted, self._wanted_until, self._is_new_wish = "", 0.0, False
        self._versions: dict[str, int] = {}
        self._all_version = 0

    def want(self, splat: bpy.types.Object) -> Marked | None:
        """What is known of a splat; it is kept up to date for a while."""
        self._wanted, self._wanted_until, self._is_new_wish = splat.name, time.monotonic() + WANTED_FOR_S, True
        return self.known(splat)

    def known(self, splat: bpy.types.Object) -> Marked | None:
        """What is known of a splat as it is now, or None."""
        marked = self._marked
        return marked if marked is not None and marked.data_key == self._data_key(splat) else None

    def changed(self, data_name: str | None = None) -> None:
        """The Gaussians of a data-block (or any) may have changed."""
        if data_name is None:
            self._all_version += 1
        else:
            self._versions[data_name] = self._versions.get(data_name, 0) + 1

    def pump(self) -> bool:
        """Ask for what is wanted, take what is done; whether something new is to be seen."""
        splat = bpy.data.objects.get(self._wanted)
        if not is_splat(splat) or splat.mode != "OBJECT":
            self._marked = None if splat is None else self._marked
            return False
        # A wish is looked at once at least, however long drawing takes on a slow machine.
        is_wanted = self._is_new_wish or time.monotonic() <= self._wanted_until
        if is_wanted or bpy.context.window_manager.interngs_finish.show_marked:
            self._ask(splat)
        self._is_new_wish = False
        return self._take()

    @property
    def is_busy(self) -> bool:
        """Whether something is being measured."""
        return self._worker.is_busy or self._worker.has_news

    def close(self) -> None:
        """Stop measuring."""
        self._worker.close()
        self._marked = None

    def _data_key(self, splat: bpy.types.Object) -> tuple[object, ...]:
        return (splat.name, splat.data.name, splat.data.as_pointer(), point_count(splat.data),
                self._versions.get(splat.data.name, 0), self._all_version)

    def _ask(self, splat: bpy.types.Object) -> None:
        key = self._data_key(splat)
        if self._marked is None or self._marked.data_key != key:
            self._marked = Marked(splat.name, key, _arrays(splat))
        marked, thresholds = self._marked, thresholds_of(splat)
        views = training_views(bpy.context.scene, splat) if _needs_views(thresholds) else None
        views_key = None if views is None else views.signature
        asked = (_signature(thresholds), views_key)
        if asked == marked.asked:
            return
        if views_key is not None and views_key != marked.views_key:
            marked.measures, marked.views_key = None, views_key
        marked.asked = asked
        self._worker.put("mark", lambda: (marked, asked, *_work(marked, views, thresholds)))

    def _take(self) -> bool:
        outcome = self._worker.take("mark")
        if outcome is None:
            return False
        marked, asked, measures, marks, error = outcome
        if marked is not self._marked:
            return False
        if marked.measures is None and asked == marked.asked:
            marked.measures = measures
        marked.marks, marked.error, marked.answered = marks, error, asked
        return True


def _work(marked: Marked, views: TrainingViews | None,
          thresholds: Thresholds) -> tuple[Measures | None, Marks | None, str]:
    """In the worker's thread."""
    try:
        measures = marked.measures
        if measures is None:
            measures = _measures(marked.arrays, views, load_depths(views.depth_files) if views is not None else [])
        return measures, mark(measures, thresholds), ""
    except InternGSError as error:
        return None, None, f"{error.cause} {error.remedy}"


_marking: Marking | None = None


def marking() -> Marking:
    """The add-on's marking."""
    global _marking  # noqa: PLW0603 - one for one Blender
    if _marking is None:
        _marking = Marking()
    return _marking


def finished_marks(splat: bpy.types.Object) -> Marks | None:
    """The marks that the panel shows, when they are those of the settings as they are now."""
    marked = marking().known(splat)
    if marked is None or not marked.is_current or marked.asked is None or marked.marks is None:
        return None
    return marked.marks if marked.asked[0] == _signature(thresholds_of(splat)) else None


def _tick() -> float:
    follow_edit_mode()
    if marking().pump():
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    area.tag_redraw()
    return TICK_S if marking().is_busy else IDLE_TICK_S


@persistent
def _on_change(_scene: Any, depsgraph: Any = None) -> None:
    for update in depsgraph.updates if depsgraph is not None else ():
        if update.is_updated_geometry and isinstance(update.id, bpy.types.PointCloud | bpy.types.Mesh):
            marking().changed(update.id.name)


@persistent
def _on_replaced(*_arguments: Any) -> None:
    marking().changed()


def _handlers() -> tuple[tuple[Any, Any], ...]:
    handlers = bpy.app.handlers
    return ((handlers.depsgraph_update_post, _on_change), (handlers.load_post, _on_replaced),
            (handlers.undo_post, _on_replaced), (handlers.redo_post, _on_replaced))


def register() -> None:
    """Follow changes, and measure when asked."""
    for handlers, ours in _handlers():
        handlers.append(ours)
    bpy.app.timers.register(_tick, first_interval=0.5, persistent=True)


def unregister() -> None:
    """Stop."""
    global _marking  # noqa: PLW0603 - one for one Blender
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for handlers, ours in _handlers():
        if ours in handlers:
            handlers.remove(ours)
    if _marking is not None:
        _marking.close()
        _marking = None
