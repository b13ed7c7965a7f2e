# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture of the views nobody took: where their cameras stand, and what the photographs say they would see."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..scene.cameras import Camera
from ..storage import atomic_write
from .report import CAPTION_HEIGHT_PX, INK, MARGIN_PX, PAPER, to_bytes

PLAN_PX, CELL_WIDTH_PX, COLUMNS = 420, 260, 3
PHOTOGRAPH = (250, 204, 21)
UNKNOWN = (0.1, 0.1, 0.11)
"""Colour of what no photograph shows."""


@dataclass(frozen=True, eq=False)
class WarpedView:
    """One view nobody took: its number among all, ``image`` [H, W, 3] in 0..1 and ``weight`` [H, W], trust in it."""

    number: int
    image: NDArray[np.float32]
    weight: NDArray[np.float32]


def save_pseudo_views(path: Path, photographs: Sequence[Camera], pseudo: Sequence[Camera],
                      shown: Sequence[WarpedView]) -> None:
    """Write one PNG: the plan of all cameras on the left; some of the views with their trust on the right.

    The plan looks down on the cameras.  Photographs are yellow triangles that open along the view, the
    others dots from near (blue) to far (red).
    """
    cells = [_cell(view, len(pseudo)) for view in shown]
    rows = -(-len(cells) // COLUMNS)
    cell_height = max((cell.height for cell in cells), default=0)
    height = max(PLAN_PX + CAPTION_HEIGHT_PX, rows * (cell_height + MARGIN_PX)) + 2 * MARGIN_PX
    page = Image.new("RGB", (PLAN_PX + 2 * MARGIN_PX + COLUMNS * (CELL_WIDTH_PX + MARGIN_PX), height), PAPER)
    page.paste(_plan(photographs, pseudo), (MARGIN_PX, MARGIN_PX))
    for place, cell in enumerate(cells):
        row, column = divmod(place, COLUMNS)
        page.paste(cell, (PLAN_PX + 2 * MARGIN_PX + column * (CELL_WIDTH_PX + MARGIN_PX),
                          MARGIN_PX + row * (cell_height + MARGIN_PX)))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    atomic_write(path, buffer.getvalue())


def _plan(photographs: Sequence[Camera], pseudo: Sequence[Camera]) -> Image.Image:
    page = Image.new("RGB", (PLAN_PX, PLAN_PX + CAPTION_HEIGHT_PX), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((0, CAPTION_HEIGHT_PX // 2), f"{len(photographs)} photographs (yellow), {len(pseudo)} views nobody took",
              INK, ImageFont.load_default(size=14), anchor="lm")
    axes = _seen_from_above(photographs)
    centres = np.stack([camera.centre for camera in (*photographs, *pseudo)]) @ axes.T
    low, high = centres.min(axis=0), centres.max(axis=0)
    scale = (PLAN_PX - 80) / max(float((high - low).max()), 1e-12)

    def place(camera: Camera) -> NDArray[np.float64]:
        x, y = (axes @ camera.centre - (low + high) / 2) * scale + PLAN_PX / 2
        return np.array([x, y + CAPTION_HEIGHT_PX])

    def view(camera: Camera) -> NDArray[np.float64]:
        direction = axes @ camera.forward
        return direction / max(float(np.linalg.norm(direction)), 1e-12)

    for number, camera in enumerate(pseudo):
        colour = _near_to_far(number, len(pseudo))
        x, y = place(camera)
        draw.line([(x, y), tuple(place(camera) + 12 * view(camera))], fill=colour)
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
    for camera in photographs:
        tip, along = place(camera), view(camera)
        across = np.array([-along[1], along[0]])
        draw.polygon([tuple(tip), tuple(tip + 22 * along + 10 * across), tuple(tip + 22 * along - 10 * across)],
                     outline=PHOTOGRAPH, width=2)
    return page


def _seen_from_above(cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """[2, 3] world directions that go right and down on the plan; the first camera looks up."""
    down = np.mean([camera.camera_from_world[1, :3] for camera in cameras], axis=0)
    if np.linalg.norm(down) < 1e-3:
        down = cameras[0].camera_from_world[1, :3]
    right = np.cross(down, cameras[0].forward)
    if np.linalg.norm(right) < 1e-3:
        right = cameras[0].camera_from_world[0, :3]
    right = right / np.linalg.norm(right)
    behind = np.cross(down, right)
    return np.stack([right, behind / np.linalg.norm(behind)])


def _cell(view: WarpedView, count: int) -> Image.Image:
    """Caption, warped picture, and its trust below at half the size."""
    height, width = view.weight.shape
    tall = round(CELL_WIDTH_PX * height / width)
    cell = Image.new("RGB", (CELL_WIDTH_PX, CAPTION_HEIGHT_PX + tall + tall // 2), PAPER)
    draw = ImageDraw.Draw(cell)
    known = (view.weight > 0)[..., None]
    draw.text((0, CAPTION_HEIGHT_PX // 2), f"number {view.number + 1}: mean trust {view.weight.mean():.0%}",
              _near_to_far(view.number, count), ImageFont.load_default(size=14), anchor="lm")
    picture = Image.fromarray(to_bytes(np.where(known, view.image, UNKNOWN)))
    cell.paste(picture.resize((CELL_WIDTH_PX, tall), Image.Resampling.LANCZOS), (0, CAPTION_HEIGHT_PX))
    trust = Image.fromarray(to_bytes(view.weight)).resize((CELL_WIDTH_PX // 2, tall // 2), Image.Resampling.LANCZOS)
    cell.paste(trust, (0, CAPTION_HEIGHT_PX + tall))
    draw.text((CELL_WIDTH_PX // 2 + MARGIN_PX, CAPTION_HEIGHT_PX + tall + tall // 4), "trust", INK,
              ImageFont.load_default(size=14), anchor="lm")
    return cell


def _near_to_far(number: int, count: int) -> tuple[int, int, int]:
    """Blue for the first of ``count``, red for the last."""
    level = np.array([[round(40 + 190 * number / max(count - 1, 1))]], np.uint8)
    blue, green, red = (int(value) for value in cv2.applyColorMap(level, cv2.COLORMAP_TURBO)[0, 0])
    return red, green, blue
