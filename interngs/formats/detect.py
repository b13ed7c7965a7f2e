# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds out what kind of capture a path is and reads it."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from ..scene.capture import CaptureFiles
from .cameras_json import read_cameras_json
from .colmap import model_suffix, read_colmap
from .dtu import read_dtu
from .folder import read_folder
from .json_file import frames_of, read_json
from .llff import read_llff
from .pose_files import pose_files_in, split_pose_file
from .transforms_json import read_transforms_json

POSE_FORMATS = ("transforms.json (instant-ngp, nerfstudio), cameras.json, a COLMAP model (sparse/0), "
                "LLFF's poses_bounds.npy or DTU's cameras.npz")


def find_capture(path: str | os.PathLike[str]) -> CaptureFiles:
    """The capture at ``path``: a pose file, a COLMAP model, a scene folder, or a folder of photos.

    A file decides itself.  In a folder the first of these counts: the pose file that split.json names (its indices
    refer to that one; a pair of training and test files becomes one capture, training views first),
    transforms.json, cameras.json, transforms_train.json (with transforms_test.json), a COLMAP model,
    poses_bounds.npy, cameras.npz, and last the photos alone, without poses.  ``source`` of the result says which was
    read and which others were there.

    Raises:
        InputError: there is no capture, or something in it is broken.
    """
    path = Path(path)
    if path.is_file():
        return _read_file(path)
    if not path.is_dir():
        raise InputError("capture-missing", f"There is no file or folder {path}.", "Check the path.")
    if model_suffix(path) is not None:
        return read_colmap(path)
    named = split_pose_file(path)
    there = pose_files_in(path)
    if isinstance(named, tuple):
        return _joined(_read_file(named[0]), _read_file(named[1]))
    if named is not None:
        used, capture = named.name, _read_file(named)
    elif there:
        used, first = next(iter(there.items()))
        capture = read_colmap(path) if used == "COLMAP" else _read_file(first)
    else:
        return read_folder(path)
    others = [name for name in there if name != used]
    if not others:
        return capture
    return CaptureFiles(capture.views, f"{capture.source}; not used: {', '.join(others)}", capture.points)


def require_poses(capture: CaptureFiles) -> None:
    """Refuse a capture in which a view has no camera.

    Raises:
        InputError: names the first such view and says what can give poses.
    """
    missing = [view.name for view in capture.views if view.camera is None]
    if missing:
        raise InputError("pose-missing", f"{len(missing)} of {len(capture.views)} views have no camera pose, such as "
                         f"{missing[0]!r} ({capture.source}).", f"Put one of these beside the photos: {POSE_FORMATS}.")


def _joined(first: CaptureFiles, second: CaptureFiles) -> CaptureFiles:
    return CaptureFiles(first.views + second.views, f"{first.source} and {second.source}",
                        first.points or second.points)


def _read_file(path: Path) -> CaptureFiles:
    suffix = path.suffix.lower()
    if suffix == ".json":
        frame = frames_of(read_json(path), path)[0]
        return read_cameras_json(path) if "w2c" in frame else read_transforms_json(path)
    if suffix == ".npy":
        return read_llff(path)
    if suffix == ".npz":
        return read_dtu(path)
    if suffix in (".bin", ".txt") and path.stem in ("cameras", "images", "points3D"):
        return read_colmap(path)
    raise InputError("capture-format", f"{path} is no pose file that can be read.",
                     f"Choose a folder of photos, or one of: {POSE_FORMATS}.")
