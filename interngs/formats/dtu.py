# SPDX-License-Identifier: GPL-3.0-or-later
"""cameras.npz with world_mat and scale_mat, the form in which IDR, NeuS and MonoSDF ship DTU scans."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.capture import CaptureFiles
from .npy_file import parse_npy
from .view_files import PosedImage, attach_masks, build_views, image_folders, list_images

_MEMBER_LIMIT_BYTES = 4096
_IMAGE_FOLDERS = ("image", "images", "rgb")


def read_dtu(path: Path, image_folder: Path | None = None) -> CaptureFiles:
    """A capture from a scan folder with ``cameras.npz``, or from that file.

    ``world_mat_i`` is the projection K [R | t] of image i (sorted by name), which is taken apart here.  The world
    frame is that of ``world_mat``; ``scale_mat_i``, which would shrink the scene into the unit sphere, is not applied.

    Raises:
        InputError: not such a file, another number of images than of matrices, matrices that are no cameras.
    """
    file = path / "cameras.npz" if path.is_dir() else path
    matrices = _read_matrices(file)
    folder = image_folder or _find_image_folder(file.parent)
    images = list_images(folder)
    if len(images) != len(matrices):
        raise InputError("pose-count", f"{file} has {len(matrices)} poses, but {folder} has {len(images)} images.",
                         "Their numbers must agree: restore the missing photos or remove those that have no pose.")
    entries = []
    for image, projection in zip(images, matrices, strict=True):
        K, pose = decompose_projection(projection, f"{image.name} in {file}")
        entries.append(PosedImage(image.name, image, K, pose))
    views = attach_masks(build_views(entries, file), file.parent)
    return CaptureFiles(views, f"{file.name} (world_mat), images in {folder.name}")


def _find_image_folder(scan: Path) -> Path:
    found = [scan / name for name in _IMAGE_FOLDERS if (scan / name).is_dir() and list_images(scan / name)]
    found += image_folders(scan)
    if not found:
        raise InputError("image-folder-missing", f"No folder 'image' or 'images' lies beside {scan / 'cameras.npz'}.",
                         "Put the photos into a folder 'images' beside it.")
    return found[0]


def _read_matrices(file: Path) -> list[NDArray[np.float64]]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {int(match[1]): info for info in archive.infolist()
                       if (match := re.fullmatch(r"world_mat_(\d{1,6})\.npy", info.filename))}
            if not members or sorted(members) != list(range(len(members))):
                raise InputError("dtu-matrices", f"{file} has no matrices world_mat_0, world_mat_1 ... without gaps.",
                                 "Choose a cameras.npz of a DTU scan.")
            matrices = []
            for index in range(len(members)):
                if members[index].file_size > _MEMBER_LIMIT_BYTES:
                    raise InputError("dtu-matrices", f"world_mat_{index} of {file} is no 4x4 matrix.",
                                     "Write the file again.")
                matrices.append(parse_npy(archive.read(members[index]), f"world_mat_{index} of {file}"))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError("dtu-unreadable", f"{file} cannot be read: {error}.",
                         "Check that it is a whole .npz file of numpy.") from error
    for index, matrix in enumerate(matrices):
        if matrix.shape not in ((4, 4), (3, 4)):
            raise InputError("dtu-matrices", f"world_mat_{index} of {file} has shape {matrix.shape}, not 4x4.",
                             "Write the file again.")
    return matrices


def decompose_projection(projection: NDArray[np.float64], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``K`` [3, 3] and ``camera_from_world`` [4, 4] of a projection K [R | t], known up to a factor.

    RQ decomposition by the QR decomposition of the reversed matrix (Hartley and Zisserman, "Multiple View Geometry",
    2nd ed., section 6.2.4).

    Raises:
        InputError: it is not finite or not invertible.
    """
    M, column = projection[:3, :3], projection[:3, 3]
    if not np.isfinite(projection[:3]).all() or abs(np.linalg.det(M)) < 1e-12 * np.abs(M).max() ** 3:
        raise InputError("camera-not-finite", f"The projection matrix of {name} is not finite or not invertible.",
                         "Write the pose file again, or leave this image out.")
    sign = np.sign(np.linalg.det(M))
    M, column = sign * M, sign * column
    q, r = np.linalg.qr(M[::-1].T)
    K, rotation = r.T[::-1, ::-1], q.T[::-1]
    signs = np.sign(np.diag(K))
    K, rotation = K * signs, rotation * signs[:, None]
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = np.linalg.solve(K, column)
    return K / K[2, 2], pose
