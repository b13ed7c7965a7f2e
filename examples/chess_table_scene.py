# SPDX-License-Identifier: GPL-3.0-or-later
"""The example scene: a chess game on a wooden table before a brick wall (runs inside Blender's Python).

World: metres, z up; the table top is at z = 0; the cameras look along +y; the wall stands at y = WALL_Y_M.
"""

from __future__ import annotations

import math
import random

import bpy
import scene_materials as paint
from mathutils import Euler, Vector
from scene_shapes import ball, box, mesh_of, monkey, place, sheet, turned

Point = tuple[float, float, float]

WALL_Y_M = 1.95
SQUARE_M = 0.05
BOARD_CENTRE = (-0.16, -0.52, 0.022)
BOARD_TURN_DEG = 18.0

PAWN = [(.017, 0), (.017, .006), (.012, .010), (.008, .016), (.006, .030), (.010, .034), (.006, .036), (.010, .043),
        (.010, .050), (.006, .056), (.0005, .058)]
ROOK = [(.020, 0), (.020, .008), (.014, .013), (.011, .040), (.016, .046), (.016, .062), (.011, .062), (.011, .056)]
BISHOP = [(.020, 0), (.020, .008), (.013, .014), (.008, .045), (.014, .050), (.008, .053), (.013, .064), (.008, .078),
          (.003, .082), (.004, .087), (.0005, .090)]
KING = [(.022, 0), (.022, .009), (.015, .015), (.009, .060), (.016, .066), (.010, .069), (.016, .088), (.012, .092),
        (.003, .094), (.003, .108), (.0005, .110)]
VASE = [(.05, 0), (.06, .01), (.095, .08), (.105, .14), (.085, .21), (.045, .27), (.04, .31), (.055, .34), (.045, .34),
        (.035, .31), (.02, .28)]
MUG = [(.036, 0), (.042, .004), (.043, .09), (.040, .092), (.038, .085), (.037, .02), (.001, .018)]
POT = [(.075, 0), (.08, .005), (.105, .14), (.115, .14), (.115, .17), (.10, .17), (.098, .15), (.001, .15)]
BOWL = [(.05, 0), (.055, .008), (.10, .035), (.13, .075), (.125, .078), (.09, .04), (.001, .02)]
JAR = [(.05, 0), (.056, .006), (.058, .11), (.05, .128), (.05, .135), (.056, .135), (.056, .16), (.001, .162)]


def build() -> None:
    """Fill the empty scene."""
    rng = random.Random(7)
    _table(rng)
    _wall()
    _shelf(rng)
    _chess(rng)
    _books_and_head()
    _pottery_and_fruit(rng)
    _plant(rng)
    _cloth()
    _crate()
    _pencils_and_dice()
    _lights()


def chessboard_corners() -> list[tuple[float, float, float]]:
    """World coordinates of the 7x7 inner corners of the board, row by row."""
    turn = Euler((0.0, 0.0, math.radians(BOARD_TURN_DEG))).to_matrix()
    return [tuple(turn @ Vector((SQUARE_M * x, SQUARE_M * y, 0.0)) + Vector(BOARD_CENTRE))
            for y in range(-3, 4) for x in range(-3, 4)]


def _table(rng: random.Random) -> None:
    for number in range(11):
        tone = rng.uniform(0.65, 1.3)
        boards = paint.wood(f"table {number}", (0.13 * tone, 0.055 * tone, 0.022 * tone),
                            (0.50 * tone, 0.28 * tone, 0.13 * tone), (5.0, 26.0, 26.0), 0.45)
        box(f"table board {number}", (2.6, 0.154, 0.04), (0.0, -0.98 + 0.16 * number, -0.02), boards, bevel_m=0.004)
    floor = paint.cells("floor", [(0.0, (0.12, 0.10, 0.09)), (0.5, (0.22, 0.18, 0.15))], 6.0)
    box("floor", (8, 6, 0.05), (0, 0, -0.78), floor)


