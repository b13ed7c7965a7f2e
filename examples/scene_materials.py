# SPDX-License-Identifier: GPL-3.0-or-later
"""Procedural, diffuse, richly textured materials of the example scene (runs inside Blender's Python)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy

Colour = tuple[float, float, float]
Socket = Any


class Graph:
    """The nodes of one diffuse material, written as a chain of calls."""

    def __init__(self, name: str, roughness: float = 0.8) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.shader = self.tree.nodes["Principled BSDF"]
        self.shader.inputs["Roughness"].default_value = roughness
        self.shader.inputs["Specular IOR Level"].default_value = 0.15

    def node(self, kind: str, inputs: dict[str | int, Any] | None = None, **settings: Any) -> Any:
        """A node ``ShaderNode<kind>``; inputs are values or sockets to link from."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, value in settings.items():
            setattr(node, name, value)
        for key, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[key])
            else:
                node.inputs[key].default_value = value
        return node

    def place(self, scale: Sequence[float] = (1, 1, 1), source: str = "Object", shift: bool = True) -> Socket:
        """Texture coordinates, scaled; shifted by each object's random number so that no two look alike."""
        coordinates = self.node("TexCoord").outputs[source]
        mapped = self.node("Mapping", {"Vector": coordinates, "Scale": scale}).outputs[0]
        if not shift:
            return mapped
        random = self.node("ObjectInfo").outputs["Random"]
        offset = self.node("Math", {0: random, 1: 37.0}, operation="MULTIPLY").outputs[0]
        return self.node("VectorMath", {0: mapped, 1: offset}).outputs[0]

    def noise(self, place: Socket, scale: float, detail: float = 6.0, distortion: float = 0.0) -> Socket:
        return self.node("TexNoise", {"Vector": place, "Scale": scale, "Detail": detail,
                                      "Distortion": distortion}).outputs[0]

    def ramp(self, factor: Socket, stops: Sequence[tuple[float, Colour]], steps: bool = False) -> Socket:
        """Colours along a factor; with ``steps`` in flat bands."""
        node = self.node("ValToRGB", {"Fac": factor})
        elements = node.color_ramp.elements
        while len(elements) < len(stops):
            elements.new(0.5)
        for element, (position, colour) in zip(elements, stops, strict=True):
            element.position, element.color = position, (*colour, 1.0)
        node.color_ramp.interpolation = "CONSTANT" if steps else "LINEAR"
        return node.outputs[0]

    def mix(self, factor: Socket | float, a: Socket | Colour, b: Socket | Colour, blend: str = "MIX") -> Socket:
        def rgba(colour: Socket | Colour) -> Any:
            return (*colour, 1.0) if isinstance(colour, tuple) else colour
        return self.node("MixRGB", {0: factor, 1: rgba(a), 2: rgba(b)}, blend_type=blend).outputs[0]

    def speckle(self, colour: Socket, place: Socket, scale: float, amount: float) -> Socket:
        """Fine light and dark grains, so that no surface is flat."""
        grains = self.ramp(self.noise(place, scale, detail=5.0), [(0.3, (0.25, 0.25, 0.25)), (0.7, (1.0, 1.0, 1.0))])
        return self.mix(amount, colour, grains, "MULTIPLY")

    def finish(self, colour: Socket, height: Socket | None = None, bump_m: float = 0.002) -> bpy.types.Material:
        """The material, with an optional bump of that depth."""
        self.tree.links.new(colour, self.shader.inputs["Base Color"])
        if height is not None:
            bump = self.node("Bump", {"Height": height, "Distance": bump_m, "Strength": 0.8}).outputs[0]
            self.tree.links.new(bump, self.shader.inputs["Normal"])
        return self.material


def wood(name: str, dark: Colour, light: Colour, grain: Sequence[float] = (2.0, 14.0, 14.0),
         wear: float = 0.25) -> bpy.types.Material:
    """Wood whose grain runs along the axis with the smallest scale; ``wear`` adds knots, dents and stains."""
    graph = Graph(name, 0.65)
    place = graph.place(grain)
    broad = graph.noise(place, 1.6, detail=3.0, distortion=1.2)
    rings = graph.node("TexWave", {"Vector": place, "Scale": 0.9, "Distortion": 7.0, "Detail": 4.0},
                       bands_direction="Z").outputs[0]
    fine = graph.noise(place, 9.0, detail=5.0)
    colour = graph.ramp(graph.mix(0.55, broad, rings), [(0.25, dark), (0.75, light)])
    colour = graph.mix(0.6, colour, graph.ramp(fine, [(0.35, (0.45, 0.4, 0.38)), (0.65, (1.1, 1.1, 1.1))]), "MULTIPLY")
    stains = graph.noise(graph.place((1.0, 1.0, 1.0)), 11.0, detail=5.0, distortion=0.8)
    worn = graph.ramp(stains, [(0.36, (0.25, 0.2, 0.18)), (0.6, (1.25, 1.2, 1.15))])
    colour = graph.mix(wear, colour, worn, "MULTIPLY")
    return graph.finish(graph.speckle(colour, graph.place((1.0, 1.0, 1.0)), 130.0, wear), fine, 0.0015)


