# SPDX-License-Identifier: GPL-3.0-or-later
"""The Gaussians as a Blender object: made once, updated in place, replaced without leaving data-blocks behind."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ...interngs.errors import InputError
from ...interngs.scene.gaussians import Gaussians
from .. import compat
from .splat_arrays import BASE, SH_PREFIX, SplatArrays, gaussians_from_arrays

MATERIAL = "Intern-GS Splat"
NODES = "Intern-GS Points"
OWN = ("position", "scale", "rotation", BASE, "radius", "opacity", "colour")
FOREACH_NAME = {"FLOAT": "value", "FLOAT_VECTOR": "vector", "FLOAT_COLOR": "color", "FLOAT4": "vector",
                  "QUATERNION": "value"}
COMPONENTS = {"FLOAT": 1, "FLOAT_VECTOR": 3, "FLOAT_COLOR": 4, "FLOAT4": 4, "QUATERNION": 4}

SplatData = bpy.types.PointCloud | bpy.types.Mesh


def attribute_type(name: str) -> str:
    """Blender's type for one of our attributes."""
    if name in ("radius", "opacity"):
        return "FLOAT"
    if name == "rotation":
        return "QUATERNION"
    if name == BASE:
        return "FLOAT4" if compat.has_native_splats() and compat.has_float4_attributes() else "FLOAT_COLOR"
    return "FLOAT_COLOR" if name == "colour" else "FLOAT_VECTOR"


def wants_viewing_attributes() -> bool:
    """Whether ``splat_arrays`` must also make what shows the Gaussians as points."""
    return not compat.has_native_splats()


def _evaluated_point_cloud(name: str, count: int) -> bpy.types.PointCloud:
    """A point cloud of ``count`` points where Python cannot size one (4.5 and 5.0): made by nodes, then copied.

    All of it happens in a scene of its own, so that nothing of the artist's is evaluated, selected or left, whatever
    mode Blender is in; ``object.convert`` would need object mode and a view layer that can be written to.
    """
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    scene = bpy.data.scenes.new(name)
    empty = bpy.data.pointclouds.new(name)
    carrier = bpy.data.objects.new(name, empty)
    try:
        tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
        points, last = tree.nodes.new("GeometryNodePoints"), tree.nodes.new("NodeGroupOutput")
        points.inputs["Count"].default_value = count
        tree.links.new(points.outputs[0], last.inputs[0])
        carrier.modifiers.new("Points", "NODES").node_group = tree
        scene.collection.objects.link(carrier)
        layer = scene.view_layers[0]
        layer.update()
        return carrier.evaluated_get(layer.depsgraph).data.copy()
    finally:
        bpy.data.scenes.remove(scene)
        bpy.data.objects.remove(carrier)
        bpy.data.pointclouds.remove(empty)
        bpy.data.node_groups.remove(tree)


def new_data(name: str, count: int) -> SplatData:
    """An empty data-block of ``count`` points.  A point cloud is sized once: 5.1 crashes after a second time."""
    if compat.can_resize_point_clouds():
        cloud = bpy.data.pointclouds.new(name)
        cloud.resize(count)
        if compat.has_native_splats():
            cloud.type = "GAUSSIAN_SPLAT"
        return cloud
    if compat.splat_kind() == "POINT_CLOUD":
        cloud = _evaluated_point_cloud(name, count)
        cloud.name = name
        return cloud
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(count)
    return mesh


def remove_data(data: SplatData) -> None:
    """Remove a data-block that nothing uses."""
    if data.users == 0:
        (bpy.data.meshes if isinstance(data, bpy.types.Mesh) else bpy.data.pointclouds).remove(data)


def point_count(data: SplatData) -> int:
    """Number of Gaussians in a data-block."""
    return len(data.vertices) if isinstance(data, bpy.types.Mesh) else len(data.points)


def _write(data: SplatData, splats: SplatArrays) -> None:
    """Hand the arrays over, one call each; drop our attributes that ``splats`` no longer has."""
    stale = [each.name for each in data.attributes
             if each.name not in splats.arrays and (each.name in OWN or each.name.startswith(SH_PREFIX))]
    for name in stale:
        data.attributes.remove(data.attributes[name])
    for name, array in splats.arrays.items():
        write_attribute(data, name, array)
    data.update_tag()


def write_attribute(data: SplatData, name: str, array: NDArray[np.float32]) -> None:
    """Hand over one of our attributes, one call; it is made if need be."""
    kind = attribute_type(name)
    attribute = data.attributes.get(name)
    if attribute is not None and (attribute.data_type != kind or attribute.domain != "POINT"):
        data.attributes.remove(attribute)
        attribute = None
    if attribute is None:
        attribute = data.attributes.new(name, kind, "POINT")
    if array.size:
        attribute.data.foreach_set(FOREACH_NAME[kind], array.reshape(-1))


