# SPDX-License-Identifier: GPL-3.0-or-later
"""What is saved in the .blend for final renders: settings of a scene, and who renders a splat; no logic."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, IntProperty, PointerProperty, StringProperty

from .compat import blend_relative
from .scene.splat_nodes import show_in_renders

RELATIVE = blend_relative()

RENDERED_BY = [
    ("SPLATS", "Render Splats", "By the backend, exactly as trained; Blender's own render leaves it out"),
    ("BLENDER", "Blender", "By Cycles or EEVEE through nodes: shows in mirrors, lights the scene and casts shadows; "
                           "without view dependence and less exact. For up to about 100 000 Gaussians"),
]


def _renderer_changed(self, _context):
    show_in_renders(self.id_data, self.rendered_by == "BLENDER")


class SplatRenderSettings(bpy.types.PropertyGroup):
    """Of an object that holds Gaussians."""

    rendered_by: EnumProperty(
        name="Rendered By", items=RENDERED_BY, default="SPLATS", update=_renderer_changed,
        description="What draws this splat in final renders")


class RenderSettings(bpy.types.PropertyGroup):
    """Of a scene."""

    frames: EnumProperty(
        name="Frames", default="CURRENT", description="Which frames are rendered",
        items=[("CURRENT", "Current", "The current frame"),
               ("ANIMATION", "Animation", "The scene's frame range, with its step")])
    folder: StringProperty(
        name="Folder", subtype="DIR_PATH", options=RELATIVE, default="",
        description="Where the EXR files go; empty takes a folder beside the .blend")
    first_file: StringProperty(
        name="Newest Render", subtype="FILE_PATH", options=RELATIVE,
        description="The first EXR file of the newest render")
    first_frame: IntProperty(name="First Frame", description="Its frame")
    last_frame: IntProperty(name="Last Frame", description="The newest render's last frame")


CLASSES = (SplatRenderSettings, RenderSettings)


def register() -> None:
    """Register the groups and hang them on scenes and objects."""
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.Scene.interngs_render = PointerProperty(type=RenderSettings)
    bpy.types.Object.interngs_render = PointerProperty(type=SplatRenderSettings)


def unregister() -> None:
    """Undo ``register``."""
    del bpy.types.Object.interngs_render
    del bpy.types.Scene.interngs_render
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
