# SPDX-License-Identifier: GPL-3.0-or-later
"""What is saved with a splat for cleaning and placing it, and what the window keeps for that; no logic."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, IntProperty, PointerProperty

KEEP = [("INSIDE", "Keep Inside", "What lies outside is removed"),
        ("OUTSIDE", "Keep Outside", "What lies inside is removed")]
IDENTITY = tuple(1.0 if row == column else 0.0 for row in range(4) for column in range(4))


def _may_crop(self: CleanSettings, candidate: bpy.types.Object) -> bool:
    return candidate.type in {"EMPTY", "MESH"} and candidate is not self.id_data


class CleanSettings(bpy.types.PropertyGroup):
    """The filters of one splat.  They stay with it, so that cleaning can be looked at and done again."""

    box: PointerProperty(
        name="Box", type=bpy.types.Object, poll=_may_crop,
        description="An empty or a mesh object whose box crops the splat; move, turn and scale it")
    box_keep: EnumProperty(name="Box Keeps", items=KEEP, default="INSIDE", description="Which side of the box stays")
    sphere: PointerProperty(
        name="Sphere", type=bpy.types.Object, poll=_may_crop,
        description="An empty or a mesh object whose ellipsoid crops the splat; move, turn and scale it")
    sphere_keep: EnumProperty(
        name="Sphere Keeps", items=KEEP, default="INSIDE", description="Which side of the sphere stays")
    use_opacity: BoolProperty(name="Opacity", default=True, description="Remove Gaussians that are too faint")
    min_opacity: FloatProperty(
        name="Least Opacity", default=0.02, min=0.0, max=1.0, precision=3, step=1, subtype="FACTOR",
        description="Fainter Gaussians go; a screen shows nothing below 0.004")
    use_size: BoolProperty(name="Size", default=True, description="Remove Gaussians that are too large")
    max_size: FloatProperty(
        name="Largest Size", default=0.5, min=0.0, soft_max=1.0, precision=3, step=1,
        description="Larger ones go: greatest standard deviation as a share of the splat's extent")
    use_needles: BoolProperty(name="Needles", default=True, description="Remove Gaussians that are long and thin")
    max_needle: FloatProperty(
        name="Longest Needle", default=30.0, min=1.0, soft_max=200.0,
        description="Longer ones go: longest axis over the middle one; flat discs stay")
    use_isolated: BoolProperty(
        name="Floaters", default=True, description="Remove Gaussians that lie far from all others")
    max_isolation: FloatProperty(
        name="Farther than Neighbours", default=6.0, min=1.0, soft_max=20.0,
        description="Those go that lie this many times farther from their neighbours than these from theirs")
    max_sparsity: FloatProperty(
        name="Farther than Most", default=5.0, min=0.0, soft_max=10.0,
        description="Those go that lie this many standard deviations farther from their neighbours than is usual here")
    use_support: BoolProperty(
        name="Seen by Few", default=False, description="Remove Gaussians that few photographs have in their frame")
    min_views: IntProperty(
        name="Least Photographs", default=2, min=1, soft_max=12,
        description="Those go that fewer photographs have in their frame")
    use_hull: BoolProperty(
        name="Camera Hull", default=False,
        description="Remove Gaussians outside of the space that the photographs' cameras enclose with their views")
    hull_reach: FloatProperty(
        name="Reach", default=3.0, min=0.1, soft_max=20.0,
        description="How far the views count, as a multiple of the depth at which most of the splat lies")
    use_depth: BoolProperty(
        name="Captured Depth", default=False,
        description="Remove Gaussians that float before the surfaces whose depth the scene capture recorded")
    depth_tolerance: FloatProperty(
        name="Tolerance", default=0.02, min=0.0, soft_max=0.2, precision=3, step=1, subtype="FACTOR",
        description="How far before the surface a Gaussian may lie, as a share of its distance from the camera")


class PlaceFacts(bpy.types.PropertyGroup):
    """Where the splat's own space lies; kept when a transform is applied."""

    splat_from_training: FloatVectorProperty(
        name="Since Training", size=16, default=IDENTITY,
        description="From the space of the training cameras to the splat's own, by rows")


class FinishWindowSettings(bpy.types.PropertyGroup):
    """What the panels for cleaning and comparing keep while Blender runs; never saved."""

    show_marked: BoolProperty(
        name="Show Marked", default=False,
        description="Draw what the filters would remove, in a colour for each filter")
    compare: BoolProperty(
        name="Compare", default=False,
        description="In camera views, draw the photograph over the left part of the picture")
    wipe: FloatProperty(
        name="Wipe", default=0.5, min=0.0, max=1.0, subtype="FACTOR",
        description="Where the photograph ends and the splat begins; drag it, or Ctrl-click to type")


CLASSES = (CleanSettings, PlaceFacts, FinishWindowSettings)


def register() -> None:
    """Register the groups and hang them on objects and the window manager."""
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.Object.interngs_clean = PointerProperty(type=CleanSettings)
    bpy.types.Object.interngs_place = PointerProperty(type=PlaceFacts)
    bpy.types.WindowManager.interngs_finish = PointerProperty(type=FinishWindowSettings)


def unregister() -> None:
    """Undo ``register``."""
    del bpy.types.WindowManager.interngs_finish
    del bpy.types.Object.interngs_place
    del bpy.types.Object.interngs_clean
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
