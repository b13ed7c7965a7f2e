# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames of a final render as the backend takes them: camera and splats, moved as Blender moves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ...interngs.errors import InputError
from ...interngs.link import FrameSource, RenderSource
from ...interngs.scene.gaussians import Gaussians
from ...interngs.wire.limits import RENDER_FRAMES, RENDER_PIXELS
from .cameras import camera_of_object, pixel_aspect_of
from .splat_arrays import gaussians_from_arrays
from .splat_edit import own_arrays
from .splat_object import is_splat

FILE_STEM = "splats_"


@dataclass(frozen=True, eq=False)
class RenderPlan:
    """A final render, cut into parts that a job takes."""

    parts: tuple[RenderSource, ...]
    frames: tuple[int, ...]
    folder: Path


def file_name(frame: int) -> str:
    """The name of a frame's file, as Blender numbers image sequences."""
    return f"{FILE_STEM}{frame:04d}.exr"


def folder_of(scene: bpy.types.Scene) -> Path:
    """Where a scene's frames go."""
    chosen = scene.interngs_render.folder
    if chosen:
        return Path(bpy.path.abspath(chosen))
    if bpy.data.filepath:
        return Path(bpy.data.filepath).with_suffix("").with_name(f"{Path(bpy.data.filepath).stem}_splats")
    raise InputError("render-no-folder", "There is no folder for the rendered frames.",
                     "Save the .blend first, or choose a folder.")


def rendered_splats(scene: bpy.types.Scene, layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """The splats of a scene that *Render Splats* draws in some frame."""
    rendered = set(_rendered_collections(layer.layer_collection))
    return [each for each in scene.objects if is_splat(each) and each.interngs_render.rendered_by == "SPLATS"
            and rendered.intersection(each.users_collection)]


def _rendered_collections(layer: bpy.types.LayerCollection) -> Iterator[bpy.types.Collection]:
    if layer.exclude or layer.collection.hide_render:
        return
    yield layer.collection
    for child in layer.children:
        yield from _rendered_collections(child)


def plan_render(scene: bpy.types.Scene, layer: bpy.types.ViewLayer, animation: bool) -> RenderPlan:
    """Go through the frames, and read camera and splats in each.

    Raises:
        InputError: no camera, no splat, no folder, or a lens that no pinhole camera can have.
    """
    splats = rendered_splats(scene, layer)
    if not splats:
        raise InputError("render-no-splats", "No splat of this scene is rendered by Render Splats.",
                         "Show one in a collection that is rendered, or change what renders it.")
    numbers = (tuple(range(scene.frame_start, scene.frame_end + 1, scene.frame_step)) if animation
               else (scene.frame_current,))
    folder, frames = folder_of(scene), []
    before, subframe = scene.frame_current, scene.frame_subframe
    try:
        for number in numbers:
            if number != scene.frame_current:
                scene.frame_set(number)
            frames.append(_frame(scene, layer, number, splats))
    finally:
        if scene.frame_current != before:
            scene.frame_set(before, subframe=subframe)
    used = sorted({index for frame in frames for index, _ in frame.placements})
    makers = tuple(_maker(splats[index]) for index in used)
    renumbered = [FrameSource(frame.number, frame.camera, tuple((used.index(index), matrix)
                                                                for index, matrix in frame.placements))
                  for frame in frames]
    if not makers:
        raise InputError("render-no-splats", "No splat is seen in these frames.",
                         "Show one (the eye and the screen in the outliner).")
    return RenderPlan(tuple(RenderSource(makers, part) for part in _parts(renumbered)), numbers, folder)


def _frame(scene: bpy.types.Scene, layer: bpy.types.ViewLayer, number: int,
           splats: list[bpy.types.Object]) -> FrameSource:
    if scene.camera is None:
        raise InputError("render-no-camera", f"Frame {number} has no camera.", "Add one, and make it the scene's.")
    render = scene.render
    width = max(int(render.resolution_x * render.resolution_percentage / 100), 1)
    height = max(int(render.resolution_y * render.resolution_percentage / 100), 1)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    placements = tuple((index, np.array(each.evaluated_get(depsgraph).matrix_world, np.float64))
                       for index, each in enumerate(splats)
                       if not each.hide_viewport and not each.hide_get(view_layer=layer))
    return FrameSource(number, camera_of_object(scene.camera, width, height, pixel_aspect_of(scene)), placements)


def _maker(splat: bpy.types.Object) -> Callable[[], Gaussians]:
    """Read an object now; its Gaussians are made of that in the link's thread, once for all parts."""
    arrays = own_arrays(splat.data)
    made: list[Gaussians] = []

    def make() -> Gaussians:
        if not made:
            made.append(gaussians_from_arrays(arrays))
        return made[0]

    return make


def _parts(frames: list[FrameSource]) -> Iterator[tuple[FrameSource, ...]]:
    pixels = frames[0].camera.width_px * frames[0].camera.height_px
    if pixels > RENDER_PIXELS:
        raise InputError("render-too-large", f"A frame has {pixels / 1e6:.0f} megapixels; "
                         f"{RENDER_PIXELS / 1e6:.0f} can be rendered.", "Lower the scene's resolution.")
    # Several short parts rather than one long one: frames arrive with each.
    size = max(min(RENDER_FRAMES, RENDER_PIXELS // (2 * pixels)), 1)
    for start in range(0, len(frames), size):
        yield tuple(frames[start:start + size])
