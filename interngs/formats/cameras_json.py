# SPDX-License-Identifier: GPL-3.0-or-later
"""cameras.json: one list of images with K and world-to-camera matrix in OpenCV axes, corner-origin pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..scene.capture import CaptureFiles
from .json_file import frames_of, matrix, number, read_json, text
from .view_files import PosedImage, attach_masks, build_views, path_beside


def read_cameras_json(path: Path) -> CaptureFiles:
    """A capture from ``{"frames": [{"file", "w", "h", "K" 3x3, "w2c" 4x4}]}``, frames in the order of the file.

    ``file`` is relative to the JSON file; ``K`` is in pixels of a ``w`` x ``h`` image with the origin at its corner.
    A frame may also name a ``mask`` and a ``depth`` file.

    Raises:
        InputError: broken JSON, missing images, matrices that are no cameras.
    """
    entries = []
    for index, frame in enumerate(frames_of(read_json(path), path)):
        where = f"frame {index} of {path}"
        file, mask, depth = (text(frame, key, where) for key in ("file", "mask", "depth"))
        width, height = number(frame, "w", where), number(frame, "h", where)
        if file is None or width is None or height is None:
            raise InputError("json-value", f"{where} needs 'file', 'w' and 'h'.", "Correct the pose file.")
        if not (1 <= width < 1 << 20 and 1 <= height < 1 << 20):
            raise InputError("camera-size", f"{where} gives an image of {width:g}x{height:g} px.",
                             "Correct 'w' and 'h'.")
        pose = np.eye(4)
        given = matrix(frame, "w2c", ((4, 4), (3, 4)), where)
        pose[:len(given)] = given
        entries.append(PosedImage(
            file.replace("\\", "/"), path_beside(path, file), matrix(frame, "K", ((3, 3),), where), pose,
            (round(width), round(height)), mask_path=None if mask is None else path_beside(path, mask),
            depth_path=None if depth is None else path_beside(path, depth)))
    return CaptureFiles(attach_masks(build_views(entries, path), path.parent), f"{path.name} (K and w2c per image)")
