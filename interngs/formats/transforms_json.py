# SPDX-License-Identifier: GPL-3.0-or-later
"""transforms.json of instant-ngp, nerfstudio and the synthetic NeRF scenes: in and out.

https://docs.nerf.studio/quickstart/data_conventions.html.  Its poses are world-from-camera with OpenGL axes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.cameras import Camera
from ..scene.capture import CaptureFiles, Distortion
from ..storage import atomic_write
from .image_header import IMAGE_SUFFIXES, read_image_header
from .json_file import frames_of, matrix, number, read_json, text
from .point_ply import read_point_ply
from .view_files import (
    OPENCV_FROM_OPENGL,
    PosedImage,
    attach_masks,
    build_views,
    intrinsics,
    inverse_pose,
    is_file,
    path_beside,
    same_stem,
)

_FISHEYE_MODELS = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
_PERSPECTIVE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")


def read_transforms_json(path: Path) -> CaptureFiles:
    """A capture from a transforms.json file, frames in the order of the file.

    Intrinsics may stand once or in each frame (a frame's own win): ``fl_x``, ``fl_y``, ``cx``, ``cy``, ``w``, ``h``,
    or ``camera_angle_x`` / ``camera_angle_y``; without ``w`` and ``h`` the size of the image itself counts, without
    ``cx`` and ``cy`` its middle.  Distortion: ``k1 k2 p1 p2`` and ``k3``; with ``is_fisheye`` or a fisheye
    ``camera_model`` ``k1 k2 k3 k4``.  Also read: ``mask_path``, ``depth_file_path``, ``ply_file_path``.
    ``file_path`` may leave the extension out.

    Raises:
        InputError: broken JSON, missing images (how many and which), poses that are no poses, unknown models.
    """
    content = read_json(path)
    entries = []
    for index, frame in enumerate(frames_of(content, path)):
        where = f"frame {index} of {path}"
        entries.append(_entry({**content, **frame}, path, where))
    views = attach_masks(build_views(entries, path), path.parent)
    written_points = text(content, "ply_file_path", str(path))
    points = None if written_points is None else read_point_ply(path_beside(path, written_points))
    return CaptureFiles(views, f"{path.name} (instant-ngp / nerfstudio form)", points)


def _entry(values: dict[str, Any], path: Path, where: str) -> PosedImage:
    written = text(values, "file_path", where)
    if written is None:
        raise InputError("json-value", f"{where} has no 'file_path'.", "Correct the pose file.")
    image = _with_extension(path_beside(path, written))
    pose = np.eye(4)
    given = matrix(values, "transform_matrix", ((4, 4), (3, 4)), where)
    pose[:len(given)] = given
    if np.isfinite(pose).all() and not np.allclose(pose[3], (0.0, 0.0, 0.0, 1.0)):
        raise InputError("pose-not-rigid", f"The last row of 'transform_matrix' of {where} is not 0 0 0 1.",
                         "Check that the matrix is a rigid camera pose.")
    size = _size(values, image, where)
    mask, depth = text(values, "mask_path", where), text(values, "depth_file_path", where)
    return PosedImage(
        name=written.replace("\\", "/"), image_path=image, K=_intrinsics(values, size, where),
        camera_from_world=OPENCV_FROM_OPENGL @ inverse_pose(pose), size_px=size, distortion=_distortion(values, where),
        mask_path=None if mask is None else path_beside(path, mask),
        depth_path=None if depth is None else path_beside(path, depth))


def _with_extension(image: Path) -> Path:
    """The image itself; where its name has no image extension, the file that has one."""
    if image.suffix.lower() in IMAGE_SUFFIXES or is_file(image):
        return image
    return same_stem(image) or image


def _size(values: dict[str, Any], image: Path, where: str) -> tuple[int, int] | None:
    """The recorded size, else that of the image; None for an image that is not there (reported with all others)."""
    width, height = number(values, "w", where), number(values, "h", where)
    if width is None or height is None:
        if not is_file(image):
            return None
        header = read_image_header(image)
        return header.width_px, header.height_px
    if not (1 <= width < 1 << 20 and 1 <= height < 1 << 20):
        raise InputError("camera-size", f"{where} gives an image of {width:g}x{height:g} px.", "Correct 'w' and 'h'.")
    return round(width), round(height)


def _intrinsics(values: dict[str, Any], size: tuple[int, int] | None, where: str) -> NDArray[np.float64]:
    width, height = size or (1, 1)
    fx = _focal(values, "fl_x", "camera_angle_x", width, where)
    fy = _focal(values, "fl_y", "camera_angle_y", height, where)
    if fx is None and fy is None:
        raise InputError("focal-missing", f"{where} has no focal length.",
                         "Give 'fl_x' in pixels or 'camera_angle_x' in radians.")
    cx, cy = number(values, "cx", where), number(values, "cy", where)
    return intrinsics(fx if fx is not None else fy or 0.0, fy if fy is not None else fx or 0.0,
                      width / 2 if cx is None else cx, height / 2 if cy is None else cy)


def _focal(values: dict[str, Any], key: str, angle_key: str, extent: int, where: str) -> float | None:
    focal, angle = number(values, key, where), number(values, angle_key, where)
    if focal is not None or angle is None:
        return focal
    if not 0 < angle < math.pi:
        raise InputError("focal-not-positive", f"{angle_key!r} of {where} is {angle:g}, no angle between 0 and pi.",
                         "Give the full field of view in radians.")
    return extent / 2 / math.tan(angle / 2)


def _distortion(values: dict[str, Any], where: str) -> Distortion:
    model = text(values, "camera_model", where)
    fisheye = values.get("is_fisheye") is True or (model or "").upper() in _FISHEYE_MODELS
    if not fisheye and model is not None and model.upper() not in _PERSPECTIVE_MODELS:
        raise InputError("camera-model-unknown", f"{where} uses the camera model {model!r}, which is not supported.",
                         "Undistort the images to plain perspective ones first.")
    k1, k2, k3, k4, k5, k6, p1, p2 = (number(values, key, where) or 0.0
                                      for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"))
    if not np.isfinite([k1, k2, k3, k4, k5, k6, p1, p2]).all():
        raise InputError("camera-not-finite", f"The distortion of {where} is not finite.", "Correct the pose file.")
    if fisheye:
        return Distortion("OPENCV_FISHEYE", (k1, k2, k3, k4))
    if (model or "").upper() == "FULL_OPENCV":
        return Distortion("FULL_OPENCV", (k1, k2, p1, p2, k3, k4, k5, k6))
    if k4:
        raise InputError("camera-model-unknown", f"{where} has a fourth radial coefficient k4, which is defined for "
                         "fisheye lenses only.", "Set 'is_fisheye' or undistort the images first.")
    if k3:
        return Distortion("FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0))
    if k1 or k2 or p1 or p2:
        return Distortion("OPENCV", (k1, k2, p1, p2))
    return Distortion()


def write_transforms_json(path: Path, cameras: Mapping[str, Camera]) -> None:
    """Write posed pinhole cameras as transforms.json with intrinsics in each frame.

    Args:
        cameras: image path as it shall stand in ``file_path`` (relative to ``path``) -> camera.

    Raises:
        InternGSError: the folder may not be written, or the disk is full.
    """
    frames = []
    for name, camera in cameras.items():
        frames.append({
            "file_path": name, "w": camera.width_px, "h": camera.height_px,
            "fl_x": float(camera.K[0, 0]), "fl_y": float(camera.K[1, 1]),
            "cx": float(camera.K[0, 2]), "cy": float(camera.K[1, 2]),
            "transform_matrix": (camera.world_from_camera @ OPENCV_FROM_OPENGL).tolist(),
        })
    atomic_write(path, json.dumps({"camera_model": "PINHOLE", "frames": frames}, indent=1).encode())
