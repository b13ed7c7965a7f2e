# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain folder of photos: a capture without cameras."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..scene.capture import CaptureFiles, ViewFile
from .image_header import read_image_header
from .view_files import attach_masks, image_folders, list_images


def read_folder(path: Path) -> CaptureFiles:
    """The photos of a folder, or of its folder ``images``, sorted by name; no view has a camera.

    Raises:
        InputError: the folder is missing or holds no photo, or one is unreadable or too large.
    """
    if not path.is_dir():
        raise InputError("folder-missing", f"There is no folder {path}.", "Check the path.")
    folder = path
    images = list_images(path)
    if not images and (folders := image_folders(path)):
        folder = folders[0]
        images = list_images(folder)
    if not images:
        raise InputError("folder-without-images", f"The folder {path} holds no JPEG, PNG or WebP image.",
                         "Choose the folder that the photos are in.")
    for image in images:
        read_image_header(image)
    views = attach_masks([ViewFile(image.name, image) for image in images], path)
    return CaptureFiles(views, f"photos in {folder.name}, without poses")
