# SPDX-License-Identifier: GPL-3.0-or-later
"""The report page: the splat beside its photographs, held-out ones first, as one HTML file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import bpy
import numpy as np
from bpy.props import BoolProperty, IntProperty, StringProperty

from ...interngs.errors import InputError
from ...interngs.scene.thumbnail import render_by_numpy
from ...interngs.scene.transforms import transform_gaussians
from ...interngs.storage import atomic_write
from ..scene.distortion import is_distorted, undistorted
from ..scene.report_page import Compared, report_page
from ..scene.splat_arrays import gaussians_from_arrays
from ..scene.splat_edit import own_arrays
from ..scene.splat_facts import shown_splat, splat_facts
from ..scene.training_views import photograph_views
from .threaded import ThreadedOperator

NOTE = ("The splat is drawn by the add-on as the backend's renderer draws it, over black, at the size shown here; "
        "photographs are undistorted, and reduced to it.")


class INTERNGS_OT_report_page(ThreadedOperator, bpy.types.Operator):
    """Write a page that shows the splat beside its photographs (those that are switched off count as held out), and open it in the browser"""  # noqa: E501

    bl_idname = "interngs.report_page"
    bl_label = "Report Page"
    bl_options: ClassVar = {"REGISTER"}
    doing = "Drawing the splat from the photographs' cameras"

    filepath: StringProperty(
        name="File", subtype="FILE_PATH", options={"SKIP_SAVE"},
        description="Where the page goes; empty puts it beside the .blend")
    width_px: IntProperty(
        name="Width", default=480, min=32, max=2048, subtype="PIXEL", description="Width of its pictures")
    views: IntProperty(name="Photographs", default=12, min=1, max=100, description="Most photographs on the page")
    show: BoolProperty(name="Open", default=True, description="Open the page in the web browser")

    @classmethod
    def poll(cls, context):
        """A splat and photographs."""
        if shown_splat(context) is None:
            cls.poll_message_set("Select an object that holds Gaussians")
            return False
        if not context.scene.interngs.photos:
            cls.poll_message_set("There are no photographs to compare with")
            return False
        return True

    def parts(self, context):
        """One photograph after the other."""
        splat = shown_splat(context)
        self._splat = splat.name
        found = sorted(photograph_views(context.scene, splat), key=lambda each: not each.held_out)
        if not found:
            raise InputError("no-posed-photos", "No photograph has both its file and a camera.",
                             "Give the photographs cameras, or restore their files.")
        arrays, spaces = own_arrays(splat.data), {}
        for view in found[:self.views]:
            height_px = max(round(self.width_px * view.camera.height_px / view.camera.width_px), 1)
            camera = view.camera.resized(self.width_px, height_px)
            # An undistorted picture is softer: twice the size does not show it.
            scale = 2 if is_distorted(view.distortion) else 1
            photo = small_photograph(view.path, self.width_px * scale, height_px * scale)

            def work(view=view, camera=camera, photo=photo, scale=scale):
                key = view.cameras_from_splat.tobytes()
                if key not in spaces:
                    spaces[key] = transform_gaussians(gaussians_from_arrays(arrays), view.cameras_from_splat)
                picture = render_by_numpy(spaces[key], camera)
                seen = np.ones(picture.shape[:2], bool)
                if scale == 2:
                    large = camera.resized(2 * camera.width_px, 2 * camera.height_px)
                    photo, valid = undistorted(photo, large, view.distortion)
                    photo, seen = halved(photo), halved(valid[..., None])[..., 0] == 1
                return Compared(view.name, view.held_out, photo, picture[..., :3] * picture[..., 3:], seen)

            yield work

    def finish_all(self, context, outcomes):
        """Write the page, and open it."""
        splat = bpy.data.objects[self._splat]
        page = report_page(splat.name, outcomes, splat_facts(splat), NOTE)
        path = self._path(splat)
        atomic_write(path, page.encode())
        self.report({"INFO"}, f"Written: {path}")
        if self.show and not bpy.app.background:
            bpy.ops.wm.url_open(url=path.as_uri())
        return {"FINISHED"}

    def _path(self, splat) -> Path:
        if self.filepath:
            return Path(bpy.path.abspath(self.filepath)).absolute()
        folder = Path(bpy.data.filepath).parent if bpy.data.filepath else Path(tempfile.gettempdir())
        return folder / f"{bpy.path.clean_name(splat.name)} report.html"


def halved(pixels: np.ndarray) -> np.ndarray:
    """Means [H, W, C] of the 2 x 2 pixels of [2 H, 2 W, C]."""
    height, width, channels = pixels.shape
    return pixels.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))


def small_photograph(path: Path, width_px: int, height_px: int) -> np.ndarray:
    """[height, width, 3] sRGB in 0..1 of a photograph, made smaller by Blender; over black where it is transparent.

    Raises:
        InputError: the file cannot be read, or is turned against its camera.
    """
    image = bpy.data.images.load(str(path), check_existing=False)
    try:
        width, height = image.size
        if not (width and height):
            raise InputError("image-unreadable", f"{path.name} cannot be read.", "Restore the file.")
        if (width > height) != (width_px > height_px) and abs(width / height - width_px / height_px) > 0.1:
            raise InputError("image-turned", f"{path.name} is stored turned (by its EXIF flag), which Blender ignores.",
                             "Save it upright, or switch it off.")
        image.colorspace_settings.name = "Non-Color"
        image.scale(width_px, height_px)
        values = np.empty(width_px * height_px * image.channels, np.float32)
        image.pixels.foreach_get(values)
    finally:
        bpy.data.images.remove(image)
    pixels = values.reshape(height_px, width_px, -1)[::-1]
    colour = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(colour * pixels[..., 3:] if pixels.shape[2] == 4 else colour)


CLASSES = (INTERNGS_OT_report_page,)
