# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the photograph list one row at a time: files, poses, masks, then sharpness and exposure of the thumbnails."""

from __future__ import annotations

import bpy
import bpy.utils.previews
import numpy as np

from ...interngs.errors import InternGSError
from ...interngs.formats.image_header import read_image_header
from ..scene.photographs import camera_of_row, optional_path, photo_path
from .photo_checks import PhotoMeasure, measure, remarks


class PhotoCheckRun:
    """Call ``step`` until it returns False; each call looks at one photograph."""

    def __init__(self, scene: bpy.types.Scene) -> None:
        self._scene_name = scene.name
        self._measures: list[PhotoMeasure | None] = []
        self._previews = bpy.utils.previews.new()

    def step(self) -> bool:
        """Check one more row; False once all are done."""
        scene = bpy.data.scenes.get(self._scene_name)
        rows = scene.interngs.photos if scene else ()
        if len(self._measures) < len(rows):
            row = rows[len(self._measures)]
            row.warning, row.warning_is_error = self._problem(scene, row)
            self._measures.append(None if row.warning_is_error else self._measure(row))
            return True
        for row, remark in zip(rows, remarks(self._measures), strict=False):
            if remark and not row.warning:
                row.warning = remark[0].upper() + remark[1:]
        bpy.utils.previews.remove(self._previews)
        return False

    @staticmethod
    def _problem(scene: bpy.types.Scene, row: bpy.types.PropertyGroup) -> tuple[str, bool]:
        """(what is wrong, whether it keeps the job from starting)."""
        try:
            header = read_image_header(photo_path(row))
            mask = optional_path(row.mask_path)
            if mask is not None:
                mask_header = read_image_header(mask)
                if mask_header.upright_size_px != header.upright_size_px:
                    return "The mask has another size than the photograph", True
            if header.orientation != 1:
                return "Turned by a flag (EXIF), which Blender does not show: export it upright", False
            if not row.camera and not row.fixed_camera:
                estimate = scene.interngs.job.poses == "ESTIMATE"
                return ("", False) if estimate else ("No camera: pick one, or import poses", row.use)
            camera_of_row(scene, row)
        except InternGSError as error:
            return error.cause, row.use
        return "", False

    def _measure(self, row: bpy.types.PropertyGroup) -> PhotoMeasure | None:
        """Figures of Blender's own thumbnail (at most 256 pixels), None where Blender has none."""
        path = str(photo_path(row))
        preview = self._previews.load(path, path, "IMAGE") if path not in self._previews else self._previews[path]
        width, height = preview.image_size
        if width < 3 or height < 3:
            return None
        pixels = np.empty(width * height * 4, np.float32)
        preview.image_pixels_float.foreach_get(pixels)
        return measure(pixels.reshape(height, width, 4))
