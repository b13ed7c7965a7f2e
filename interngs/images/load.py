# SPDX-License-Identifier: GPL-3.0-or-later
"""From a capture's files to views with pixels: upright, undistorted, sized, masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.view_files import is_uniform_scale
from ..scene.cameras import Camera
from ..scene.capture import Capture, CaptureFiles, Distortion, View, ViewFile
from .depth_file import read_depth
from .open import StoredImage, open_mask, open_stored, to_float
from .orientation import UPRIGHT, turn_back, turn_camera, turn_upright
from .pixel_file import PixelFile
from .undistort import PixelMap, is_distorted, pinhole_map, remap, remap_nearest

Size = tuple[int, int]
"""(width, height) in pixels."""


def load_capture(files: CaptureFiles, indices: Sequence[int] | None = None, max_side_px: int | None = None,
                 pixels: PixelFile | None = None) -> Capture:
    """Read the pixels of a capture.

    Each photo is turned upright once by its EXIF orientation, undistorted to a pinhole image with the same ``K``, and
    reduced by an area filter (in sRGB values, as the field's benchmarks do) when its longer side is over
    ``max_side_px``.  A camera that has the size of the stored pixels is for these, and is turned together with them
    (COLMAP ignores the EXIF turn); a camera of the upright size, where that differs, is for the turned photo.

    The mask of a view is the product of its mask file (white counts), its alpha channel, and the pixels that
    undistortion could fill.  Colours under alpha are kept straight, not multiplied; where alpha is zero they are black.

    Args:
        files: as ``find_capture`` gives them.
        indices: the views to read, in this order; by default all.
        max_side_px: longest side of the loaded images; by default the files' own.
        pixels: keeps the pixels of large captures out of memory; by default all are in memory.

    Raises:
        InputError: an index is out of range; an image, mask or depth file is missing, damaged, too large or of another
            shape than its camera; a lens model is unknown.
    """
    if max_side_px is not None and max_side_px < 1:
        raise InputError("max-side", f"The longest side cannot be {max_side_px} px.",
                         "Give a positive number of pixels.")
    chosen = list(range(len(files.views))) if indices is None else list(indices)
    outside = [index for index in chosen if not 0 <= index < len(files.views)]
    if outside:
        raise InputError("view-index", f"There is no view {outside[0]}; the capture has {len(files.views)}, counted "
                         "from 0.", "Choose views that exist.")
    loader = _Loader(max_side_px)
    views = tuple(loader.load(files.views[index]) if pixels is None else pixels.keep_view(
        loader.load(files.views[index])) for index in chosen)
    return Capture(views, files.source, files.points, _notes([files.views[index] for index in chosen], loader.turned))


def _notes(files: Sequence[ViewFile], turned: int) -> tuple[str, ...]:
    models = sorted({file.distortion.model for file in files if file.camera and is_distorted(file.distortion)})
    masked = sum(file.mask_path is not None for file in files)
    notes = []
    if models:
        notes.append(f"Photos were undistorted from the camera model {', '.join(models)}.")
    if turned:
        notes.append(f"{turned} of {len(files)} photos were turned upright by their EXIF orientation.")
    if 0 < masked < len(files):
        notes.append(f"Only {masked} of {len(files)} views have a mask file; the others count everywhere.")
    return tuple(notes)


@dataclass(frozen=True)
class _Frame:
    """The pixel frame a view is worked in: the upright photo's, or the stored one's when its camera is for that."""

    size_px: Size
    orientation: int
    stored: bool


class _Loader:
    """Loads views one by one; keeps the last undistortion map, since views mostly share one lens."""

    def __init__(self, max_side_px: int | None) -> None:
        self.max_side_px = max_side_px
        self.turned = 0
        self._map: tuple[tuple[object, ...], PixelMap] | None = None

    def load(self, file: ViewFile) -> View:
        """One view; see ``load_capture``."""
        photo = open_stored(file.image_path)
        frame = _frame_of(file, photo)
        self.turned += frame.orientation != UPRIGHT
        size = _limited(frame.size_px, self.max_side_px)
        distorted = file.camera is not None and is_distorted(file.distortion)
        # Half a pixel of blur from undistorting does not show when twice the wanted size is undistorted.
        work_size = _limited(frame.size_px, 2 * max(size)) if distorted else size
        colour, alpha = _colour_and_alpha(photo, frame, work_size)
        mask = None if file.mask_path is None else _load_mask(file.mask_path, frame, work_size)
        depth = None if file.depth_path is None else _load_depth(file.depth_path, frame, work_size)
        if file.camera is not None and distorted:
            pixel_map = self._pixel_map(file.camera.resized(*work_size), file.distortion, file.name)
            colour = remap(colour, pixel_map)
            alpha = None if alpha is None else remap(alpha, pixel_map)
            mask = pixel_map.valid.astype(np.float32) * (1.0 if mask is None else remap(mask, pixel_map))
            depth = None if depth is None else remap_nearest(depth, pixel_map)
        colour = _resized(colour, size)
        if alpha is not None:
            colour, alpha = _straight(colour, _resized(alpha, size))
            mask = alpha if mask is None else _resized(mask, size) * alpha
        mask = None if mask is None else _resized(mask, size)
        depth = None if depth is None else _resized_nearest(depth, size)
        camera = None if file.camera is None else file.camera.resized(*size)
        if mask is not None and mask.min() >= 1.0:
            mask = None
        if alpha is not None and alpha.min() >= 1.0:
            alpha = None
        masked = file.mask_path is not None and mask is not None
        return _upright(View(file.name, colour, camera, mask, depth, alpha=alpha, masked=masked), frame)

    def _pixel_map(self, camera: Camera, distortion: Distortion, name: str) -> PixelMap:
        key = (camera.K.tobytes(), camera.width_px, camera.height_px, distortion)
        if self._map is None or self._map[0] != key:
            self._map = key, pinhole_map(camera, distortion, name)
        return self._map[1]


def _frame_of(file: ViewFile, photo: StoredImage) -> _Frame:
    header = photo.header
    upright, stored = header.upright_size_px, (header.width_px, header.height_px)
    size = upright if file.camera is None else (file.camera.width_px, file.camera.height_px)
    if size not in (upright, stored):
        raise InputError("image-size-mismatch", f"The image {file.image_path} is {upright[0]}x{upright[1]} px, but its "
                         f"camera is for {size[0]}x{size[1]} px.", "Use the images that the poses were made for.")
    turned_camera = file.camera is not None and header.orientation != UPRIGHT and size == stored
    return _Frame(size, header.orientation, stored=turned_camera)


def _limited(size: Size, max_side_px: int | None) -> Size:
    """``size`` or, when its longer side is over the limit, the same shape with that side at the limit."""
    if max_side_px is None or max(size) <= max_side_px:
        return size
    scale = max_side_px / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _colour_and_alpha(photo: StoredImage, frame: _Frame, size: Size
                      ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Colour [H, W, 3] (multiplied by alpha, when there is one) and alpha [H, W], both at ``size``."""
    orientation = UPRIGHT if frame.stored else frame.orientation
    colour = to_float(turn_upright(photo.colour, orientation))
    if photo.alpha is None:
        return _resized(colour, size), None
    alpha = to_float(turn_upright(photo.alpha, orientation))
    colour *= alpha[..., None]
    return _resized(colour, size), _resized(alpha, size)


def _straight(colour: NDArray[np.float32], alpha: NDArray[np.float32]
              ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour divided by alpha; where alpha is (nearly) zero, black with alpha zero."""
    seen = alpha > 1e-4
    divided = np.clip(colour / np.where(seen, alpha, np.float32(1.0))[..., None], 0.0, 1.0, dtype=np.float32)
    return np.where(seen[..., None], divided, np.float32(0.0)), np.where(seen, alpha, np.float32(0.0))


def _resized(pixels: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Area filter when made smaller, linear when made larger."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    smaller = size[0] <= pixels.shape[1] and size[1] <= pixels.shape[0]
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _resized_nearest(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """The value at each new pixel's centre: depth must not be blended across edges."""
    height, width = values.shape
    rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(int)
    return values[rows[:, None], columns]


def _load_mask(path: Path, frame: _Frame, size: Size) -> NDArray[np.float32]:
    mask, header = open_mask(path)
    if not (frame.stored and header.orientation == frame.orientation):
        mask = turn_upright(mask, header.orientation)
    return _resized(_in_frame(mask, frame, path), size)


def _load_depth(path: Path, frame: _Frame, size: Size) -> NDArray[np.float32]:
    return _resized_nearest(_in_frame(read_depth(path), frame, path), size)


def _in_frame(pixels: NDArray[np.float32], frame: _Frame, path: Path) -> NDArray[np.float32]:
    """A mask or depth map in the frame of its view: as it is, or turned when made for the photo's other frame."""
    turn = turn_back if frame.stored else turn_upright
    for candidate in (pixels, turn(pixels, frame.orientation)):
        if is_uniform_scale(frame.size_px, (candidate.shape[1], candidate.shape[0])):
            return candidate
    raise InputError("mask-size", f"{path} is {pixels.shape[1]}x{pixels.shape[0]} px, another shape than its photo of "
                     f"{frame.size_px[0]}x{frame.size_px[1]} px.", "Make it in the shape of the photo.")


def _upright(view: View, frame: _Frame) -> View:
    if not frame.stored or view.camera is None:
        return view
    mask, depth, alpha = (None if pixels is None else turn_upright(pixels, frame.orientation)
                          for pixels in (view.mask, view.depth, view.alpha))
    return replace(view, image=turn_upright(view.image, frame.orientation), mask=mask, depth=depth, alpha=alpha,
                   camera=turn_camera(view.camera, frame.orientation, view.name))