def bricks(name: str) -> bpy.types.Material:
    """An old brick wall in the object's x-z plane."""
    graph = Graph(name, 0.9)
    coordinates = graph.node("TexCoord").outputs["Object"]
    place = graph.node("Mapping", {"Vector": coordinates, "Rotation": (-1.5707963, 0.0, 0.0)}).outputs[0]
    wobble = graph.node("TexNoise", {"Vector": place, "Scale": 9.0, "Detail": 2.0}).outputs[1]
    bent = graph.mix(0.012, place, wobble, "ADD")
    brick = graph.node("TexBrick", {"Vector": bent, "Color1": (0.36, 0.11, 0.06, 1), "Color2": (0.56, 0.25, 0.14, 1),
                                    "Mortar": (0.52, 0.47, 0.40, 1), "Scale": 1.0, "Mortar Size": 0.011,
                                    "Mortar Smooth": 0.3, "Bias": 0.0, "Brick Width": 0.23, "Row Height": 0.078})
    stains = graph.ramp(graph.noise(place, 3.0, detail=5.0), [(0.35, (0.55, 0.5, 0.5)), (0.65, (1.15, 1.1, 1.05))])
    colour = graph.speckle(graph.mix(0.75, brick.outputs[0], stains, "MULTIPLY"), place, 45.0, 0.75)
    grain = graph.noise(place, 30.0, detail=5.0)
    height = graph.mix(0.35, graph.node("Invert", {"Color": brick.outputs[1]}).outputs[0], grain)
    return graph.finish(colour, height, 0.006)


def plaid(name: str, base: Colour, bands: Colour, lines: Colour, repeat: float) -> bpy.types.Material:
    """Woven checked cloth in the mesh's UV map."""
    graph = Graph(name, 0.95)
    uv = graph.place((repeat, repeat, 1.0), "UV", shift=False)
    separate = graph.node("SeparateXYZ", {"Vector": uv}).outputs
    colour: Socket | Colour = base
    for axis in (0, 1):
        wrapped = graph.node("Math", {0: separate[axis]}, operation="FRACT").outputs[0]
        band = graph.ramp(wrapped, [(0.0, (0, 0, 0)), (0.45, (1, 1, 1)), (0.8, (0, 0, 0))], steps=True)
        colour = graph.mix(graph.node("Math", {0: band, 1: 0.62}, operation="MULTIPLY").outputs[0], colour, bands)
        line = graph.ramp(wrapped, [(0.0, (0, 0, 0)), (0.2, (1, 1, 1)), (0.26, (0, 0, 0))], steps=True)
        colour = graph.mix(graph.node("Math", {0: line, 1: 0.8}, operation="MULTIPLY").outputs[0], colour, lines)
    threads = graph.node("TexChecker", {"Vector": uv, "Scale": 36.0}).outputs[1]
    colour = graph.mix(0.22, colour, graph.ramp(threads, [(0.0, (0.3, 0.3, 0.3)), (1.0, (1, 1, 1))]), "MULTIPLY")
    return graph.finish(graph.speckle(colour, uv, 9.0, 0.5), threads, 0.0008)


def cells(name: str, colours: Sequence[tuple[float, Colour]], scale: float, edge: Colour | None = None,
          edge_width: float = 0.06) -> bpy.types.Material:
    """Irregular cells in flat colours (beans, mosaic, painted paper), with optional outlines."""
    graph = Graph(name)
    place = graph.place()
    cell = graph.node("TexVoronoi", {"Vector": place, "Scale": scale})
    colour = graph.ramp(graph.node("SeparateColor", {"Color": cell.outputs["Color"]}).outputs[0], colours, steps=True)
    shade = graph.ramp(cell.outputs["Distance"], [(0.1, (1.1, 1.1, 1.1)), (0.75, (0.45, 0.45, 0.45))])
    colour = graph.mix(0.7, colour, shade, "MULTIPLY")
    if edge is not None:
        border = graph.node("TexVoronoi", {"Vector": place, "Scale": scale}, feature="DISTANCE_TO_EDGE").outputs[0]
        outline = graph.ramp(border, [(0.0, (1, 1, 1)), (edge_width, (0, 0, 0))], steps=True)
        colour = graph.mix(outline, colour, edge)
    return graph.finish(graph.speckle(colour, place, scale * 2.5, 0.5), cell.outputs["Distance"], 0.002)


