# SPDX-License-Identifier: GPL-3.0-or-later
"""Render cameras to colour, exact depth and object mask without touching the artist's own scene settings.

Everything is set on temporary copies: a copy of the scene renders colour, a second one renders depth through pixel
centres, a third holds the subject alone; their one camera is a temporary object that stands where each of the
artist's cameras stands.  Removing them restores everything, also after a cancel or an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ...interngs.errors import InputError
from ...interngs.scene.cameras import Camera
from .cameras import camera_from_blender, lens_of, pixel_aspect_of, rigid_pose
from .exr import read_channel
from .lens import intrinsics
from .png import write_grey_png

logger = logging.getLogger(__name__)

Engine = Literal["SCENE", "WORKBENCH"]
Pass = Literal["colour", "depth", "subject"]
TEMPORARY = "Intern-GS capture (temporary)"
DEPTH_ENDING, MASK_ENDING = ".depth.npy", ".mask.png"
BACKGROUND_DEPTH = 1e9
"""Blender writes 1e10 where no surface is."""
SUBJECT_TOLERANCE = 1e-4
"""Relative depth difference up to which the subject alone and the whole scene show the same surface."""


@dataclass(frozen=True)
class CaptureSettings:
    """What to render.

    Attributes:
        width_px, height_px: image size.
        engine: the scene's own engine, or Workbench.
        samples: samples per pixel for Cycles colour; 0 keeps the scene's.
        depth: also render exact z-depth.
        mask: also render the mask (of ``subject``, or of everything that is not background).
        subject: names of the objects that the mask keeps; empty for all of them.
    """

    width_px: int
    height_px: int
    engine: Engine = "SCENE"
    samples: int = 0
    depth: bool = True
    mask: bool = True
    subject: tuple[str, ...] = ()

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The renders that each camera needs, in order."""
        wanted: list[Pass] = ["colour"]
        if self.depth or self.mask:
            wanted.append("depth")
        if self.mask and self.subject:
            wanted.append("subject")
        return tuple(wanted)


@dataclass(frozen=True, eq=False)
class CapturedView:
    """One camera's renders on disk: 8-bit sRGB PNG, float32 ``.npy`` z-depth (0: background), 8-bit grey PNG mask."""

    name: str
    camera: Camera
    image_path: Path
    depth_path: Path | None
    mask_path: Path | None


def _copy_scene(source: bpy.types.Scene, view_layer_name: str) -> bpy.types.Scene:
    scene = source.copy()
    scene.name = TEMPORARY
    for layer in scene.view_layers:
        layer.use = layer.name == view_layer_name
    render = scene.render
    render.resolution_percentage = 100
    render.use_border = render.use_crop_to_border = False
    render.use_compositing = render.use_sequencer = False
    render.use_multiview = render.use_stamp = False
    render.use_motion_blur = False
    render.use_file_extension = False
    render.use_overwrite, render.use_placeholder = True, False
    render.use_persistent_data = True
    render.dither_intensity = 0.0
    render.film_transparent = False
    return scene


def _colour_output(scene: bpy.types.Scene) -> None:
    """8-bit sRGB without a look: what the splat's colours must show under any view transform later."""
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "IMAGE"
    image.file_format, image.color_mode, image.color_depth = "PNG", "RGB", "8"
    image.compression = 15
    image.color_management = "FOLLOW_SCENE"
    scene.display_settings.display_device = "sRGB"
    view = scene.view_settings
    view.view_transform, view.look = "Standard", "None"
    view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
    if hasattr(view, "use_white_balance"):
        view.use_white_balance = False


def _depth_output(scene: bpy.types.Scene, view_layer_name: str) -> None:
    """One Cycles sample through the pixel's centre, written as float depth."""
    if not hasattr(scene, "cycles"):
        raise InputError("cycles-disabled", "Exact depth and masks are rendered with Cycles, which is switched off.",
                         "Enable the add-on Cycles in the preferences, or capture without depth and mask.")
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising = 1, False, False
    cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01
    cycles.max_bounces = 0
    layer = scene.view_layers[view_layer_name]
    layer.use_pass_z = True
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format, image.color_depth, image.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    if hasattr(image, "use_exr_interleave"):
        image.use_exr_interleave = True  # 5.1 cannot write one part a pass when pixels are not square


def _empty_scene(scene: bpy.types.Scene) -> None:
    """Take everything out of a copied scene (which the artist's own scene keeps)."""
    for child in list(scene.collection.children):
        scene.collection.children.unlink(child)
    for linked in list(scene.collection.objects):
        scene.collection.objects.unlink(linked)


