# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the centres of marked Gaussians over the 3D views, in a colour for each filter; the splat is not touched.

After everything else (POST_PIXEL) and through everything, so that marks inside and behind the splat are seen too.
"""

from __future__ import annotations

from typing import Any

import bpy
import gpu
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...interngs.scene.marks import FILTERS
from ..scene.splat_object import is_splat
from ..session.errors import show_error
from ..session.marking import marking

COLOURS = {"box": (0.02, 0.1, 1.0), "sphere": (1.0, 0.35, 0.75), "opacity": (1.0, 0.85, 0.1),
           "size": (1.0, 0.5, 0.1), "needles": (0.6, 0.35, 1.0), "isolated": (1.0, 0.15, 0.15),
           "support": (0.25, 0.85, 0.3), "hull": (0.1, 0.8, 0.75), "depth": (0.1, 0.9, 1.0)}
"""sRGB colours by filter."""
POINT_SIZE_PX = 7.0
MOST_POINTS = 300_000
"""More marks than this are drawn as an even subset: the count is told by the panel."""


def marked_points(positions: NDArray[np.float32],
                  first: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres [M, 3] of what is marked and their colours [M, 4]; see ``Marks.first``."""
    which = np.flatnonzero(first)
    if len(which) > MOST_POINTS:
        which = which[np.linspace(0, len(which) - 1, MOST_POINTS).astype(np.int64)]
    table = np.ones((len(FILTERS) + 1, 4), np.float32)
    table[1:, :3] = [COLOURS[name] for name in FILTERS]
    return np.ascontiguousarray(positions[which]), table[first[which]]


def point_shader() -> gpu.types.GPUShader:
    """Points with a colour each: Vulkan and Metal want the shader of newer versions that sets their size."""
    try:
        return gpu.shader.from_builtin("POINT_FLAT_COLOR")
    except (ValueError, TypeError):
        return gpu.shader.from_builtin("FLAT_COLOR")


def points_batch(points: NDArray[np.float32], colours: NDArray[np.float32]) -> gpu.types.GPUBatch:
    """Points [N, 3] and their colours [N, 4] on the GPU, for ``point_shader``."""
    layout = gpu.types.GPUVertFormat()
    layout.attr_add(id="pos", comp_type="F32", len=3, fetch_mode="FLOAT")
    layout.attr_add(id="color", comp_type="F32", len=4, fetch_mode="FLOAT")
    vertices = gpu.types.GPUVertBuf(layout, len(points))
    vertices.attr_fill("pos", points)
    vertices.attr_fill("color", colours)
    return gpu.types.GPUBatch(type="POINTS", buf=vertices)


def paint_points(batch: gpu.types.GPUBatch, projection: Matrix, view_from_points: Matrix) -> None:
    """Draw a batch of ``points_batch``, through whatever is there."""
    gpu.state.depth_test_set("NONE")  # whatever was drawn before may have left it on
    gpu.state.point_size_set(POINT_SIZE_PX)
    with gpu.matrix.push_pop(), gpu.matrix.push_pop_projection():
        gpu.matrix.load_projection_matrix(projection)
        gpu.matrix.load_matrix(view_from_points)
        batch.draw(point_shader())
    gpu.state.point_size_set(1.0)


class MarkOverlay:
    """The draw handler and its one batch.  Main thread only."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._batch: Any = None
        self._drawn_marks: Any = None

    def start(self) -> None:
        """Begin to draw."""
        if self._handle is None and not bpy.app.background:
            self._handle = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_PIXEL")

    def stop(self) -> None:
        """Draw no more."""
        if self._handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handle, "WINDOW")
        self._handle = self._batch = self._drawn_marks = None

    def _draw(self) -> None:
        try:
            context = bpy.context
            splat = context.active_object
            if context.window_manager.interngs_finish.show_marked and is_splat(splat) and splat.mode == "OBJECT" and (
                    splat.visible_get(view_layer=context.view_layer, viewport=context.space_data)):
                self._draw_marks(splat, context.region_data)
        except Exception as error:  # noqa: BLE001 - an error in a draw handler would come back with every redraw
            self.stop()
            show_error(error, "Drawing the marks")

    def _draw_marks(self, splat: bpy.types.Object, view: bpy.types.RegionView3D) -> None:
        marked = marking().want(splat)
        if marked is None or marked.marks is None or not marked.marks.removed:
            return
        if self._drawn_marks is not marked.marks:
            self._batch = points_batch(*marked_points(marked.positions, marked.marks.first))
            self._drawn_marks = marked.marks
        paint_points(self._batch, view.window_matrix, view.view_matrix @ splat.matrix_world)


_overlay = MarkOverlay()


def register() -> None:
    """Draw from now on."""
    _overlay.start()


def unregister() -> None:
    """Stop drawing."""
    _overlay.stop()
