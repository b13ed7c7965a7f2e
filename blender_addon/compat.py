# SPDX-License-Identifier: GPL-3.0-or-later
"""What this Blender can do, found by looking at its features rather than at its version number."""

from __future__ import annotations

from functools import cache
from typing import Literal

import bpy

SplatKind = Literal["NATIVE", "POINT_CLOUD", "MESH"]


def has_native_splats() -> bool:
    """Whether point clouds have Blender's own Gaussian-splat type (5.3 and later)."""
    kind = bpy.types.PointCloud.bl_rna.properties.get("type")
    return kind is not None and kind.type == "ENUM" and "GAUSSIAN_SPLAT" in kind.enum_items


def can_resize_point_clouds() -> bool:
    """Whether a point cloud can be given its size from Python (5.1 and later)."""
    return "resize" in bpy.types.PointCloud.bl_rna.functions


def has_point_cloud_objects() -> bool:
    """Whether point clouds are objects like any other (4.5 and later)."""
    return bpy.app.version >= (4, 5)  # the type exists before, unfinished: nothing to test for


def splat_kind() -> SplatKind:
    """The best object for Gaussians that this Blender has."""
    if has_native_splats():
        return "NATIVE"
    return "POINT_CLOUD" if can_resize_point_clouds() or has_point_cloud_objects() else "MESH"


def has_float4_attributes() -> bool:
    """Whether attributes of four plain floats exist (5.2 and later); colours of four floats stand in before."""
    return "FLOAT4" in bpy.types.Attribute.bl_rna.properties["data_type"].enum_items


def enable_nodes(owner: bpy.types.Material) -> None:
    """Make sure that a material has a node tree (from 5.0 it always has one)."""
    if owner.node_tree is None:
        owner.use_nodes = True


def blend_relative() -> set[str]:
    """Options of a property that keeps a path relative to the .blend (4.5 and later want to be told)."""
    known = "is_path_supports_blend_relative" in bpy.types.Property.bl_rna.properties
    return {"PATH_SUPPORTS_BLEND_RELATIVE"} if known else set()


@cache
def icon(name: str) -> str:
    """``name`` where this Blender has such an icon, else ``DOT`` (names come and go between versions)."""
    known = bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
    return name if name in known else "DOT"
