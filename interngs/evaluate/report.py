# SPDX-License-Identifier: GPL-3.0-or-later
"""What people look at after a run: side-by-side pictures, depth, an orbit, a JSON and an HTML report."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..storage import atomic_write

logger = logging.getLogger(__name__)

CELL_WIDTH_PX = 420
MARGIN_PX = 8
CAPTION_HEIGHT_PX = 26
PAPER, INK = (24, 24, 27), (228, 228, 231)
ERROR_FULL_SCALE = 0.25
"""Mean absolute colour error that is drawn in the brightest colour."""
DEPTH_PERCENTILES = (2.0, 98.0)
GIF_LIMIT_BYTES = 8_000_000
GIF_FRAME_MS = 80


@dataclass(frozen=True, eq=False)
class ComparisonRow:
    """One held-out view.

    Attributes:
        name: shown to people.
        photo, render: [H, W, 3] float in 0..1, sRGB.
        depth: [H, W] z-depth in world units, 0 where nothing was hit.
        psnr_db: of the render against the photo.
    """

    name: str
    photo: NDArray[np.floating]
    render: NDArray[np.floating]
    depth: NDArray[np.floating]
    psnr_db: float


def save_comparison(path: Path, rows: Sequence[ComparisonRow]) -> None:
    """Write photo | render | error | depth of each view as one PNG, with captions."""
    bands = [_comparison_band(row) for row in rows]
    sheet = Image.new("RGB", (max(band.width for band in bands), sum(band.height for band in bands)), PAPER)
    top = 0
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    _save(path, sheet, "PNG", optimize=True)


def save_depth_picture(path: Path, depth: NDArray[np.floating]) -> None:
    """Write a depth map [H, W] as a coloured PNG; see :func:`depth_colours`."""
    _save(path, Image.fromarray(depth_colours(depth)), "PNG", optimize=True)


def save_orbit_gif(path: Path, frames: Sequence[NDArray[np.floating]], limit_bytes: int = GIF_LIMIT_BYTES) -> None:
    """Write frames [H, W, 3] (float in 0..1) as an endless GIF with one palette for all frames.

    One palette keeps flat areas from flickering.  A GIF above ``limit_bytes`` is made again from smaller frames.
    """
    images = [Image.fromarray(to_bytes(frame)) for frame in frames]
    while True:
        content = _gif_bytes(images)
        if len(content) <= limit_bytes or min(images[0].size) < 32:
            break
        shrink = max(0.5, 0.95 * math.sqrt(limit_bytes / len(content)))
        width, height = (round(side * shrink) for side in images[0].size)
        logger.info("orbit of %.1f MB is too large; made smaller: %dx%d px", len(content) / 1e6, width, height)
        images = [image.resize((width, height), Image.Resampling.LANCZOS) for image in images]
    atomic_write(path, content)


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON.  Infinite and undefined numbers, which JSON lacks, become ``null``."""
    atomic_write(path, json.dumps(_without_special_numbers(report), indent=1, allow_nan=False).encode())


def write_html_report(folder: Path, report: dict[str, Any]) -> None:
    """Write ``report.html`` into ``folder``: figures and the pictures found there, all in one file.

    Pictures: ``comparison.png``, ``orbit.gif``, ``depth.png`` and ``pseudo_views.png`` where they exist.
    """
    figures = "".join(f"<div><b>{value}</b><span>{html.escape(label)}</span></div>"
                      for label, value in _headline(report))
    views = report.get("held_out", {})
    table = "".join(f"<tr><td>{html.escape(str(name))}</td>"
                    + "".join(f"<td>{_number(value)}</td>" for value in metrics.values()) + "</tr>"
                    for name, metrics in views.items())
    names = list(next(iter(views.values()))) if views else []
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    warnings = "".join(f"<p class=warning>{html.escape(str(line))}</p>" for line in report.get("warnings", ()))
    pictures = "".join(f"<h2>{title}</h2><img alt='{title}' src='{_data_uri(folder / name)}'>"
                       for name, title in (("comparison.png", "Held-out views"), ("orbit.gif", "Orbit"),
                                           ("depth.png", "Depth"), ("pseudo_views.png", "Views nobody took"))
                       if (folder / name).is_file())
    everything = html.escape(json.dumps(_without_special_numbers(report), indent=1))
    page = (f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>Intern-GS report</title><style>{STYLE}</style><h1>Intern-GS report</h1>"
            f"<div class=figures>{figures}</div>{warnings}{pictures}"
            + (f"<h2>Figures of each view</h2><table><tr><th>view</th>{heads}</tr>{table}</table>" if views else "")
            + f"<details><summary>Everything the run reports</summary><pre>{everything}</pre></details></html>\n")
    atomic_write(folder / "report.html", page.encode())