def _wall() -> None:
    corners = [(-3.2, 0, -0.8), (3.2, 0, -0.8), (3.2, 0, 1.9), (-3.2, 0, 1.9)]
    place(mesh_of("wall", corners, [(0, 1, 2, 3)]), paint.bricks("bricks"), (0, WALL_Y_M, 0))
    size = (0.78, 0.56)
    canvas = paint.landscape("painting")
    sheet("painting", lambda u, v: ((u - 0.5) * size[0], 0.0, (v - 0.5) * size[1]), 1, 1, canvas,
          (-0.66, WALL_Y_M - 0.03, 0.60))
    frame = paint.wood("frame", (0.16, 0.08, 0.02), (0.60, 0.38, 0.12), (8, 8, 8))
    for side in (-1, 1):
        box("frame", (0.05, 0.06, size[1] + 0.1), (-0.66 + side * (size[0] / 2 + 0.02), WALL_Y_M - 0.035, 0.60), frame)
        box("frame", (size[0] + 0.1, 0.062, 0.05), (-0.66, WALL_Y_M - 0.035, 0.60 + side * (size[1] / 2 + 0.02)), frame)


def _shelf(rng: random.Random) -> None:
    plank = paint.wood("shelf", (0.20, 0.10, 0.04), (0.50, 0.30, 0.14), (2, 16, 16))
    box("shelf", (1.25, 0.22, 0.03), (0.78, WALL_Y_M - 0.12, 0.54), plank)
    for x in (0.36, 1.2):
        box("bracket", (0.03, 0.18, 0.03), (x, WALL_Y_M - 0.10, 0.47), plank, (32, 0, 0))
    grains = {"beans": [(0.0, (0.35, 0.10, 0.06)), (0.5, (0.55, 0.35, 0.2)), (0.8, (0.75, 0.65, 0.45))],
              "peas": [(0.0, (0.18, 0.30, 0.06)), (0.4, (0.35, 0.45, 0.12)), (0.75, (0.55, 0.60, 0.25))],
              "maize": [(0.0, (0.75, 0.45, 0.06)), (0.4, (0.85, 0.62, 0.15)), (0.8, (0.65, 0.30, 0.05))]}
    lid = paint.mottled("lid", [(0.3, (0.35, 0.07, 0.05)), (0.7, (0.62, 0.16, 0.10))], 14.0)
    for number, (name, colours) in enumerate(grains.items()):
        spot = (0.32 + 0.15 * number, WALL_Y_M - 0.13 + 0.02 * number, 0.555)
        turned(name, JAR[:5], spot, paint.cells(name, colours, 60.0))
        turned(f"{name} lid", [(.0001, .128), (.057, .128), (.057, .155), (.001, .157)], spot, lid)
    hues = [(0.50, 0.10, 0.08), (0.10, 0.22, 0.40), (0.62, 0.45, 0.12), (0.12, 0.32, 0.20), (0.40, 0.18, 0.34),
            (0.70, 0.62, 0.50), (0.16, 0.16, 0.20), (0.58, 0.26, 0.10)]
    x = 0.80
    for number, hue in enumerate(hues):
        width, height = rng.uniform(0.035, 0.06), rng.uniform(0.20, 0.30)
        pale = tuple(min(1.0, 0.5 * value + 0.42) for value in hue)
        cover = paint.bands(f"book back {number}", [(0.0, hue), (0.62, pale), (0.70, hue), (0.86, (0.06, 0.05, 0.05)),
                                                    (0.90, hue)], 3.0 + number % 3, 0.4)
        lean = -9.0 if number == len(hues) - 1 else 0.0
        spot = (x + width / 2 + (0.02 if lean else 0), WALL_Y_M - 0.12, 0.557 + height / 2)
        box(f"book {number}", (width, 0.16, height), spot, cover, (0, lean, 0))
        x += width + 0.003


