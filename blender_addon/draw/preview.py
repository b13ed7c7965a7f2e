# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws every visible splat object in the 3D views, where Blender does not do it itself."""

from __future__ import annotations

from typing import Any

import bpy
import gpu
import numpy as np
from bpy.app.handlers import persistent

from .. import compat
from ..scene.splat_object import is_splat
from ..session.errors import show_error
from ..session.worker import NewestWorker
from .contents import SplatContents
from .painter import Look, SceneDepth, SplatPainter

CHECK_S = 0.02
"""How often finished packing and sorting is looked for, while there is any."""


class Preview:
    """The draw handler.  Main thread only."""

    def __init__(self) -> None:
        self._worker = NewestWorker()
        self.contents = SplatContents(self._worker)
        self._painter: SplatPainter | None = None
        self._depth = SceneDepth()
        self._handle: Any = None
        self._failed = False
        self._timer = self._check  # one object: Blender knows timers by identity

    def start(self) -> None:
        """Begin to draw."""
        if self._handle is None and not bpy.app.background and not compat.has_native_splats():
            self._handle = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_VIEW")

    def stop(self) -> None:
        """Draw no more; frees the GPU's memory."""
        if self._handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handle, "WINDOW")
            self._handle = None
        if bpy.app.timers.is_registered(self._timer):
            bpy.app.timers.unregister(self._timer)
        self._worker.close()
        self.contents.clear()
        self._painter = None
        self._depth = SceneDepth()

    def _draw(self) -> None:
        if self._failed or not bpy.context.window_manager.interngs.show_preview:
            return
        try:
            self._draw_view(bpy.context)
        except Exception as error:  # noqa: BLE001 - an error in a draw handler would come back with every redraw
            self._failed = True
            show_error(error, "Drawing the Gaussians")
            bpy.app.timers.register(self._switch_off, first_interval=0.0)

    def _switch_off(self) -> None:
        """After an error: show points; the artist may switch it on again."""
        self.contents.clear()
        self._painter = None
        bpy.context.window_manager.interngs.show_preview = False
        self._failed = False

    def _draw_view(self, context: bpy.types.Context) -> None:
        space, region, layer = context.space_data, context.region_data, context.view_layer
        splats, anything_else = [], False
        for each in layer.objects:
            if is_splat(each) and each.mode == "OBJECT":   # in edit mode its points must be seen
                if each.visible_get(view_layer=layer, viewport=space):
                    splats.append(each)
            else:
                anything_else = anything_else or each.visible_get(view_layer=layer, viewport=space)
        self.contents.keep_views(_open_views())
        picture = self.contents.picture(region.as_pointer(), np.array(region.view_matrix, np.float32), splats)
        self._check_soon()
        if picture is None:
            return
        if self._painter is None:
            self._painter = SplatPainter()
        _, _, width, height = gpu.state.viewport_get()
        size = (width, height)
        settings = context.window_manager.interngs
        look = Look(settings.preview_opacity, settings.preview_size, settings.preview_mode)
        depth = self._depth.read(size) if anything_else else self._depth.nothing(size)
        self._painter.paint(picture, np.array(region.window_matrix, np.float32), size, depth, look)

    def _check_soon(self) -> None:
        if not self.contents.is_settled and not bpy.app.timers.is_registered(self._timer):
            bpy.app.timers.register(self._timer, first_interval=CHECK_S, persistent=True)

    def _check(self) -> float | None:
        """Between two drawings: go on reading, and draw once something is ready."""
        if self.contents.is_reading:
            self.contents.read_on()
        if self._worker.has_news:
            redraw_views()
        return None if self.contents.is_settled else CHECK_S


def redraw_views() -> None:
    """Have every 3D view drawn again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _open_views() -> set[int]:
    """The keys of all 3D views that are on a screen, quad views included."""
    spaces = [area.spaces.active for window in bpy.context.window_manager.windows for area in window.screen.areas
              if area.type == "VIEW_3D"]
    return {region.as_pointer() for space in spaces for region in (space.region_3d, *space.region_quadviews)}


_preview: Preview | None = None


def preview() -> Preview:
    """The add-on's preview."""
    global _preview  # noqa: PLW0603 - one preview for one Blender
    if _preview is None:
        _preview = Preview()
    return _preview


@persistent
def _on_change(_scene: Any, depsgraph: Any = None) -> None:
    if _preview is None or depsgraph is None:
        return
    for update in depsgraph.updates:
        if update.is_updated_geometry and isinstance(update.id, bpy.types.PointCloud | bpy.types.Mesh):
            _preview.contents.mark_stale(update.id.original.session_uid)


@persistent
def _on_undo(*_arguments: Any) -> None:
    if _preview is not None:
        _preview.contents.mark_stale()


@persistent
def _on_load(*_arguments: Any) -> None:
    if _preview is not None:
        _preview.contents.clear()


def _handlers() -> tuple[tuple[list[Any], Any], ...]:
    return ((bpy.app.handlers.depsgraph_update_post, _on_change), (bpy.app.handlers.load_post, _on_load),
            (bpy.app.handlers.undo_post, _on_undo), (bpy.app.handlers.redo_post, _on_undo))


def register() -> None:
    """Draw from now on."""
    for handlers, ours in _handlers():
        handlers.append(ours)
    preview().start()


def unregister() -> None:
    """Stop drawing."""
    global _preview  # noqa: PLW0603 - one preview for one Blender
    for handlers, ours in _handlers():
        if ours in handlers:
            handlers.remove(ours)
    if _preview is not None:
        _preview.stop()
        _preview = None
