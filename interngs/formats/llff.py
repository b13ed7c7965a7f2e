# SPDX-License-Identifier: GPL-3.0-or-later
"""LLFF's poses_bounds.npy (Mildenhall et al., "Local Light Field Fusion", 2019; code release, section on poses)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..scene.capture import CaptureFiles
from .npy_file import read_npy
from .view_files import PosedImage, attach_masks, build_views, image_folders, intrinsics, inverse_pose, list_images


def read_llff(path: Path, image_folder: Path | None = None) -> CaptureFiles:
    """A capture from a scene folder with ``poses_bounds.npy``, or from that file.

    Each of the N rows holds a 3x5 matrix, world-from-camera with the axes (down, right, backwards) and a last column
    (height, width, focal) in pixels, then the near and far bounds, which are not used.  Rows belong to the images
    sorted by name; smaller copies of the photos (``images_8``) fit: intrinsics are scaled.

    Raises:
        InputError: another shape, another number of images than of poses, values that are no cameras.
    """
    file = path / "poses_bounds.npy" if path.is_dir() else path
    rows = read_npy(file)
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise InputError("llff-shape", f"{file} has shape {rows.shape}; LLFF poses are N x 17.",
                         "Choose a poses_bounds.npy that LLFF's scripts wrote.")
    if image_folder is None:
        folders = image_folders(file.parent)
        if not folders:
            raise InputError("image-folder-missing", f"No folder 'images' lies beside {file}.",
                             "Put the photos into a folder 'images' beside it.")
        image_folder = folders[0]
    images = list_images(image_folder)
    if len(images) != len(rows):
        raise InputError("pose-count", f"{file} has {len(rows)} poses, but {image_folder} has {len(images)} images.",
                         "Their numbers must agree: restore the missing photos or remove those that have no pose.")
    entries = []
    for image, row in zip(images, rows, strict=True):
        matrix = row[:15].reshape(3, 5)
        height, width, focal = matrix[:, 4]
        if not (np.isfinite(row[:15]).all() and 1 <= height < 1 << 20 and 1 <= width < 1 << 20):
            raise InputError("camera-not-finite", f"The pose of {image.name} in {file} is not finite or has no size.",
                             "Write the pose file again, or leave this image and its row out.")
        world_from_camera = np.eye(4)
        world_from_camera[:3] = np.stack([matrix[:, 1], matrix[:, 0], -matrix[:, 2], matrix[:, 3]], axis=1)
        entries.append(PosedImage(image.name, image, intrinsics(focal, focal, width / 2, height / 2),
                                  inverse_pose(world_from_camera), (round(width), round(height))))
    views = attach_masks(build_views(entries, file), file.parent)
    return CaptureFiles(views, f"{file.name} (LLFF), images in {image_folder.name}")