def bands(name: str, stops: Sequence[tuple[float, Colour]], per_m: float, wobble: float = 1.5,
          direction: str = "Z") -> bpy.types.Material:
    """Hand-painted bands across one axis (pottery, book backs)."""
    graph = Graph(name, 0.6)
    place = graph.place()
    wave = graph.node("TexWave", {"Vector": place, "Scale": per_m, "Distortion": wobble, "Detail": 2.0,
                                  "Detail Scale": 2.0}, bands_direction=direction, wave_profile="SAW").outputs[0]
    return graph.finish(graph.speckle(graph.ramp(wave, stops, steps=True), place, 60.0, 0.55))


def mottled(name: str, stops: Sequence[tuple[float, Colour]], scale: float, roughness: float = 0.8,
            bump_m: float = 0.0015) -> bpy.types.Material:
    """Clouds of colour with fine grain (clay, fruit, leaves, paint)."""
    graph = Graph(name, roughness)
    place = graph.place()
    clouds = graph.noise(place, scale, detail=5.0, distortion=0.6)
    return graph.finish(graph.speckle(graph.ramp(clouds, stops), place, scale * 6.0, 0.55), clouds, bump_m)


def chessboard(name: str, dark: Colour, light: Colour, square_m: float) -> bpy.types.Material:
    """Exact squares of ``square_m`` with corners at multiples of it from the object's origin, wood grain inside."""
    graph = Graph(name, 0.6)
    coordinates = graph.node("TexCoord").outputs["Object"]
    lifted = graph.node("VectorMath", {0: coordinates, 1: (0.0, 0.0, 0.5 * square_m)}).outputs[0]   # off the z seam
    squares = graph.node("TexChecker", {"Vector": lifted, "Scale": 1.0 / square_m}).outputs[1]
    grain = graph.node("Mapping", {"Vector": coordinates, "Scale": (9.0, 70.0, 30.0)}).outputs[0]
    colour = graph.mix(squares, dark, light)
    streaks = graph.ramp(graph.noise(grain, 1.0, detail=5.0), [(0.35, (0.6, 0.55, 0.5)), (0.65, (1.1, 1.1, 1.1))])
    return graph.finish(graph.mix(0.6, colour, streaks, "MULTIPLY"))


def landscape(name: str) -> bpy.types.Material:
    """A painted landscape of hills under a sky, in the mesh's UV map."""
    graph = Graph(name, 0.7)
    uv = graph.place(source="UV", shift=False)
    height = graph.node("SeparateXYZ", {"Vector": uv}).outputs[1]
    hills = graph.node("Mapping", {"Vector": uv, "Scale": (3.0, 1.2, 1.0)}).outputs[0]
    ragged = graph.node("Math", {0: graph.noise(hills, 1.5, detail=5.0), 1: 0.75}, operation="MULTIPLY").outputs[0]
    level = graph.node("Math", {0: height, 1: ragged}, operation="ADD").outputs[0]
    paint = graph.ramp(level, [(0.0, (0.05, 0.12, 0.03)), (0.42, (0.16, 0.26, 0.05)), (0.55, (0.45, 0.42, 0.10)),
                               (0.68, (0.20, 0.28, 0.33)), (0.80, (0.38, 0.47, 0.58)), (0.92, (0.85, 0.55, 0.30)),
                               (1.0, (0.90, 0.80, 0.55))], steps=True)
    strokes = graph.node("Mapping", {"Vector": uv, "Scale": (14.0, 50.0, 1.0)}).outputs[0]
    bristles = graph.noise(strokes, 1.0, detail=6.0, distortion=1.0)
    shade = graph.ramp(bristles, [(0.3, (0.55, 0.55, 0.55)), (0.7, (1.2, 1.2, 1.2))])
    return graph.finish(graph.mix(0.7, paint, shade, "MULTIPLY"), bristles, 0.002)
