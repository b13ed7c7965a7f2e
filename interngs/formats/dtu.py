# SPDX-License-Identifier: GPL-3.0-or-later
"""cameras.npz with world_mat and scale_mat, the form in which IDR, NeuS and MonoSDF ship DTU scans."""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.capture import CaptureFiles
from .image_header import read_image_header
from .npy_file import parse_npy
from .view_files import PosedImage, attach_masks, build_views, image_folders, is_uniform_scale, list_images

DTU_SIZE_PX = (1600, 1200)
"""Size of the photos of the DTU scans (Jensen et al., CVPR 2014)."""

_MEMBER_LIMIT_BYTES = 4096
_IMAGE_FOLDERS = ("image", "images", "rgb")


def read_dtu(path: Path, image_folder: Path | None = None) -> CaptureFiles:
    """A capture from a scan folder with ``cameras.npz``, or from that file.

    ``world_mat_i`` is the projection K [R | t] of image i (sorted by name), which is taken apart here.  The world
    frame is that of ``world_mat``; ``scale_mat_i``, which would shrink the scene into the unit sphere, is not applied.

    The file does not say which image size it is for.  Where the principal point lies near the middle of the image, it
    is that size.  Otherwise, where it lies near the middle of DTU's own 1600x1200, images of that shape are taken as
    smaller copies and square ones as MonoSDF's (Yu et al., NeurIPS 2022): the middle 1200x1200, made smaller.

    Raises:
        InputError: not such a file, another number of images than of matrices, matrices that are no cameras or are for
            another image size.
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
        K, size = _for_image(K, image, file)
        entries.append(PosedImage(image.name, image, K, pose, size))
    views = attach_masks(build_views(entries, file), file.parent)
    return CaptureFiles(views, f"{file.name} (world_mat), images in {folder.name}")


def _for_image(K: NDArray[np.float64], image: Path, file: Path) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """``K`` and the image size it is for: see ``read_dtu``."""
    header = read_image_header(image)
    size = header.width_px, header.height_px
    if _is_central(K, size):
        return K, size
    if _is_central(K, DTU_SIZE_PX) and is_uniform_scale(DTU_SIZE_PX, size):
        return K, DTU_SIZE_PX
    if _is_central(K, DTU_SIZE_PX) and size[0] == size[1]:
        cropped = K.copy()
        cropped[0, 2] -= (DTU_SIZE_PX[0] - DTU_SIZE_PX[1]) / 2
        return cropped, (DTU_SIZE_PX[1], DTU_SIZE_PX[1])
    raise InputError("image-size-mismatch", f"The principal point of {image.name} in {file} is at {K[0, 2]:.0f}, "
                     f"{K[1, 2]:.0f} px; the image has only {size[0]}x{size[1]} px.",
                     "Use the images that the poses were made for.")


def _is_central(K: NDArray[np.float64], size: tuple[int, int]) -> bool:
    """Whether the principal point lies in the middle half of an image of ``size``, in both directions."""
    return all(0.25 <= K[axis, 2] / size[axis] <= 0.75 for axis in (0, 1))


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
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError,
            zlib.error, lzma.LZMAError) as error:
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
    largest = float(np.abs(M).max())
    if not (np.isfinite(projection[:3]).all() and largest > 0 and abs(np.linalg.det(M / largest)) > 1e-12):
        raise InputError("camera-not-finite", f"The projection matrix of {name} is not finite or not invertible.",
                         "Write the pose file again, or leave this image out.")
    factor = np.sign(np.linalg.det(M / largest)) / largest
    M, column = factor * M, factor * column
    q, r = np.linalg.qr(M[::-1].T)
    K, rotation = r.T[::-1, ::-1], q.T[::-1]
    signs = np.sign(np.diag(K))
    K, rotation = K * signs, rotation * signs[:, None]
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = np.linalg.solve(K, column)
    return K / K[2, 2], pose