def _chess(rng: random.Random) -> None:
    turn = Euler((0.0, 0.0, math.radians(BOARD_TURN_DEG))).to_matrix()
    dark, light = (0.10, 0.04, 0.02), (0.72, 0.52, 0.30)
    edge = paint.wood("board edge", (0.10, 0.035, 0.015), (0.25, 0.10, 0.045), (20, 20, 20))
    box("board edge", (0.47, 0.47, 0.0215), (BOARD_CENTRE[0], BOARD_CENTRE[1], 0.0108), edge, (0, 0, BOARD_TURN_DEG))
    half = 4 * SQUARE_M
    top = mesh_of("board", [(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)], [(0, 1, 2, 3)])
    place(top, paint.chessboard("squares", dark, light, SQUARE_M), BOARD_CENTRE, (0, 0, BOARD_TURN_DEG))
    sides = (paint.wood("black pieces", (0.035, 0.018, 0.012), (0.16, 0.075, 0.045), (60, 60, 18)),
             paint.wood("white pieces", (0.50, 0.32, 0.15), (0.85, 0.66, 0.40), (60, 60, 18)))
    game = [(KING, 4, 7, 0), (ROOK, 0, 7, 0), (BISHOP, 2, 7, 0), (PAWN, 1, 6, 0), (PAWN, 3, 5, 0), (PAWN, 6, 6, 0),
            (ROOK, 6, 4, 0), (KING, 6, 0, 1), (ROOK, 5, 0, 1), (PAWN, 7, 1, 1), (PAWN, 6, 1, 1), (BISHOP, 2, 3, 1),
            (PAWN, 4, 4, 1), (PAWN, 0, 2, 1)]
    for profile, column, row, side in game:
        spot = turn @ Vector(((column - 3.5) * SQUARE_M, (row - 3.5) * SQUARE_M, 0.0)) + Vector(BOARD_CENTRE)
        turned("piece", profile, spot, sides[side], 32, (0, 0, rng.uniform(0, 360)))


def _books_and_head() -> None:
    paper = paint.bands("pages", [(0.0, (0.78, 0.72, 0.60)), (0.5, (0.60, 0.53, 0.42))], 90.0, 0.3)
    covers = [((0.42, 0.30, 0.045), (0.10, 0.24, 0.36), 22, 12), ((0.37, 0.27, 0.05), (0.56, 0.16, 0.08), 16, -7),
              ((0.33, 0.24, 0.04), (0.12, 0.30, 0.18), 26, 20)]
    height = 0.0
    for number, (size, hue, cells, turn) in enumerate(covers):
        pale = tuple(min(1.0, value * 1.9 + 0.06) for value in hue)
        cover = paint.cells(f"cover {number}", [(0.0, hue), (0.45, tuple(0.6 * value for value in hue)), (0.7, pale)],
                            cells, (0.75, 0.62, 0.32), 0.05)
        spot = (0.50, 0.02, height + size[2] / 2)
        box("pages", (size[0] - 0.012, size[1] - 0.012, size[2] - 0.008), spot, paper, (0, 0, turn))
        for lid in (-1, 1):
            box("cover", (size[0], size[1], 0.006), (spot[0], spot[1], spot[2] + lid * (size[2] / 2 - 0.003)), cover,
                (0, 0, turn), 0.001)
        height += size[2]
    stone = paint.mottled("stone", [(0.3, (0.34, 0.31, 0.27)), (0.55, (0.58, 0.54, 0.47)),
                                    (0.75, (0.70, 0.66, 0.58))], 4.0)
    monkey("head", 0.33, (0.50, 0.0, height + 0.115), stone, (-4, 0, -22))