def splat_material() -> bpy.types.Material:
    """The one material that shows the Gaussians' colours wherever Blender does not draw splats itself."""
    found = bpy.data.materials.get(MATERIAL)
    if found is not None:
        return found
    material = bpy.data.materials.new(MATERIAL)
    compat.enable_nodes(material)
    tree = material.node_tree
    tree.nodes.clear()
    attribute = tree.nodes.new("ShaderNodeAttribute")
    attribute.attribute_name = "colour"
    emission = tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    attribute.location, emission.location, output.location = (-400, 0), (-180, 0), (20, 0)
    tree.links.new(attribute.outputs["Color"], emission.inputs["Color"])
    tree.links.new(emission.outputs["Emission"], output.inputs["Surface"])
    return material


def _points_nodes() -> bpy.types.GeometryNodeTree:
    """Geometry nodes that show a mesh of vertices as points (below 4.5)."""
    found = bpy.data.node_groups.get(NODES)
    if found is not None:
        return found
    tree = bpy.data.node_groups.new(NODES, "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    first, last = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    radius = tree.nodes.new("GeometryNodeInputNamedAttribute")
    radius.inputs["Name"].default_value = "radius"
    points, material = tree.nodes.new("GeometryNodeMeshToPoints"), tree.nodes.new("GeometryNodeSetMaterial")
    material.inputs["Material"].default_value = splat_material()
    for number, node in enumerate((first, radius, points, material, last)):
        node.location = (number * 200, -160 if node is radius else 0)
    tree.links.new(first.outputs[0], points.inputs["Mesh"])
    tree.links.new(radius.outputs["Attribute"], points.inputs["Radius"])
    tree.links.new(points.outputs[0], material.inputs["Geometry"])
    tree.links.new(material.outputs[0], last.inputs[0])
    return tree


def create(name: str, splats: SplatArrays, collection: bpy.types.Collection) -> bpy.types.Object:
    """A new object with ``splats`` in its own space, at the world's origin."""
    data = new_data(name, splats.count)
    _write(data, splats)
    return create_with(name, data, collection)


def create_with(name: str, data: SplatData, collection: bpy.types.Collection) -> bpy.types.Object:
    """A new object of a data-block that has all its attributes."""
    data.name = name
    splat = bpy.data.objects.new(name, data)
    collection.objects.link(splat)
    if not compat.has_native_splats():
        data.materials.append(splat_material())
    if isinstance(data, bpy.types.Mesh):
        splat.modifiers.new("Points", "NODES").node_group = _points_nodes()
    splat.interngs_splat.is_splat = True
    # Blender's engines would draw points where Gaussians should be: see scene/splat_nodes.py.
    splat.hide_render = not compat.has_native_splats()
    splat.display_type = shown_as(bpy.context.window_manager.interngs.show_preview)
    return splat


def update(splat: bpy.types.Object, splats: SplatArrays) -> None:
    """Show other Gaussians in an existing object: its transform, parent, name and modifiers stay.

    The same number of points is written in place; another number takes a new data-block, and the old one goes.
    """
    old = splat.data
    if point_count(old) == splats.count:
        _write(old, splats)
        return
    new = new_data(old.name, splats.count)
    _write(new, splats)
    replace(splat, new)


def replace(splat: bpy.types.Object, new: SplatData) -> None:
    """Give an object (and its linked copies) another data-block; the old one's name and materials go over to it."""
    old = splat.data
    name = old.name
    for material in old.materials:
        new.materials.append(material)
    old.user_remap(new)
    remove_data(old)
    new.name = name


def is_splat(candidate: bpy.types.Object | None) -> bool:
    """Whether an object holds Gaussians: made here, or Blender's own."""
    if candidate is None or candidate.type not in {"POINTCLOUD", "MESH"}:
        return False
    return all(name in candidate.data.attributes for name in ("scale", "rotation", BASE))


def find(job_id: str) -> bpy.types.Object | None:
    """The object that shows a job, looked up each time since undo and file load move objects about."""
    return next((each for each in bpy.data.objects if each.interngs_splat.job_id == job_id), None) if job_id else None


def read(splat: bpy.types.Object) -> Gaussians:
    """The Gaussians in an object, in its own space.

    Raises:
        InputError: when the object lacks the attributes of a splat.
    """
    if not is_splat(splat):
        raise InputError("not-a-splat", f"{splat.name!r} holds no Gaussians.",
                         "Select an object that Intern-GS or Blender's splat importer made.")
    return gaussians_from_arrays({attribute.name: read_attribute(splat.data, attribute.name)
                                  for attribute in splat.data.attributes
                                  if attribute.name in OWN or attribute.name.startswith(SH_PREFIX)})


def read_attribute(data: SplatData, name: str) -> NDArray[np.float32]:
    """One of our attributes as [N] or [N, components] float32."""
    attribute = data.attributes[name]
    width = COMPONENTS[attribute.data_type]
    array = np.empty(len(attribute.data) * width, np.float32)
    attribute.data.foreach_get(FOREACH_NAME[attribute.data_type], array)
    return array.reshape(-1, width) if width > 1 else array


def shown_as(preview: bool) -> str:
    """Blender's own display of a splat object: its bounds where the add-on draws the Gaussians, else its points."""
    return "BOUNDS" if preview and not compat.has_native_splats() else "TEXTURED"
