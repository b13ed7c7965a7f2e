# SPDX-License-Identifier: GPL-3.0-or-later
"""Held-out views before and after, side by side: photograph, a plain dense start, and the preset.

    python benchmarks/before_after.py --work OUT -o docs/images [--scene examples/chess_table] [--views 3]
        [--preset draft] [--earlier RESULT.ply]

*Before* is the row "+ non-redundant" of the ablation: seeds from the dense geometry, photographs alone, none of the
terms on views that nobody took.  ``--earlier`` puts another splat of the same scene, say of an earlier version, in
front of it.  Each picture shows the whole view above and, below, the part in which before and after differ most.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from quality import ablation, run

from interngs.config import preset_config
from interngs.evaluate.held_out import HeldOutView, measure
from interngs.evaluate.report import to_bytes
from interngs.formats.detect import find_capture
from interngs.formats.ply import read_ply
from interngs.formats.split import find_split
from interngs.images.load import load_capture
from interngs.render.device import choose_device
from interngs.storage import atomic_write

REPOSITORY = Path(__file__).resolve().parents[1]
BEFORE = "+ non-redundant"
CROP_SHARE = 0.4
"""Width and height of the enlarged part, as a share of the view's."""
CELL_WIDTH_PX, MARGIN_PX, CAPTION_PX = 440, 6, 24
PAPER, INK, FRAME = (24, 24, 27), (228, 228, 231), (250, 204, 21)
LIMIT_BYTES = 150_000


def most_different(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part in which two pictures differ most."""
    height, width = before.shape[:2]
    size = round(CROP_SHARE * width), round(CROP_SHARE * height)
    difference = cv2.boxFilter(np.abs(before - after).mean(axis=-1), -1, size, anchor=(0, 0),
                               borderType=cv2.BORDER_CONSTANT)
    inside = difference[:height - size[1] + 1, :width - size[0] + 1]
    top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(left), int(top), int(left) + size[0], int(top) + size[1]


def sheet(columns: list[tuple[str, NDArray[np.float32]]], part: tuple[int, int, int, int]) -> Image.Image:
    """Whole views above, the part below, one column for each (caption, picture)."""
    height, width = columns[0][1].shape[:2]
    cell = CELL_WIDTH_PX, round(CELL_WIDTH_PX * height / width)
    page = Image.new("RGB", (MARGIN_PX + len(columns) * (cell[0] + MARGIN_PX),
                             CAPTION_PX + 2 * (cell[1] + MARGIN_PX)), PAPER)
    draw = ImageDraw.Draw(page)
    for number, (caption, picture) in enumerate(columns):
        left = MARGIN_PX + number * (cell[0] + MARGIN_PX)
        draw.text((left, CAPTION_PX // 2), caption, INK, ImageFont.load_default(size=14), anchor="lm")
        whole = Image.fromarray(to_bytes(picture))
        marked = whole.copy()
        ImageDraw.Draw(marked).rectangle(part, outline=FRAME, width=max(2, width // 250))
        page.paste(marked.resize(cell, Image.Resampling.LANCZOS), (left, CAPTION_PX))
        page.paste(whole.crop(part).resize(cell, Image.Resampling.LANCZOS), (left, CAPTION_PX + cell[1] + MARGIN_PX))
    return page


def save_jpeg(path: Path, picture: Image.Image) -> None:
    """At the best quality that stays under the limit."""
    for quality in range(92, 40, -4):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LIMIT_BYTES:
            break
    atomic_write(path, buffer.getvalue())


def main() -> None:
    """Reconstruct twice, compare, write one picture for each held-out view."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, default=REPOSITORY / "examples" / "chess_table")
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--preset", default="draft", choices=("draft", "normal", "high"))
    parser.add_argument("-o", "--output", type=Path, required=True, help="where the pictures go")
    parser.add_argument("--work", type=Path, required=True, help="where the runs go; finished ones are not done again")
    parser.add_argument("--earlier", type=Path, help="a splat (.ply) of the same scene to show too")
    options = parser.parse_args()
    config = preset_config(options.preset)
    split = find_split(options.scene, options.views)
    unseen = load_capture(find_capture(options.scene), list(split.held_out), config.max_side_px)
    device, _ = choose_device(config.device)
    splats = {"before": dict(ablation(config))[BEFORE], "after": config}
    shown: dict[str, list[HeldOutView]] = {}
    if options.earlier is not None:
        shown["earlier"] = measure(read_ply(options.earlier).gaussians, unseen, device)
    for name, settings in splats.items():
        folder = options.work / f"{options.scene.name}_{options.views}_{options.preset}_{name}"
        run(options.scene.parent, options.scene.name, options.views, settings, folder)
        shown[name] = measure(read_ply(folder / "result.ply").gaussians, unseen, device)
    for number, view in enumerate(unseen.views):
        columns = [(f"photograph {view.name}", view.image)]
        columns += [(f"{name}, {views[number].metrics['psnr']:.2f} dB", views[number].picture.rgb)
                    for name, views in shown.items()]
        part = most_different(*(shown[name][number].picture.rgb for name in ("before", "after")))
        path = options.output / f"before_after_{Path(view.name).stem}.jpg"
        save_jpeg(path, sheet(columns, part))
        print(path, *(caption for caption, _ in columns), sep="  ")
    for name, views in shown.items():
        means = {key: float(np.mean([view.metrics[key] for view in views])) for key in views[0].metrics}
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in means.items()))


if __name__ == "__main__":
    main()