def _pottery_and_fruit(rng: random.Random) -> None:
    vase = paint.bands("vase", [(0.0, (0.75, 0.68, 0.55)), (0.35, (0.08, 0.16, 0.38)), (0.55, (0.75, 0.68, 0.55)),
                                (0.72, (0.60, 0.22, 0.08)), (0.85, (0.08, 0.16, 0.38))], 4.2, 2.5)
    turned("vase", VASE, (-0.02, 0.38, 0.0), vase, 56)
    mug = paint.cells("mug", [(0.0, (0.80, 0.72, 0.60)), (0.5, (0.10, 0.34, 0.36)), (0.75, (0.70, 0.36, 0.10))], 42.0,
                      (0.06, 0.08, 0.09), 0.05)
    turned("mug", MUG, (0.34, -0.74, 0.0), mug)
    handle = [(0.041 + 0.026 * math.sin(angle), 0.0, 0.048 - 0.026 * math.cos(angle)) for angle in
              (math.pi * step / 16 for step in range(17))]
    for step, point in enumerate(handle):
        ball(f"handle {step}", 0.0065, (0.34 + point[0], -0.74, point[2]), mug)
    bowl = paint.bands("bowl", [(0.0, (0.22, 0.10, 0.06)), (0.5, (0.55, 0.32, 0.16)),
                                (0.8, (0.75, 0.60, 0.40))], 13.0, 1.0)
    turned("bowl", BOWL, (0.13, -0.20, 0.0), bowl, 56)
    skins = [paint.mottled("orange", [(0.3, (0.72, 0.22, 0.02)), (0.7, (0.90, 0.42, 0.05))], 30.0),
             paint.mottled("apple", [(0.35, (0.45, 0.03, 0.02)), (0.55, (0.62, 0.12, 0.04)),
                                     (0.75, (0.70, 0.55, 0.15))], 11.0),
             paint.mottled("lime", [(0.3, (0.16, 0.28, 0.03)), (0.7, (0.40, 0.50, 0.10))], 24.0)]
    for number in range(6):
        angle = 2 * math.pi * number / 5 + 0.4
        ring, height = (0.062, 0.083) if number < 5 else (0.0, 0.125)
        spot = (0.13 + ring * math.cos(angle), -0.20 + ring * math.sin(angle), height)
        ball(f"fruit {number}", rng.uniform(0.034, 0.040), spot, skins[number % 3])


def _plant(rng: random.Random) -> None:
    clay = paint.mottled("clay", [(0.3, (0.40, 0.15, 0.07)), (0.6, (0.60, 0.27, 0.14)), (0.8, (0.72, 0.48, 0.34))], 9.0)
    soil = paint.cells("soil", [(0.0, (0.05, 0.03, 0.02)), (0.5, (0.12, 0.08, 0.05))], 90.0)
    spot = Vector((-0.54, 0.36, 0.0))
    turned("pot", POT[:-1], spot, clay, 56)
    turned("soil", [(.0001, .148), (.1, .148), (.0001, .155)], spot, soil)
    leaves = [paint.mottled(f"leaf {number}", [(0.3, (0.03 * tone, 0.13 * tone, 0.02)),
                                               (0.55, (0.10 * tone, 0.28 * tone, 0.04)),
                                               (0.75, (0.38 * tone, 0.46 * tone, 0.10))], 16.0)
              for number, tone in enumerate((0.8, 1.1, 1.4))]
    for number in range(44):
        length, width = rng.uniform(0.14, 0.30), rng.uniform(0.018, 0.034)
        rise, droop = rng.uniform(35, 85), rng.uniform(0.3, 1.3)

        def leaf(u: float, v: float, length: float = length, width: float = width, droop: float = droop) -> Point:
            across = (u - 0.5) * 2 * width * math.sin(math.pi * min(1.0, 0.08 + 0.92 * v)) ** 0.7
            height = -0.5 * droop * length * v * v + 1.2 * abs(across) * 0.35
            return (length * v * (1 - 0.2 * droop * v), across, height)
        start = spot + Vector((rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03), 0.14))
        sheet(f"leaf {number}", leaf, 4, 12, leaves[number % 3], start, (0, -rise, rng.uniform(0, 360)), 0.0008)


def _cloth() -> None:
    cloth = paint.plaid("cloth", (0.60, 0.52, 0.40), (0.45, 0.07, 0.06), (0.06, 0.12, 0.28), 4.5)

    def fold(u: float, v: float) -> tuple[float, float, float]:
        x, y = 0.62 * (u - 0.5), 0.75 * (v - 0.5)
        ripple = 0.010 * math.sin(19 * x + 5 * y) + 0.007 * math.sin(11 * y - 14 * x + 1.0)
        return x + 0.02 * math.sin(6 * y), y, 0.014 + ripple * (0.4 + 0.6 * abs(math.sin(4 * x * y + 2 * y)))
    sheet("cloth", fold, 90, 100, cloth, (0.62, -0.52, 0.006), (0, 0, -20), 0.002)


