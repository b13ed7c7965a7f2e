# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge rendered splats with Blender's own render by depth, in the compositor of each version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ...interngs.errors import InputError

MARK = "interngs_merge"
"""Custom property of the nodes made here, so that a second set-up replaces them and nothing else."""


def merge_by_depth(scene: bpy.types.Scene, first_file: Path, first_frame: int, last_frame: int) -> None:
    """Put the frames into the scene's compositing nodes: whatever is nearer, pixel by pixel, hides the other.

    What was composited before goes on to be: its last image is what the splats are merged with.

    Raises:
        InputError: the file is gone, or Blender does not see its layers.
    """
    if not first_file.is_file():
        raise InputError("render-missing", f"{first_file.name} is not there any more.", "Render the splats again.")
    for layer in scene.view_layers:
        layer.use_pass_z = True
    tree = _tree(scene)
    _remove_earlier(tree)
    output = _output(scene, tree)
    picture = _picture(tree, first_file, first_frame, last_frame)
    layers = next((each for each in tree.nodes if each.type == "R_LAYERS"), None)
    layers = layers or tree.nodes.new("CompositorNodeRLayers")
    layers.scene = scene
    socket = output.inputs[0]
    before = socket.links[0].from_socket if socket.is_linked else layers.outputs["Image"]
    merge = tree.nodes.new("CompositorNodeZcombine")
    merge[MARK] = True
    _set(merge, "use_alpha", "Use Alpha", True)
    _set(merge, "use_antialias_z", "Anti-Alias", False)
    images = [each for each in merge.inputs if each.type == "RGBA"]
    depths = [each for each in merge.inputs if each.type == "VALUE" and not each.hide and "lpha" not in each.name]
    tree.links.new(picture.outputs["Combined"], images[0])
    tree.links.new(picture.outputs["Depth"], depths[0])
    tree.links.new(before, images[1])
    tree.links.new(layers.outputs["Depth"], depths[1])
    tree.links.new(next(each for each in merge.outputs if each.type == "RGBA"), socket)
    picture.location = (layers.location.x, layers.location.y + 420)
    merge.location = ((layers.location.x + output.location.x) / 2 + 60, output.location.y)
    scene.render.use_compositing = True


def _tree(scene: bpy.types.Scene) -> bpy.types.NodeTree:
    """The scene's compositing nodes, made if there are none: 5.0 moved them to a node group of their own."""
    if hasattr(scene, "compositing_node_group"):
        if scene.compositing_node_group is None:
            tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
            tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
            scene.compositing_node_group = tree
        return scene.compositing_node_group
    scene.use_nodes = True
    return scene.node_tree


def _output(scene: bpy.types.Scene, tree: bpy.types.NodeTree) -> bpy.types.Node:
    kind = "NodeGroupOutput" if hasattr(scene, "compositing_node_group") else "CompositorNodeComposite"
    found = next((each for each in tree.nodes if each.bl_idname == kind), None)
    if found is None:
        found = tree.nodes.new(kind)
        found.location = (500, 0)
    return found


def _picture(tree: bpy.types.NodeTree, first_file: Path, first_frame: int, last_frame: int) -> bpy.types.Node:
    image = bpy.data.images.load(str(first_file), check_existing=True)
    image.source = "SEQUENCE" if last_frame > first_frame else "FILE"
    image.reload()
    node = tree.nodes.new("CompositorNodeImage")
    node[MARK] = True
    node.label = "Splats"
    node.image = image
    if image.source == "SEQUENCE":
        node.frame_duration = last_frame - first_frame + 1
        node.frame_start, node.frame_offset = first_frame, first_frame - 1
    if "Depth" not in node.outputs or "Combined" not in node.outputs:
        tree.nodes.remove(node)
        raise InputError("render-no-layers", f"{first_file.name} has no layers that Blender reads.",
                         "Render the splats again; if it comes back, copy the details into a report.")
    return node


def _remove_earlier(tree: bpy.types.NodeTree) -> None:
    """Take out an earlier set-up; what it was merged with is the output again."""
    for merge in [each for each in tree.nodes if each.get(MARK) and each.bl_idname == "CompositorNodeZcombine"]:
        images = [each for each in merge.inputs if each.type == "RGBA"]
        targets = [link.to_socket for output in merge.outputs for link in output.links]
        if images[1].is_linked:
            for target in targets:
                tree.links.new(images[1].links[0].from_socket, target)
    for node in [each for each in tree.nodes if each.get(MARK)]:
        tree.nodes.remove(node)


def _set(node: Any, name: str, socket: str, value: bool) -> None:
    """A node's option: a property of its own, or from 5.0 a socket."""
    if socket in node.inputs:
        node.inputs[socket].default_value = value
    elif hasattr(node, name):
        setattr(node, name, value)