def depth_colours(depth: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 picture of a depth map: warm is near, blue is far, black is unknown.

    Colours follow inverse depth, which spreads near things apart as the eye does, between two percentiles so
    that a few outliers do not take all colours.
    """
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    inverse = np.zeros(depth.shape)
    inverse[known] = 1.0 / depth[known]
    low, high = np.percentile(inverse[known], DEPTH_PERCENTILES)
    colours = _colour_map((inverse - low) / max(high - low, 1e-12), cv2.COLORMAP_TURBO)
    colours[~known] = 0
    return colours


def error_colours(image: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 picture of the mean absolute colour error: black is none, yellow a quarter or more."""
    return _colour_map(np.abs(np.asarray(image) - reference).mean(axis=-1) / ERROR_FULL_SCALE, cv2.COLORMAP_INFERNO)


def to_bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[H, W, 3] float in 0..1 as uint8, rounded."""
    return np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _colour_map(values: NDArray[np.floating], colour_map: int) -> NDArray[np.uint8]:
    levels = to_bytes(np.nan_to_num(values))
    return cv2.cvtColor(cv2.applyColorMap(levels, colour_map), cv2.COLOR_BGR2RGB).astype(np.uint8)


def _comparison_band(row: ComparisonRow) -> Image.Image:
    """One row of the sheet: captions above four pictures."""
    known = row.depth[np.isfinite(row.depth) & (row.depth > 0)]
    reach = "{:.3g} to {:.3g}".format(*np.percentile(known, DEPTH_PERCENTILES)) if known.size else "nothing hit"
    cells = ((f"{row.name}  photo", to_bytes(row.photo)), (f"render  {row.psnr_db:.2f} dB", to_bytes(row.render)),
             (f"error  (yellow: {ERROR_FULL_SCALE:.2f} and more)", error_colours(row.render, row.photo)),
             (f"depth  {reach}", depth_colours(row.depth)))
    height_px, width_px = row.photo.shape[:2]
    scale = min(1.0, CELL_WIDTH_PX / width_px)
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    step = size[0] + MARGIN_PX
    band = Image.new("RGB", (MARGIN_PX + 4 * step, CAPTION_HEIGHT_PX + size[1] + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(band)
    font = ImageFont.load_default(size=14)
    for column, (caption, pixels) in enumerate(cells):
        left = MARGIN_PX + column * step
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
        draw.text((left, CAPTION_HEIGHT_PX // 2), _fitted(caption, font, size[0]), INK, font, anchor="lm")
        band.paste(picture, (left, CAPTION_HEIGHT_PX))
    return band


def _fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width_px: int) -> str:
    """The text, its beginning cut off where it is wider than the picture below."""
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength("…" + text) > width_px:
        text = text[1:]
    return "…" + text


def _gif_bytes(images: Sequence[Image.Image]) -> bytes:
    """An endless GIF whose palette comes from frames spread over the whole."""
    chosen = images[::max(1, len(images) // 8)]
    width, height = chosen[0].size
    mosaic = Image.new("RGB", (width, height * len(chosen)))
    for place, image in enumerate(chosen):
        mosaic.paste(image, (0, place * height))
    palette = mosaic.quantize(256, Image.Quantize.FASTOCTREE)
    frames = [image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=GIF_FRAME_MS, loop=0)
    return buffer.getvalue()


def _save(path: Path, image: Image.Image, file_format: str, **options: Any) -> None:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    atomic_write(path, buffer.getvalue())


def _data_uri(path: Path) -> str:
    """A picture as text inside the page; photographs of a PNG become JPEG to keep the page small."""
    if path.suffix == ".gif":
        content, kind = path.read_bytes(), "gif"
    else:
        buffer = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").save(buffer, "JPEG", quality=88)
        content, kind = buffer.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _headline(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures that stand on top, as (label, value)."""
    wanted = (("psnr", "PSNR, dB"), ("psnr_colour_fit", "PSNR after colour fit, dB"), ("ssim", "SSIM"),
              ("lpips_squeezenet", "LPIPS-SqueezeNet"), ("gaussians", "Gaussians"), ("seconds", "seconds"))
    return [(label, _number(report[key])) for key, label in wanted if isinstance(report.get(key), int | float)]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}" if abs(value) < 10 else f"{value:,.2f}"


def _without_special_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_special_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_special_numbers(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


STYLE = """
body{margin:2rem auto;max-width:110rem;padding:0 1rem;background:#18181b;color:#e4e4e7}
body{font:16px/1.5 system-ui,sans-serif}
img{max-width:100%;border-radius:4px}h1,h2{font-weight:600}.figures{display:flex;flex-wrap:wrap;gap:1rem}
.figures div{background:#27272a;border-radius:6px;padding:.6rem 1rem}.figures b{display:block;font-size:1.5rem}
.figures span{color:#a1a1aa;font-size:.85rem}.warning{background:#422006;padding:.5rem 1rem;border-radius:6px}
table{border-collapse:collapse}td,th{padding:.2rem 1rem;text-align:right;border-bottom:1px solid #3f3f46}
td:first-child,th:first-child{text-align:left}pre{overflow:auto;color:#a1a1aa;font-size:.8rem}
"""
