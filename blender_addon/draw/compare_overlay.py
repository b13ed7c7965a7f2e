# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the photograph over the left part of a camera view, up to the wipe; the rest of the view is as it was."""

from __future__ import annotations

from typing import Any

import blf
import bpy
import gpu
import numpy as np
from bpy_extras import view3d_utils
from gpu_extras.batch import batch_for_shader
from mathutils import Vector
from numpy.typing import NDArray

from ...interngs.scene.cameras import Camera
from ...interngs.scene.capture import Distortion
from ..scene.compare import compared_row, photograph_image
from ..scene.distortion import is_distorted, photograph_pixels
from ..scene.photographs import camera_of_row, distortion_of_row
from ..session.errors import show_error

LINE_COLOUR = (1.0, 1.0, 1.0, 0.8)
TEXT_SIZE_PX, TEXT_MARGIN_PX = 13, 10
LENS_CELLS = 64
"""Cells across and down a photograph whose lens is undone; in each the picture is stretched evenly."""
OUTSIDE = -1.0
"""A texture coordinate that is left out."""


def world_corners(camera: Camera) -> NDArray[np.float64]:
    """[4, 3] points of the world at the photograph's corners: lower left, lower right, upper left, upper right."""
    width, height = camera.width_px, camera.height_px
    pixels = np.array([[0, height, 1], [width, height, 1], [0, 0, 1], [width, 0, 1]], np.float64)
    in_camera = pixels @ np.linalg.inv(camera.K).T
    return in_camera @ camera.camera_from_world[:3, :3] + camera.centre


