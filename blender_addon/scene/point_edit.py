# SPDX-License-Identifier: GPL-3.0-or-later
"""Editing Gaussians by hand: meshes of vertices and point clouds have Blender's own edit mode in every version."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from .splat_object import NODES, is_splat, shown_as

_edited: set[str] = set()
"""Splats that were seen in edit mode: their own display is given back afterwards."""


def edit_by_hand(context: bpy.types.Context, splat: bpy.types.Object, chosen: NDArray[np.bool_]) -> None:
    """Enter edit mode with the Gaussians of the mask ``chosen`` [N] selected."""
    if isinstance(splat.data, bpy.types.Mesh):
        context.tool_settings.mesh_select_mode = (True, False, False)
        splat.data.vertices.foreach_set("select", chosen)
    else:
        attribute = splat.data.attributes.get(".selection")
        if attribute is not None and attribute.data_type != "BOOLEAN":
            splat.data.attributes.remove(attribute)
            attribute = None
        attribute = attribute or splat.data.attributes.new(".selection", "BOOLEAN", "POINT")
        attribute.data.foreach_set("value", chosen)
    for each in context.selected_objects:
        each.select_set(False)
    splat.select_set(True)
    context.view_layer.objects.active = splat
    bpy.ops.object.mode_set(mode="EDIT")


def _uncover_vertices(splat: bpy.types.Object) -> None:
    """Where nodes show a mesh's vertices as points (below 4.5), these would hide the vertices in edit mode."""
    for modifier in splat.modifiers:
        if modifier.type == "NODES" and modifier.show_in_editmode and modifier.node_group is not None and (
                modifier.node_group.name.startswith(NODES)):
            modifier.show_in_editmode = False


def follow_edit_mode() -> None:
    """Have Blender show the points of a splat that is edited, and its usual display again once it is not."""
    layer = bpy.context.view_layer
    active = layer.objects.active if layer is not None else None
    if is_splat(active) and active.mode == "EDIT":
        _uncover_vertices(active)
        if active.display_type == "BOUNDS":
            active.display_type = "TEXTURED"
            _edited.add(active.name)
        return
    for name in _edited.copy():
        splat = bpy.data.objects.get(name)
        if splat is not None and splat.mode == "EDIT":
            continue
        _edited.discard(name)
        if splat is not None:
            splat.display_type = shown_as(bpy.context.window_manager.interngs.show_preview)
