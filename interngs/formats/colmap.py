# SPDX-License-Identifier: GPL-3.0-or-later
"""COLMAP sparse models (text and binary) in, and text out.

Layout of the files: https://colmap.github.io/format.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.cameras import Camera
from ..scene.capture import CaptureFiles, SparsePoints
from ..storage import atomic_write
from .colmap_binary import read_binary
from .colmap_records import ColmapImage, ColmapModel
from .colmap_text import read_text
from .view_files import PosedImage, attach_masks, build_views, image_folders, is_file, list_images, same_stem

MODEL_FOLDERS = ("sparse/0", "sparse", ".", "colmap/sparse/0")
"""Where a model is looked for in a scene folder, in this order."""

_FOLDERS_ABOVE_MODELS = ("sparse", "colmap")
_PLAIN_SKEW_PX = 0.05


def find_model(scene: Path) -> Path | None:
    """The folder of ``scene`` that holds a complete COLMAP model, or None."""
    return next((scene / folder for folder in MODEL_FOLDERS if model_suffix(scene / folder) is not None), None)


def model_suffix(folder: Path) -> str | None:
    """``".bin"`` or ``".txt"`` when ``folder`` holds cameras and images of a model (binary first), else None."""
    for suffix in (".bin", ".txt"):
        if all((folder / (stem + suffix)).is_file() for stem in ("cameras", "images")):
            return suffix
    return None


def read_colmap(path: Path, image_folder: Path | None = None) -> CaptureFiles:
    """A capture from a COLMAP model.

    Args:
        path: a scene folder (with ``sparse/0``, ``sparse`` ...), the model folder itself, or one of its files.
        image_folder: where the images are.  By default ``images`` (else ``images_2``, ``images_4`` ...) in the scene
            folder.  Smaller copies fit: intrinsics are scaled.  Where no recorded name exists there, but the folder
            has as many images as the model, they are matched in the order of their names (the LLFF custom).

    Raises:
        InputError: no complete model, truncated or lying files, an unknown camera model, images missing.
    """
    folder = path.parent if path.is_file() else find_model(path)
    suffix = model_suffix(folder) if folder is not None else None
    if folder is None or suffix is None:
        raise InputError("colmap-incomplete", f"{folder or path} has no COLMAP model: it needs cameras.bin and "
                         f"images.bin, or cameras.txt and images.txt.", "Export the sparse model from COLMAP again.")
    model = read_binary(folder) if suffix == ".bin" else read_text(folder)
    if not model.images:
        raise InputError("no-views", f"The COLMAP model {folder} holds no registered image.",
                         "COLMAP could not place the photos; take more, overlapping ones, or set poses by hand.")
    images = image_folder or _find_image_folder(folder, path)
    files = _image_files(model.images, images)
    entries = [_posed_image(image, model, files[image.name]) for image in model.images]
    views = attach_masks(build_views(entries, folder), images.parent)
    kind = "binary" if suffix == ".bin" else "text"
    return CaptureFiles(views, f"COLMAP {kind} model {folder.name}, images in {images.name}", model.points)


def _posed_image(image: ColmapImage, model: ColmapModel, file: Path) -> PosedImage:
    camera = model.cameras.get(image.camera_id)
    if camera is None:
        raise InputError("colmap-broken", f"Image {image.name!r} uses camera {image.camera_id}, which the model does "
                         f"not have.", "Export the sparse model from COLMAP again.")
    return PosedImage(image.name, file, camera.K, image.camera_from_world, (camera.width_px, camera.height_px),
                      camera.distortion)


def _find_image_folder(model_folder: Path, given: Path) -> Path:
    scenes = [given if given.is_dir() else model_folder, model_folder.resolve().parent]
    while scenes[-1].name in _FOLDERS_ABOVE_MODELS:
        scenes.append(scenes[-1].parent)
    for scene in scenes:
        if folders := image_folders(scene):
            return folders[0]
    raise InputError("image-folder-missing", f"No folder 'images' lies beside the COLMAP model {model_folder}.",
                     "Put the photos into a folder 'images' beside 'sparse', or name their folder.")


def _image_files(images: tuple[ColmapImage, ...], folder: Path) -> dict[str, Path]:
    """A file for each image name: as written, else with another extension, else by order (see ``read_colmap``)."""
    written = {image.name: folder / image.name for image in images}
    if any(is_file(path) for path in written.values()):
        return written
    renamed = {name: other for name, path in written.items() if (other := same_stem(path)) is not None}
    if len(renamed) == len(written):
        return renamed
    there = list_images(folder) if folder.is_dir() else []
    if len(there) == len(written) and not renamed:
        return dict(zip(sorted(written), there, strict=True))
    return written


def write_colmap_text(folder: Path, cameras: Mapping[str, Camera], points: SparsePoints | None = None) -> None:
    """Write posed pinhole cameras as a COLMAP text model (cameras.txt, images.txt, points3D.txt).

    Args:
        folder: made when missing; the three files in it are replaced.
        cameras: image name -> camera of the undistorted image; one COLMAP camera each.
        points: written without tracks.

    Raises:
        InputError: a name or a camera that the format cannot hold.
        InternGSError: the folder may not be written, or the disk is full.
    """
    camera_lines, image_lines = [], []
    for number, (name, camera) in enumerate(cameras.items(), start=1):
        if any(character.isspace() for character in name) or not name:
            raise InputError("colmap-name", f"The image name {name!r} cannot stand in a COLMAP text model.",
                             "Rename the photo without spaces.")
        if abs(camera.K[0, 1]) > _PLAIN_SKEW_PX:
            raise InputError("colmap-skew", f"The camera of {name!r} has skewed pixels, which COLMAP cannot hold.",
                             "Export as transforms.json or use images without skew.")
        parameters = _join(camera.K[[0, 1, 0, 1], [0, 1, 2, 2]])
        camera_lines.append(f"{number} PINHOLE {camera.width_px} {camera.height_px} {parameters}")
        pose = camera.camera_from_world
        image_lines.append(f"{number} {_join(_quaternion(pose[:3, :3]))} {_join(pose[:3, 3])} {number} {name}\n")
    point_lines = [] if points is None else [
        f"{number} {_join(position)} {colour[0]} {colour[1]} {colour[2]} 0"
        for number, (position, colour) in enumerate(zip(points.positions, points.colours, strict=True), start=1)]
    for stem, lines in (("cameras", camera_lines), ("images", image_lines), ("points3D", point_lines)):
        text = "".join(line + "\n" for line in [f"# {len(lines)} entries", *lines])
        atomic_write(folder / f"{stem}.txt", text.encode())


def _join(values: NDArray[np.float64]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit quaternion wxyz, w >= 0: the eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (2000)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array([[xx + yy + zz, zy - yz, xz - zx, yx - xy],
                       [zy - yz, xx - yy - zz, xy + yx, xz + zx],
                       [xz - zx, xy + yx, yy - xx - zz, yz + zy],
                       [yx - xy, xz + zx, yz + zy, zz - xx - yy]])
    quaternion: NDArray[np.float64] = np.linalg.eigh(matrix)[1][:, -1]
    return quaternion if quaternion[0] >= 0 else -quaternion
