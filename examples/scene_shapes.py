# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes of the example scene: boxes, turned shapes, cloth, leaves (runs inside Blender's Python)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import bpy
from mathutils import Euler

Point = tuple[float, float, float]


def place(mesh: bpy.types.Mesh, material: bpy.types.Material, location: Sequence[float],
          turn_deg: Sequence[float] = (0.0, 0.0, 0.0), smooth: bool = False) -> bpy.types.Object:
    """An object of ``mesh`` in the scene."""
    thing = bpy.data.objects.new(mesh.name, mesh)
    mesh.materials.clear()
    mesh.materials.append(material)
    mesh.polygons.foreach_set("use_smooth", [smooth] * len(mesh.polygons))
    thing.location = location
    thing.rotation_euler = Euler([math.radians(angle) for angle in turn_deg])
    bpy.context.scene.collection.objects.link(thing)
    return thing


def mesh_of(name: str, vertices: Sequence[Point], faces: Sequence[Sequence[int]],
            uv: Sequence[tuple[float, float]] | None = None) -> bpy.types.Mesh:
    """A mesh; ``uv`` gives one coordinate per vertex."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices, [], faces)
    if uv is not None:
        layer = mesh.uv_layers.new()
        for loop in mesh.loops:
            layer.data[loop.index].uv = uv[loop.vertex_index]
    mesh.update()
    return mesh


def box(name: str, size: Sequence[float], location: Sequence[float], material: bpy.types.Material,
        turn_deg: Sequence[float] = (0.0, 0.0, 0.0), bevel_m: float = 0.003) -> bpy.types.Object:
    """A box around ``location`` with softened edges."""
    x, y, z = (extent / 2 for extent in size)
    corners = [(sx * x, sy * y, sz * z) for sz in (-1, 1) for sy in (-1, 1) for sx in (-1, 1)]
    faces = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    thing = place(mesh_of(name, corners, faces), material, location, turn_deg)
    if bevel_m > 0:
        bevel = thing.modifiers.new("soft edges", "BEVEL")
        bevel.width, bevel.segments = bevel_m, 2
    return thing


def turned(name: str, profile: Sequence[tuple[float, float]], location: Sequence[float], material: bpy.types.Material,
           segments: int = 40, turn_deg: Sequence[float] = (0.0, 0.0, 0.0)) -> bpy.types.Object:
    """A shape from the lathe: ``profile`` lists (radius, height) from the bottom to the top."""
    vertices: list[Point] = []
    for radius, height in profile:
        for step in range(segments):
            angle = 2 * math.pi * step / segments
            vertices.append((radius * math.cos(angle), radius * math.sin(angle), height))
    faces: list[Sequence[int]] = []
    for ring in range(len(profile) - 1):
        for step in range(segments):
            right = (step + 1) % segments
            faces.append((ring * segments + step, ring * segments + right,
                          (ring + 1) * segments + right, (ring + 1) * segments + step))
    faces.append(range(segments - 1, -1, -1))
    faces.append(range((len(profile) - 1) * segments, len(profile) * segments))
    thing = place(mesh_of(name, vertices, faces), material, location, turn_deg, smooth=True)
    split = thing.modifiers.new("sharp corners", "EDGE_SPLIT")
    split.split_angle = math.radians(50)
    return thing


def ball(name: str, radius: float, location: Sequence[float], material: bpy.types.Material) -> bpy.types.Object:
    """A sphere."""
    rings = 24
    profile = [(radius * math.sin(math.pi * (ring + 0.02) / (rings + 0.04)),
                -radius * math.cos(math.pi * (ring + 0.02) / (rings + 0.04))) for ring in range(rings + 1)]
    return turned(name, profile, location, material, 48)


def sheet(name: str, shape: Callable[[float, float], Point], columns: int, rows: int, material: bpy.types.Material,
          location: Sequence[float] = (0.0, 0.0, 0.0), turn_deg: Sequence[float] = (0.0, 0.0, 0.0),
          thickness_m: float = 0.0) -> bpy.types.Object:
    """A curved sheet: ``shape(u, v)`` with u, v in 0..1 gives each point; UV map is (u, v)."""
    uv = [(column / columns, row / rows) for row in range(rows + 1) for column in range(columns + 1)]
    vertices = [shape(u, v) for u, v in uv]
    stride = columns + 1
    corners = [row * stride + column for row in range(rows) for column in range(columns)]
    faces = [(corner, corner + 1, corner + stride + 1, corner + stride) for corner in corners]
    thing = place(mesh_of(name, vertices, faces, uv), material, location, turn_deg, smooth=True)
    if thickness_m > 0:
        solid = thing.modifiers.new("thickness", "SOLIDIFY")
        solid.thickness = thickness_m
    return thing


def monkey(name: str, size_m: float, location: Sequence[float], material: bpy.types.Material,
           turn_deg: Sequence[float]) -> bpy.types.Object:
    """Suzanne, Blender's own test head, ``size_m`` across the ears."""
    bpy.ops.mesh.primitive_monkey_add()
    thing = bpy.context.object
    thing.name = name
    thing.data.materials.append(material)
    thing.data.polygons.foreach_set("use_smooth", [True] * len(thing.data.polygons))
    thing.scale = [size_m / 2.73] * 3
    thing.location = location
    thing.rotation_euler = Euler([math.radians(angle) for angle in turn_deg])
    smooth = thing.modifiers.new("smooth", "SUBSURF")
    smooth.levels = smooth.render_levels = 2
    return thing
