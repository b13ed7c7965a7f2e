# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the example capture: 12 posed pictures of a procedural scene, with their exact cameras.

    python -m venv venv-bpy && venv-bpy/bin/pip install bpy==4.5.15 "numpy<2" pillow     (Python 3.11)
    venv-bpy/bin/python examples/render_example.py

Minutes on two free cores; pictures that are there already are kept.  ``--draft`` renders one noisy picture, to look at.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
import chess_table_scene as scene

WIDTH_PX, HEIGHT_PX = 504, 378
HORIZONTAL_FOV_DEG = 48.0
VIEWS = 12
ARC_DEG = 23.0
TARGET = Vector((-0.02, 0.0, 0.17))
DISTANCE_M = 2.1
ELEVATION_DEG = 18.0
ELEVATION_SWING_DEG = 3.5
DISTANCE_SWING_M = 0.08
HELD_OUT_EVERY, HELD_OUT_FIRST = 4, 2
JPEG_QUALITY = 95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent / "chess_table")
    parser.add_argument("--samples", type=int, default=8, help="light paths per pixel, before denoising")
    parser.add_argument("--draft", action="store_true", help="one view with few samples")
    options = parser.parse_args()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene.build()
    _render_settings(12 if options.draft else options.samples)
    folder: Path = options.output
    (folder / "images").mkdir(parents=True, exist_ok=True)
    frames = []
    for number in [5] if options.draft else range(VIEWS):
        pose = camera_pose(number)
        name = f"images/{number:02d}.jpg"
        if not (folder / name).exists():
            _render(pose, folder / name)
        frames.append({"file_path": name, "transform_matrix": [list(row) for row in pose]})
        print(f"view {number + 1} of {VIEWS}", flush=True)
    for name, content in (("transforms", _transforms(frames)), ("split", _splits()), ("landmarks", _landmarks())):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def camera_pose(number: int) -> Matrix:
    """World-from-camera matrix in OpenGL axes of view ``number``: an arc from left to right that rises and falls."""
    share = number / (VIEWS - 1)
    azimuth = math.radians((share - 0.5) * ARC_DEG)
    elevation = math.radians(ELEVATION_DEG + ELEVATION_SWING_DEG * math.sin(2.4 * math.pi * share + 0.6))
    distance = DISTANCE_M + DISTANCE_SWING_M * math.cos(3.1 * math.pi * share)
    level = math.cos(elevation)
    offset = Vector((math.sin(azimuth) * level, -math.cos(azimuth) * level, math.sin(elevation)))
    return Matrix.Translation(TARGET + distance * offset) @ offset.to_track_quat("Z", "Y").to_matrix().to_4x4()


def focal_px() -> float:
    return 0.5 * WIDTH_PX / math.tan(math.radians(HORIZONTAL_FOV_DEG) / 2)


def _transforms(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """The capture in the form that nerfstudio documents: OpenGL axes, pixels from the image corner."""
    return {"camera_model": "PINHOLE", "w": WIDTH_PX, "h": HEIGHT_PX, "fl_x": focal_px(), "fl_y": focal_px(),
            "cx": WIDTH_PX / 2, "cy": HEIGHT_PX / 2, "frames": frames}


def _landmarks() -> dict[str, Any]:
    """Known points, by which a test holds the cameras to the pictures."""
    corners = [[round(value, 7) for value in corner] for corner in scene.chessboard_corners()]
    return {"what": "inner corners of the chessboard, row by row, world metres", "chessboard_corners": corners}


def _splits() -> dict[str, Any]:
    test = list(range(HELD_OUT_FIRST, VIEWS, HELD_OUT_EVERY))
    rest = [number for number in range(VIEWS) if number not in test]
    splits = {str(count): {"train": [rest[int(place)] for place in np.round(np.linspace(0, len(rest) - 1, count))],
                           "test": test} for count in (3, 6, 9)}
    return {"cameras": "transforms.json",
            "rule": "every 4th view held out, from the third; train = linspace over the rest", "splits": splits}


def _render_settings(samples: int) -> None:
    settings = bpy.context.scene
    settings.render.engine = "CYCLES"
    settings.render.resolution_x, settings.render.resolution_y = WIDTH_PX, HEIGHT_PX
    settings.render.resolution_percentage = 100
    settings.render.threads_mode, settings.render.threads = "FIXED", 2
    settings.cycles.device = "CPU"
    settings.cycles.samples = samples
    settings.cycles.use_denoising = True
    settings.cycles.max_bounces = 2
    settings.cycles.seed = 1
    settings.render.use_persistent_data = True
    settings.view_settings.view_transform = "Standard"
    settings.view_settings.look = "None"
    settings.render.image_settings.file_format = "PNG"
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", 36.0
    camera.lens = 0.5 * camera.sensor_width / math.tan(math.radians(HORIZONTAL_FOV_DEG) / 2)
    camera.clip_start, camera.clip_end = 0.05, 50.0
    settings.camera = bpy.data.objects.new("camera", camera)
    settings.collection.objects.link(settings.camera)


def _render(pose: Matrix, path: Path) -> None:
    settings = bpy.context.scene
    settings.camera.matrix_world = pose
    lossless = path.with_suffix(".png")
    settings.render.filepath = str(lossless)
    bpy.ops.render.render(write_still=True)
    Image.open(lossless).convert("RGB").save(path, quality=JPEG_QUALITY, subsampling=0, optimize=True)
    lossless.unlink()


if __name__ == "__main__":
    main()