def _subject_collection(scene: bpy.types.Scene, names: Sequence[str]) -> None:
    """Leave only the objects called ``names`` in a copied scene."""
    _empty_scene(scene)
    for name in names:
        found = bpy.data.objects.get(name)
        if found is not None:
            scene.collection.objects.link(found)


class SceneCapture:
    """A running capture: start one render after the other, collect the files, clean up.

    The owner calls ``begin_next`` until ``remaining`` is 0 and ``close`` in any case.  ``begin_next`` starts a render
    through ``start``, which may run it at once (background mode) or in Blender's render job; ``finish_current`` reads
    what it wrote.
    """

    def __init__(self, scene: bpy.types.Scene, view_layer_name: str, cameras: Sequence[bpy.types.Object],
                 settings: CaptureSettings, folder: Path) -> None:
        if not cameras:
            raise InputError("no-cameras", "No camera is selected.", "Select camera objects, or add a camera rig.")
        self.settings, self.folder = settings, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._view_layer = view_layer_name
        self._names = [each.name for each in cameras]
        # One pass over all cameras after the other: each keeps its scene in the renderer, and only one at a time does.
        self._steps = [(index, which) for which in settings.passes for index in range(len(cameras))]
        self._done = 0
        self._scenes: dict[Pass, str] = {}
        self._cameras = [self._record(each, pixel_aspect_of(scene)) for each in cameras]
        self.views: list[CapturedView] = []
        try:
            self._prepare(scene)
        except BaseException:
            self.close()
            raise

    @property
    def total(self) -> int:
        """Renders in all."""
        return len(self._steps)

    @property
    def done(self) -> int:
        """Renders finished."""
        return self._done

    @property
    def remaining(self) -> int:
        """Renders still to do."""
        return len(self._steps) - self._done

    @property
    def current_name(self) -> str:
        """Name of the camera that is rendered now or next."""
        return self._names[self._steps[min(self._done, self.total - 1)][0]]

    def _record(self, camera_object: bpy.types.Object, aspect: tuple[float, float]) -> Camera:
        evaluated = camera_object.evaluated_get(bpy.context.evaluated_depsgraph_get())
        lens = lens_of(evaluated.data, camera_object.name)
        width, height = self.settings.width_px, self.settings.height_px
        return camera_from_blender(rigid_pose(evaluated.matrix_world, camera_object.name),
                                   intrinsics(lens, width, height, aspect), width, height)

    def _prepare(self, source: bpy.types.Scene) -> None:
        for which in self.settings.passes:
            scene = _copy_scene(source, self._view_layer)
            self._scenes[which] = scene.name
            scene.render.resolution_x, scene.render.resolution_y = self.settings.width_px, self.settings.height_px
            if which == "colour":
                _colour_output(scene)
                self._choose_engine(scene)
            else:
                _depth_output(scene, self._view_layer)
            if which == "subject":
                _subject_collection(scene, self.settings.subject)

    def _choose_engine(self, scene: bpy.types.Scene) -> None:
        if self.settings.engine == "WORKBENCH":
            scene.render.engine = "BLENDER_WORKBENCH"
        if scene.render.engine == "CYCLES" and self.settings.samples > 0:
            scene.cycles.samples = self.settings.samples

    def _path(self, index: int, ending: str) -> Path:
        return self.folder / f"{index:03d}_{bpy.path.clean_name(self._names[index])}{ending}"

    def _aim(self, scene: bpy.types.Scene, index: int) -> None:
        """Put a temporary camera, without depth of field, where the artist's camera stands."""
        original = bpy.data.objects.get(self._names[index])
        if original is None:
            raise InputError("camera-gone", f"Camera {self._names[index]!r} was removed during the capture.",
                             "Start the capture again.")
        self._drop_camera(scene)
        evaluated = original.evaluated_get(bpy.context.evaluated_depsgraph_get())
        data = original.data.copy()
        if data.animation_data is not None:
            data.animation_data_clear()
        data.name = TEMPORARY
        for name in ("lens", "sensor_width", "sensor_height", "shift_x", "shift_y", "clip_start", "clip_end"):
            setattr(data, name, getattr(evaluated.data, name))
        data.dof.use_dof = False
        stand_in = bpy.data.objects.new(TEMPORARY, data)
        scene.collection.objects.link(stand_in)
        pose = np.array(evaluated.matrix_world)
        pose[:3, :3] /= np.linalg.norm(pose[:3, :3], axis=0)
        stand_in.matrix_world = Matrix(pose.tolist())
        scene.camera = stand_in

    def _drop_camera(self, scene: bpy.types.Scene) -> None:
        camera = scene.camera
        if camera is not None and camera.name.startswith(TEMPORARY):
            data = camera.data
            bpy.data.objects.remove(camera)
            if data.users == 0:
                bpy.data.cameras.remove(data)

    def begin_next(self, start: Callable[[bpy.types.Scene], None]) -> None:
        """Set up the next render and hand its scene to ``start``."""
        index, which = self._steps[self._done]
        if self._done and self._steps[self._done - 1][1] != which:
            self._release(self._steps[self._done - 1][1])
        scene = bpy.data.scenes.get(self._scenes[which])
        if scene is None:
            raise InputError("capture-interrupted", "The capture's temporary scene is gone (undo, or another file).",
                             "Start the capture again.")
        self._aim(scene, index)
        path = self._path(index, ".png" if which == "colour" else f".{which}.exr")
        path.unlink(missing_ok=True)  # of an earlier capture: must not pass for this one's
        scene.render.filepath = str(path)
        start(scene)

    def finish_current(self) -> None:
        """Take over what the finished render wrote.

        Raises:
            InputError: when the render wrote no file.
        """
        index, which = self._steps[self._done]
        path = self._path(index, ".png" if which == "colour" else f".{which}.exr")
        if not path.is_file():
            raise InputError("render-failed", f"Blender wrote no image for camera {self._names[index]!r}.",
                             "Render this camera once by hand (F12) and look at what Blender reports.")
        if which == "depth":
            depth = self._take_depth(path)
            np.save(self._path(index, DEPTH_ENDING), depth, allow_pickle=False)
            if self.settings.mask and not self.settings.subject:
                self._write_mask(index, depth > 0)
        elif which == "subject":
            depth = np.load(self._path(index, DEPTH_ENDING), allow_pickle=False)
            same = np.abs(self._take_depth(path) - depth) <= SUBJECT_TOLERANCE * depth
            self._write_mask(index, same & (depth > 0))
        self._done += 1
        if which == self.settings.passes[-1]:
            self._finish_view(index)

    @staticmethod
    def _take_depth(path: Path) -> NDArray[np.float32]:
        depth = read_channel(path, "Depth.Z")
        path.unlink()
        return np.where(depth < BACKGROUND_DEPTH, depth, np.float32(0.0))

    def _write_mask(self, index: int, seen: NDArray[np.bool_]) -> None:
        write_grey_png(self._path(index, MASK_ENDING), np.where(seen, 255, 0).astype(np.uint8))

    def _finish_view(self, index: int) -> None:
        if not self.settings.depth:
            self._path(index, DEPTH_ENDING).unlink(missing_ok=True)  # was only needed for the mask
        self.views.append(CapturedView(
            self._names[index], self._cameras[index], self._path(index, ".png"),
            self._path(index, DEPTH_ENDING) if self.settings.depth else None,
            self._path(index, MASK_ENDING) if self.settings.mask else None))

    def _release(self, which: Pass) -> None:
        """Have the renderer forget what it kept of a pass's scene."""
        scene = bpy.data.scenes.get(self._scenes[which])
        if scene is not None:
            scene.render.use_persistent_data = False

    def close(self) -> None:
        """Remove everything temporary; the artist's own data was never changed."""
        for which, name in self._scenes.items():
            scene = bpy.data.scenes.get(name)
            if scene is not None:
                self._release(which)
                self._drop_camera(scene)
                _empty_scene(scene)
                bpy.data.scenes.remove(scene)
        self._scenes.clear()


def render_now(scene: bpy.types.Scene) -> None:
    """Render a scene to its file before returning: background mode and tests."""
    bpy.ops.render.render(write_still=True, scene=scene.name)


def capture_now(scene: bpy.types.Scene, view_layer_name: str, cameras: Sequence[bpy.types.Object],
                settings: CaptureSettings, folder: Path) -> list[CapturedView]:
    """Capture every camera before returning: for background mode and scripts."""
    run = SceneCapture(scene, view_layer_name, cameras, settings, folder)
    try:
        while run.remaining:
            run.begin_next(render_now)
            run.finish_current()
        return run.views
    finally:
        run.close()
