# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a pose file says to checked view records: images there, sizes agreeing, poses rigid, masks found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.cameras import ORTHONORMAL_TOLERANCE, Camera, validate_camera
from ..scene.capture import Distortion, ViewFile
from .image_header import IMAGE_SUFFIXES, ImageHeader, read_image_header

SIZE_TOLERANCE_PX = 1.0
"""How far an image may miss a uniform scaling of the recorded size (rounding when it was made smaller)."""
MASK_FOLDERS = ("masks", "mask")
"""Folders beside the image folder where masks are looked for, by the image's name."""

NO_DISTORTION = Distortion()
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Turns camera axes: OpenGL and Blender look along -z with y up."""


@dataclass(frozen=True, eq=False)
class PosedImage:
    """One entry of a pose file, not checked yet.

    Attributes:
        name: as the pose file has it.
        image_path: where its image should be.
        K: [3, 3] intrinsics in pixels of an image of ``size_px``.
        camera_from_world: [4, 4].
        size_px: (width, height) that ``K`` is for; None when the pose file does not say: then that of the stored image.
        distortion, mask_path, depth_path: as in ``ViewFile``.
    """

    name: str
    image_path: Path
    K: NDArray[np.float64]
    camera_from_world: NDArray[np.float64]
    size_px: tuple[int, int] | None = None
    distortion: Distortion = NO_DISTORTION
    mask_path: Path | None = None
    depth_path: Path | None = None


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """[3, 3] matrix of focal lengths and principal point, pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def rigid(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """``pose`` [4, 4] with its rotation made orthonormal (nearest by SVD) where it is so up to rounding.

    Pose files carry few digits or float32.  A matrix further off than ``ORTHONORMAL_TOLERANCE`` is returned
    unchanged, for ``validate_camera`` to refuse.
    """
    rotation = pose[:3, :3]
    if not np.isfinite(pose).all() or np.abs(rotation @ rotation.T - np.eye(3)).max() > ORTHONORMAL_TOLERANCE:
        return pose
    u, _, vt = np.linalg.svd(rotation)
    corrected = pose.copy()
    corrected[:3, :3] = u @ vt
    return corrected


def inverse_pose(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """[4, 4] inverse of a pose, its rotation made orthonormal first; its translation (the centre of a
    ``world_from_camera``) is kept exactly.  Of a pose that is not finite, NaN."""
    if not np.isfinite(pose).all():
        return np.full((4, 4), np.nan)
    pose = rigid(pose)
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name; hidden files are left out."""
    return sorted((entry for entry in _entries(folder)
                   if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()),
                  key=lambda entry: entry.name)


def image_folders(scene: Path) -> list[Path]:
    """The folders of a scene that hold images, best first: ``images``, ``images_2``, ``images_4`` ... by factor."""
    ranked = []
    for entry in _entries(scene):
        stem, _, factor = entry.name.partition("_")
        if entry.is_dir() and stem == "images" and (entry.name == "images" or factor.isdecimal()):
            ranked.append((int(factor) if factor else 1, entry))
    return [entry for _, entry in sorted(ranked) if _holds_images(entry)]


def _holds_images(folder: Path) -> bool:
    """Whether images lie in the folder or one level below (one folder per camera)."""
    return bool(list_images(folder)) or any(entry.is_dir() and list_images(entry) for entry in _entries(folder))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError("folder-unreadable", f"The folder {folder} cannot be read: {error.strerror or error}.",
                         "Check the path and that the folder may be read.") from error


def path_beside(pose_file: Path, written: str) -> Path:
    """The path that a pose file writes, relative to the folder of the pose file; backslashes are taken as ``/``."""
    return pose_file.parent / written.replace("\\", "/")


def build_views(entries: Sequence[PosedImage], pose_file: Path) -> tuple[ViewFile, ...]:
    """Checked view records of the entries of ``pose_file``, in their order.

    Images must exist.  Where an image is a uniformly scaled version of the recorded size, the intrinsics are scaled to
    it.  A camera is taken to be for the pixels as stored; where only the size after the EXIF turn fits, for the turned
    photo.  (COLMAP, from which most poses come, ignores the turn; where both sizes fit, a photo stood on its head or a
    square one, that decides.)  Poses are made orthonormal within ``ORTHONORMAL_TOLERANCE``.

    Raises:
        InputError: images missing (how many, which), unreadable, too large or of another shape; two entries with
            one name; a camera that cannot be one; a named mask or depth file missing.
    """
    if not entries:
        raise InputError("no-views", f"{pose_file} holds no posed image.", "Write the pose file again.")
    _check_images_exist(entries, pose_file)
    _check_unique([entry.name for entry in entries], pose_file)
    for kind in ("mask_path", "depth_path"):
        missing = [str(path) for entry in entries if (path := getattr(entry, kind)) is not None and not is_file(path)]
        if missing:
            raise InputError("file-missing", f"{pose_file} names {kind.removesuffix('_path')} files that do not exist: "
                             f"{_some(missing)}.", "Restore the files or take them out of the pose file.")
    return tuple(_build_view(entry) for entry in entries)


def _build_view(entry: PosedImage) -> ViewFile:
    header = read_image_header(entry.image_path)
    width, height = entry.size_px or (header.width_px, header.height_px)
    camera = Camera(entry.K, rigid(entry.camera_from_world), width, height)
    validate_camera(camera, entry.name)
    camera = _camera_for_image(camera, header, entry)
    return ViewFile(entry.name, entry.image_path, camera, entry.distortion, entry.mask_path, entry.depth_path)


def _camera_for_image(camera: Camera, header: ImageHeader, entry: PosedImage) -> Camera:
    stored = header.width_px, header.height_px
    for size in (stored, header.upright_size_px):
        if is_uniform_scale((camera.width_px, camera.height_px), size):
            return camera if size == (camera.width_px, camera.height_px) else camera.resized(*size)
    raise InputError(
        "image-size-mismatch",
        f"The image {entry.image_path} is {stored[0]}x{stored[1]} px, but its camera is for "
        f"{camera.width_px}x{camera.height_px} px, which is another shape.",
        "Use the images that the poses were made for; cropped or turned copies do not fit them.")


def is_uniform_scale(recorded: tuple[int, int], actual: tuple[int, int]) -> bool:
    """Whether ``actual`` is ``recorded`` scaled by one factor, up to rounding of each side."""
    (width, height), (actual_width, actual_height) = recorded, actual
    lowest = max((actual_width - SIZE_TOLERANCE_PX) / width, (actual_height - SIZE_TOLERANCE_PX) / height)
    highest = min((actual_width + SIZE_TOLERANCE_PX) / width, (actual_height + SIZE_TOLERANCE_PX) / height)
    return lowest <= highest


def _check_images_exist(entries: Sequence[PosedImage], pose_file: Path) -> None:
    missing = [entry for entry in entries if not is_file(entry.image_path)]
    if not missing:
        return
    renamed = [other for entry in missing if (other := same_stem(entry.image_path)) is not None]
    remedy = f"Restore the images, or remove their frames from {pose_file.name}."
    if renamed:
        remedy = (f"{len(renamed)} of them exist under another extension (such as {renamed[0].name}): correct the "
                  f"names in {pose_file.name} and remove the frames that have no image.")
    raise InputError("image-missing", f"{len(missing)} of {len(entries)} frames of {pose_file} name an image that does "
                     f"not exist: {_some([entry.name for entry in missing])}.", remedy)


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that the system cannot hold is simply not there."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def same_stem(path: Path) -> Path | None:
    """An existing image file with the folder and stem of ``path`` and one of ``IMAGE_SUFFIXES``."""
    stem = path.with_name(path.stem) if path.suffix.lower() in IMAGE_SUFFIXES else path
    for suffix in IMAGE_SUFFIXES:
        for candidate in (stem.parent / (stem.name + suffix), stem.parent / (stem.name + suffix.upper())):
            if is_file(candidate):
                return candidate
    return None


def _check_unique(names: Iterable[str], pose_file: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError("image-twice", f"{pose_file} has the image {name!r} twice.",
                             "Remove one of the two frames.")
        seen.add(name)


def _some(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def attach_masks(views: Sequence[ViewFile], scene: Path) -> tuple[ViewFile, ...]:
    """Views with the masks that lie in ``scene``/masks (or mask) under the image's name.

    Both customs are known: ``masks/photo.png`` for ``photo.jpg`` and COLMAP's ``masks/photo.jpg.png``; images in
    subfolders have their masks in the same subfolders.  Views that have a mask already, and views without a file
    there, stay as they are.
    """
    folders = [scene / name for name in MASK_FOLDERS if (scene / name).is_dir()]
    return tuple(view if view.mask_path else replace(view, mask_path=_mask_of(view, scene, folders)) for view in views)


def _mask_of(view: ViewFile, scene: Path, folders: Sequence[Path]) -> Path | None:
    image = view.image_path
    below_images = image.relative_to(scene).parts[1:-1] if image.is_relative_to(scene) else ()
    for folder in folders:
        for name in (image.stem + ".png", image.name + ".png", image.name):
            candidate = folder.joinpath(*below_images, name)
            if candidate.is_file():
                return candidate
    return None