def wiped_part(corners: NDArray[np.floating], wipe: float, camera: Camera, distortion: Distortion
               ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The part of an undistorted photograph left of the wipe, as triangles.

    Args:
        corners: [4, 2] in the region: lower left, lower right, upper left, upper right.
        wipe: 0..1 of the width.
        camera: the photograph's pinhole camera.
        distortion: the photograph's lens.

    Returns:
        Places [3 T, 2] in the region, and texture coordinates [3 T, 2] in the photograph, which are outside of 0..1
        where it shows nothing.
    """
    cells = LENS_CELLS if is_distorted(distortion) else 1
    across, up = np.meshgrid(np.linspace(0, wipe, cells + 1), np.linspace(0, 1, cells + 1))
    low = corners[0] + across[..., None] * (corners[1] - corners[0])
    high = corners[2] + across[..., None] * (corners[3] - corners[2])
    places = low + up[..., None] * (high - low)
    size = np.array([camera.width_px, camera.height_px])
    seen = photograph_pixels(camera, distortion, np.stack([across, 1 - up], axis=-1) * size) / size
    coordinates = np.nan_to_num(np.stack([seen[..., 0], 1 - seen[..., 1]], axis=-1), nan=OUTSIDE)

    def triangles(grid: NDArray[np.floating]) -> NDArray[np.float32]:
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
        return np.stack([a, b, c, c, b, d], axis=2).reshape(-1, 2).astype(np.float32)

    return triangles(places), triangles(coordinates)


def photograph_shader() -> Any:
    """Draws a picture as it is, over black where it is transparent; needs a live GPU context.

    Blender's own image shader takes what it samples for sRGB, but pictures are sampled as linear light.
    """
    interface = gpu.types.GPUStageInterfaceInfo("interngs_photograph")
    interface.smooth("VEC2", "uv")
    info = gpu.types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "region_matrix")
    info.sampler(0, "FLOAT_2D", "photograph")
    info.vertex_in(0, "VEC2", "place")
    info.vertex_in(1, "VEC2", "coordinate")
    info.vertex_out(interface)
    info.fragment_out(0, "VEC4", "result")
    info.vertex_source("void main() { uv = coordinate; gl_Position = region_matrix * vec4(place, 0.0, 1.0); }")
    info.fragment_source("""
        void main()
        {
          bool outside = any(lessThan(uv, vec2(0.0))) || any(greaterThan(uv, vec2(1.0)));
          result = outside ? vec4(0.0, 0.0, 0.0, 1.0) : vec4(texture(photograph, uv).rgb, 1.0);
        }
    """)
    return gpu.shader.create_from_info(info)


def paint_photograph(shader: Any, image: bpy.types.Image, corners: NDArray[np.floating], wipe: float, camera: Camera,
                     distortion: Distortion) -> None:
    """Draw the left part of a picture and the line where it ends, in the region's pixels."""
    places, coordinates = wiped_part(corners, wipe, camera, distortion)
    layout = gpu.types.GPUVertFormat()
    for name in ("place", "coordinate"):
        layout.attr_add(id=name, comp_type="F32", len=2, fetch_mode="FLOAT")
    vertices = gpu.types.GPUVertBuf(layout, len(places))
    vertices.attr_fill("place", places)
    vertices.attr_fill("coordinate", coordinates)
    gpu.state.depth_test_set("NONE")  # whatever was drawn before may have left it on
    gpu.state.blend_set("ALPHA_PREMULT")
    shader.bind()
    shader.uniform_float("region_matrix", gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix())
    shader.uniform_sampler("photograph", gpu.texture.from_image(image))
    gpu.types.GPUBatch(type="TRIS", buf=vertices).draw(shader)
    line = gpu.shader.from_builtin("UNIFORM_COLOR")
    ends = [corners[under] + wipe * (corners[under + 1] - corners[under]) for under in (0, 2)]
    edge = batch_for_shader(line, "LINES", {"pos": [(*end.tolist(), 0.0) for end in ends]})
    line.bind()
    line.uniform_float("color", LINE_COLOUR)
    edge.draw(line)
    gpu.state.blend_set("NONE")


class CompareOverlay:
    """The draw handler.  Main thread only."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shader: Any = None

    def start(self) -> None:
        """Begin to draw."""
        if self._handle is None and not bpy.app.background:
            self._handle = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_PIXEL")

    def stop(self) -> None:
        """Draw no more."""
        if self._handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handle, "WINDOW")
        self._handle = self._shader = None

    def _draw(self) -> None:
        try:
            context = bpy.context
            settings = context.window_manager.interngs_finish
            if settings.compare and context.region_data.view_perspective == "CAMERA":
                self._draw_photograph(context, settings.wipe)
        except Exception as error:  # noqa: BLE001 - an error in a draw handler would come back with every redraw
            self.stop()
            show_error(error, "Comparing with the photograph")

    def _draw_photograph(self, context: bpy.types.Context, wipe: float) -> None:
        row = compared_row(context.scene)
        image = photograph_image(row) if row is not None else None
        if row is None or image is None:
            return
        # The object's own pose, not the one a capture was rendered at: it is what this view looks through.
        camera = camera_of_row(context.scene, row, captured=False)
        if camera is None:
            return
        region, view = context.region, context.region_data
        corners = [view3d_utils.location_3d_to_region_2d(region, view, Vector(corner))
                   for corner in world_corners(camera)]
        if any(corner is None for corner in corners):
            return
        self._shader = self._shader or photograph_shader()
        paint_photograph(self._shader, image, np.array(corners, np.float64), wipe, camera,
                         distortion_of_row(context.scene, row))
        blf.size(0, TEXT_SIZE_PX * context.preferences.system.ui_scale)
        blf.color(0, 1.0, 1.0, 1.0, 0.9)
        blf.position(0, corners[2][0] + TEXT_MARGIN_PX, corners[2][1] - 2 * TEXT_MARGIN_PX, 0)
        blf.draw(0, f"{row.name} | splat")


_overlay = CompareOverlay()


def register() -> None:
    """Draw from now on, while comparing is on."""
    _overlay.start()


def unregister() -> None:
    """Stop drawing."""
    _overlay.stop()
