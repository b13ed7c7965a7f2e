# SPDX-License-Identifier: GPL-3.0-or-later
"""Splats in Blender's own renders: nodes that put an ellipsoid around each Gaussian, and a material that fades it.

The material gives each ellipsoid the alpha ``opacity * exp(-r^2 / 2)``, where r is the smallest distance, in standard
deviations, between the ray and the Gaussian's centre: with p a point of the ray and d its direction in the Gaussian's
own space, ``r^2 = |p|^2 - (p . d)^2 / |d|^2``.  So the shape that carries it only has to be large enough.
"""

from __future__ import annotations

import bpy

from .. import compat
from .splat_object import is_splat

NODES, MATERIAL, MODIFIER = "Intern-GS Ellipsoids", "Intern-GS Gaussian", "Intern-GS Ellipsoids"
POINTS_MODIFIER = "Points"
RADIUS = 3.8
"""Of an icosahedron whose faces lie outside three standard deviations."""
TRANSPARENT_BOUNCES = 128
"""Layers of Gaussians that Cycles looks through; its own default is 8."""


def show_in_renders(splat: bpy.types.Object, by_blender: bool) -> None:
    """Let Blender's engines draw a splat through nodes, or leave it out of their renders."""
    if compat.has_native_splats() or not is_splat(splat):
        return
    splat.hide_render = not by_blender
    points = splat.modifiers.get(POINTS_MODIFIER)
    if points is not None:
        points.show_render = not by_blender
    modifier = splat.modifiers.get(MODIFIER)
    if not by_blender:
        if modifier is not None:
            splat.modifiers.remove(modifier)
        return
    if modifier is None:
        modifier = splat.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = ellipsoid_nodes()
    modifier.show_viewport = False  # the viewport draws Gaussians better, and at once
    for scene in splat.users_scene:
        if not hasattr(scene, "cycles"):
            continue  # Cycles is switched off
        scene.cycles.transparent_max_bounces = max(scene.cycles.transparent_max_bounces, TRANSPARENT_BOUNCES)


def ellipsoid_nodes() -> bpy.types.GeometryNodeTree:
    """Geometry nodes: an icosahedron on each point, scaled and turned as its Gaussian is."""
    found = bpy.data.node_groups.get(NODES)
    if found is not None:
        return found
    tree = bpy.data.node_groups.new(NODES, "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    new, link = tree.nodes.new, tree.links.new
    first, last, shape = new("NodeGroupInput"), new("NodeGroupOutput"), new("GeometryNodeMeshIcoSphere")
    shape.inputs["Radius"].default_value, shape.inputs["Subdivisions"].default_value = RADIUS, 1
    material, instances = new("GeometryNodeSetMaterial"), new("GeometryNodeInstanceOnPoints")
    material.inputs["Material"].default_value = gaussian_material()
    scale, rotation = new("GeometryNodeInputNamedAttribute"), new("GeometryNodeInputNamedAttribute")
    scale.data_type, rotation.data_type = "FLOAT_VECTOR", "QUATERNION"
    scale.inputs["Name"].default_value, rotation.inputs["Name"].default_value = "scale", "rotation"
    for number, (node, row) in enumerate(((first, 0), (shape, 1), (material, 1), (rotation, 2), (scale, 3),
                                          (instances, 0), (last, 0))):
        node.location = (number * 180, -180 * row)
    link(shape.outputs["Mesh"], material.inputs["Geometry"])
    link(first.outputs[0], instances.inputs["Points"])
    link(material.outputs["Geometry"], instances.inputs["Instance"])
    link(rotation.outputs["Attribute"], instances.inputs["Rotation"])
    link(scale.outputs["Attribute"], instances.inputs["Scale"])
    link(instances.outputs["Instances"], last.inputs[0])
    return tree


def gaussian_material() -> bpy.types.Material:
    """Emission in the Gaussian's colour, mixed with transparency by the alpha of the ray."""
    found = bpy.data.materials.get(MATERIAL)
    if found is not None:
        return found
    material = bpy.data.materials.new(MATERIAL)
    compat.enable_nodes(material)
    material.use_transparent_shadow = True
    tree = material.node_tree
    tree.nodes.clear()
    new, link = tree.nodes.new, tree.links.new

    def math(operation: str, *inputs: bpy.types.NodeSocket | float) -> bpy.types.NodeSocket:
        node = new("ShaderNodeMath")
        node.operation = operation
        return _fill(tree, node, inputs)

    def dot(one: bpy.types.NodeSocket, two: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        node = new("ShaderNodeVectorMath")
        node.operation = "DOT_PRODUCT"
        link(one, node.inputs[0])
        link(two, node.inputs[1])
        return node.outputs["Value"]

    geometry, coordinates, turn = new("ShaderNodeNewGeometry"), new("ShaderNodeTexCoord"), new(
        "ShaderNodeVectorTransform")
    turn.vector_type, turn.convert_from, turn.convert_to = "VECTOR", "WORLD", "OBJECT"
    link(geometry.outputs["Incoming"], turn.inputs[0])
    point, direction = coordinates.outputs["Object"], turn.outputs[0]
    along = dot(point, direction)
    squared = math("SUBTRACT", dot(point, point), math("DIVIDE", math("MULTIPLY", along, along),
                                                       dot(direction, direction)))
    opacity, colour = new("ShaderNodeAttribute"), new("ShaderNodeAttribute")
    opacity.attribute_name, colour.attribute_name = "opacity", "colour"
    opacity.attribute_type = colour.attribute_type = "INSTANCER"
    faded = math("MULTIPLY", opacity.outputs["Fac"], math("EXPONENT", math("MULTIPLY", squared, -0.5)))
    # Each ray meets an ellipsoid twice: only the side towards it counts.
    alpha = math("MULTIPLY", faded, math("SUBTRACT", 1.0, geometry.outputs["Backfacing"]))
    emission, clear, mix = new("ShaderNodeEmission"), new("ShaderNodeBsdfTransparent"), new("ShaderNodeMixShader")
    output = new("ShaderNodeOutputMaterial")
    link(colour.outputs["Color"], emission.inputs["Color"])
    link(alpha, mix.inputs[0])
    link(clear.outputs[0], mix.inputs[1])
    link(emission.outputs[0], mix.inputs[2])
    link(mix.outputs[0], output.inputs["Surface"])
    for number, node in enumerate(tree.nodes):
        node.location = (number % 5 * 200, -number // 5 * 200)
    return material


def _fill(tree: bpy.types.NodeTree, node: bpy.types.Node,
          inputs: tuple[bpy.types.NodeSocket | float, ...]) -> bpy.types.NodeSocket:
    for socket, value in zip(node.inputs, inputs, strict=False):
        if isinstance(value, bpy.types.NodeSocket):
            tree.links.new(value, socket)
        else:
            socket.default_value = value
    return node.outputs[0]