def _crate() -> None:
    slats = paint.wood("crate", (0.30, 0.18, 0.08), (0.70, 0.52, 0.30), (3, 22, 22))
    centre, size, turn = Vector((-0.68, -0.04, 0.0)), (0.34, 0.24, 0.20), math.radians(24)
    matrix = Euler((0, 0, turn)).to_matrix()
    for level in range(3):
        z = 0.03 + 0.066 * level
        for side in (-1, 1):
            for length, offset, extra in ((size[0], (0, side * size[1] / 2, z), 0),
                                          (size[1], (side * size[0] / 2, 0, z), 90)):
                box("slat", (length, 0.012, 0.05), centre + matrix @ Vector(offset), slats,
                    (0, 0, math.degrees(turn) + extra))
    yarns = [((0.55, 0.10, 0.12), (0.80, 0.40, 0.35)), ((0.10, 0.25, 0.42), (0.35, 0.55, 0.70)),
             ((0.70, 0.48, 0.10), (0.88, 0.75, 0.40)), ((0.30, 0.12, 0.35), (0.55, 0.38, 0.62))]
    spots = [(-0.09, 0.03, 0.17), (0.07, 0.05, 0.19), (0.0, -0.05, 0.22), (0.11, -0.05, 0.16)]
    for number, ((dark, light), spot) in enumerate(zip(yarns, spots, strict=True)):
        yarn = paint.bands(f"yarn {number}", [(0.0, dark), (0.5, light)], 26.0, 6.0, "DIAGONAL")
        ball(f"yarn {number}", 0.062, centre + matrix @ Vector(spot), yarn)


def _pencils_and_dice() -> None:
    tip = paint.mottled("pencil wood", [(0.3, (0.55, 0.36, 0.18)), (0.7, (0.75, 0.55, 0.32))], 60.0)
    pencils = [((0.70, 0.12, 0.08), (-0.56, -0.62), 62), ((0.85, 0.55, 0.06), (-0.60, -0.52), 38),
               ((0.08, 0.30, 0.42), (0.12, -0.82), 105)]
    for number, (hue, spot, turn) in enumerate(pencils):
        pale = tuple(min(1.0, 0.6 * value + 0.3) for value in hue)
        lacquer = paint.bands(f"lacquer {number}", [(0.0, hue), (0.55, pale), (0.62, hue)], 16.0, 0.6)
        turned("pencil", [(.005, 0), (.005, .15)], (*spot, 0.0052), lacquer, 6, (90, 0, turn))
        turned("tip", [(.005, .15), (.0007, .172)], (*spot, 0.0052), tip, 6, (90, 0, turn))
    dice = [((0.75, 0.66, 0.50), (-0.44, -0.74), 20), ((0.60, 0.10, 0.10), (-0.38, -0.80), 55)]
    for number, (hue, spot, turn) in enumerate(dice):
        dots = paint.cells(f"die {number}", [(0.0, hue), (0.6, tuple(0.8 * value for value in hue))], 70.0,
                           (0.05, 0.05, 0.06), 0.12)
        box(f"die {number}", (0.036, 0.036, 0.036), (*spot, 0.018), dots, (0, 0, turn), 0.004)


def _lights() -> None:
    def area(name: str, location: Point, target: Point, size_m: float, watts: float, colour: Point) -> None:
        light = bpy.data.lights.new(name, "AREA")
        light.energy, light.size, light.color = watts, size_m, colour
        thing = bpy.data.objects.new(name, light)
        thing.location = location
        thing.rotation_euler = (Vector(target) - Vector(location)).to_track_quat("-Z", "Y").to_euler()
        bpy.context.scene.collection.objects.link(thing)

    area("window", (-2.3, -1.3, 2.0), (0.0, 0.2, 0.2), 1.3, 140.0, (1.0, 0.93, 0.84))
    area("room", (1.8, -2.6, 2.2), (0.0, 0.4, 0.3), 2.5, 30.0, (0.86, 0.92, 1.0))
    area("wall", (0.3, 0.3, 2.4), (0.2, 1.75, 0.6), 1.0, 24.0, (1.0, 0.86, 0.68))
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.75, 0.8, 0.9, 1.0)
    world.node_tree.nodes["Background"].inputs[1].default_value = 0.22

