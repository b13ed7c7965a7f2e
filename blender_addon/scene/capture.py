# SPDX-License-Identifier: GPL-3.0-or-later
"""Render cameras to colour, exact depth and object mask without touching the artist's own scene settings.

Everything is set on temporary copies: a copy of the scene renders colour, a second one renders depth through pixel
centres, a third holds the subject alone; their one camera is a temporary object that stands where each of the
artist's cameras stands.  Removing them restores everything, also after a cancel or an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from .png import png_bytes
from .tga import read_tga

logger = logging.getLogger(__name__)

Engine = Literal["SCENE", "WORKBENCH"]
Pass = Literal["colour", "depth", "subject"]
TEMPORARY = "Intern-GS capture (temporary)"
DEPTH_ENDING, MASK_ENDING, PLAIN_ENDING = ".depth.npy", ".mask.png", ".colour.tga"
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
        alpha: the images get an alpha channel: what it leaves out is known to be empty.
        subject: names of the objects that alpha keeps; empty for everything but the background.
    """

    width_px: int
    height_px: int
    engine: Engine = "SCENE"
    samples: int = 0
    depth: bool = True
    alpha: bool = True
    subject: tuple[str, ...] = ()

    @property
    def has_subject(self) -> bool:
        """Whether alpha is that of some objects alone, which takes renders of its own."""
        return self.alpha and bool(self.subject)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The renders that each camera needs, in order."""
        wanted: list[Pass] = ["colour"]
        if self.depth or self.has_subject:
            wanted.append("depth")
        if self.has_subject:
            wanted.append("subject")
        return tuple(wanted)


@dataclass(frozen=True, eq=False)
class CapturedView:
    """One camera's renders on disk.

    Attributes:
        name: of the camera object.
        camera: where it stood.
        image_path: 8-bit sRGB PNG; its alpha, where asked for, is 0 where nothing (of the subject) is.
        depth_path: float32 ``.npy`` z-depth, 0 for the background.
        mask_path: 8-bit grey PNG, black where something else stands before the subject: these pixels say nothing.
    """

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


def _colour_output(scene: bpy.types.Scene, settings: CaptureSettings) -> None:
    """8-bit sRGB without a look: what the splat's colours must show under any view transform later.

    The background becomes transparent at once; a subject's image is kept as plain bytes until its alpha is known.
    """
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "IMAGE"
    if settings.has_subject:
        image.file_format, image.color_mode = "TARGA_RAW", "RGB"
    else:
        image.file_format, image.color_depth = "PNG", "8"
        image.color_mode = "RGBA" if settings.alpha else "RGB"
        image.compression = 15
        scene.render.film_transparent = settings.alpha
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


def write_subject(plain_path: Path, image_path: Path, depth_path: Path, mask_path: Path,
                  alone: NDArray[np.float32]) -> None:
    """Make a subject's image with its alpha, and the mask of what stands before it; in any thread.

    Args:
        plain_path: colour of the whole scene, TGA; is removed.
        image_path: PNG to write.
        depth_path: ``.npy`` z-depth of the whole scene.
        mask_path: PNG to write where something stands before the subject; else it is removed.
        alone: [H, W] z-depth of the subject without the rest of the scene; 0 where it is not.
    """
    depth = np.load(depth_path, allow_pickle=False)
    covered = alone > 0
    hidden = covered & (np.abs(alone - depth) > SUBJECT_TOLERANCE * depth)
    alpha = np.where(covered, 255, 0).astype(np.uint8)
    image_path.write_bytes(png_bytes(np.dstack([read_tga(plain_path), alpha])))
    plain_path.unlink()
    mask_path.unlink(missing_ok=True)
    if hidden.any():
        mask_path.write_bytes(png_bytes(np.where(hidden, 0, 255).astype(np.uint8)))


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
        self._views: list[CapturedView] = []
        self._writer = ThreadPoolExecutor(1, "interngs-capture")
        self._writing: list[Future[None]] = []
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
                _colour_output(scene, self.settings)
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

    def _render_path(self, index: int, which: Pass) -> Path:
        """The file that Blender writes for a pass."""
        if which != "colour":
            return self._path(index, f".{which}.exr")
        return self._path(index, PLAIN_ENDING if self.settings.has_subject else ".png")

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
        path = self._render_path(index, which)
        path.unlink(missing_ok=True)  # of an earlier capture: must not pass for this one's
        scene.render.filepath = str(path)
        start(scene)

    def finish_current(self) -> None:
        """Take over what the finished render wrote.

        Raises:
            InputError: when the render wrote no file.
        """
        index, which = self._steps[self._done]
        path = self._render_path(index, which)
        if not path.is_file():
            raise InputError("render-failed", f"Blender wrote no image for camera {self._names[index]!r}.",
                             "Render this camera once by hand (F12) and look at what Blender reports.")
        if which == "depth":
            np.save(self._path(index, DEPTH_ENDING), self._take_depth(path), allow_pickle=False)
        elif which == "subject":
            files = [self._path(index, each) for each in (PLAIN_ENDING, ".png", DEPTH_ENDING, MASK_ENDING)]
            self._writing.append(self._writer.submit(write_subject, *files, self._take_depth(path)))
            if not self.settings.depth:
                self._writing[-1].add_done_callback(lambda _: files[2].unlink())    # was only needed for this
        self._done += 1
        if which == self.settings.passes[-1]:
            self._finish_view(index)

    @staticmethod
    def _take_depth(path: Path) -> NDArray[np.float32]:
        depth = read_channel(path, "Depth.Z")
        path.unlink()
        return np.where(depth < BACKGROUND_DEPTH, depth, np.float32(0.0))

    def _finish_view(self, index: int) -> None:
        self._views.append(CapturedView(
            self._names[index], self._cameras[index], self._path(index, ".png"),
            self._path(index, DEPTH_ENDING) if self.settings.depth else None, None))

    @property
    def is_written(self) -> bool:
        """Whether all files of the finished renders are on disk."""
        return all(each.done() for each in self._writing)

    def views(self) -> list[CapturedView]:
        """What was captured; waits for the last files.

        Raises:
            Exception: what went wrong while writing them.
        """
        for each in self._writing:
            each.result()
        masked = self.settings.has_subject
        return [replace(view, mask_path=path) if masked and (path := self._mask_path(view)).is_file() else view
                for view in self._views]

    def _mask_path(self, view: CapturedView) -> Path:
        return view.image_path.with_name(view.image_path.stem + MASK_ENDING)

    def _release(self, which: Pass) -> None:
        """Have the renderer forget what it kept of a pass's scene."""
        scene = bpy.data.scenes.get(self._scenes[which])
        if scene is not None:
            scene.render.use_persistent_data = False

    def close(self) -> None:
        """Remove everything temporary; the artist's own data was never changed."""
        self._writer.shutdown(cancel_futures=True)
        for index in range(len(self._names)):
            self._path(index, PLAIN_ENDING).unlink(missing_ok=True)
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
        return run.views()
    finally:
        run.close()
