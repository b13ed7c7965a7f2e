# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of operators that ask for points on the active splat by clicks in the 3D view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy
import gpu
import numpy as np
from bpy_extras import view3d_utils
from mathutils import Vector

from ..draw.mark_overlay import point_shader, points_batch
from ..scene.placing import Picker
from .guarded import GuardedOperator

NAVIGATION = {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "TRACKPADPAN", "TRACKPADZOOM", "MOUSEROTATE",
              "NDOF_MOTION"}
PICK_COLOUR, PICK_SIZE_PX = (1.0, 0.35, 0.02, 1.0), 10.0


class PickOperator(GuardedOperator):
    """Mix-in: say ``wanted`` and ``asking``, implement ``picked``.  Backspace takes a point back, Esc gives up."""

    wanted = 1
    asking = "Click a point"

    _handle: Any = None

    def picked(self, context: bpy.types.Context, points: Sequence[Vector]) -> set[str]:
        """All points are there, in world space."""
        raise NotImplementedError

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the points."""
        if context.area is None or context.area.type != "VIEW_3D":
            self.report({"WARNING"}, "Use this in a 3D view")
            return {"CANCELLED"}
        self._points: list[Vector] = []
        self._picker = Picker(context.active_object)
        self._handle = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_VIEW")
        context.window_manager.modal_handler_add(self)
        context.window.cursor_modal_set("CROSSHAIR")
        self._say(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Take clicks; navigation passes through."""
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self._end(context)
            return {"CANCELLED"}
        if event.type == "BACK_SPACE" and event.value == "PRESS" and self._points:
            self._points.pop()
        elif event.type == "LEFTMOUSE" and event.value == "PRESS":
            region = next((each for each in context.area.regions if each.type == "WINDOW"), None)
            x, y = event.mouse_x - region.x, event.mouse_y - region.y
            if not (0 <= x < region.width and 0 <= y < region.height):
                return {"PASS_THROUGH"}
            self._take(context, region, (x, y))
        else:
            return {"PASS_THROUGH"} if event.type in NAVIGATION or event.type == "TIMER" else {"RUNNING_MODAL"}
        if len(self._points) == self.wanted:
            self._end(context)
            return self.guard(lambda: self.picked(context, self._points))
        self._say(context)
        context.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def _take(self, context: bpy.types.Context, region: bpy.types.Region, place: tuple[int, int]) -> None:
        view = context.space_data.region_3d
        origin = view3d_utils.region_2d_to_origin_3d(region, view, place)
        direction = view3d_utils.region_2d_to_vector_3d(region, view, place)
        found = self._picker.pick(np.array(origin, np.float64), np.array(direction, np.float64))
        if found is None:
            self.report({"WARNING"}, "There is no surface of the splat under the pointer")
        else:
            self._points.append(Vector(found))

    def _say(self, context: bpy.types.Context) -> None:
        context.area.header_text_set(f"{self.asking} ({len(self._points)} of {self.wanted}). "
                                     "Backspace: one back. Esc: give up")

    def _end(self, context: bpy.types.Context) -> None:
        bpy.types.SpaceView3D.draw_handler_remove(self._handle, "WINDOW")
        self._handle = None
        context.window.cursor_modal_restore()
        context.area.header_text_set(None)
        context.area.tag_redraw()

    def _draw(self) -> None:
        if not self._points:
            return
        points = np.array(self._points, np.float32)
        gpu.state.point_size_set(PICK_SIZE_PX)
        points_batch(points, np.tile(np.float32(PICK_COLOUR), (len(points), 1))).draw(point_shader())
        gpu.state.point_size_set(1.0)
