# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pose files a capture folder has, and which of them split.json speaks of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from .colmap import find_model
from .json_file import read_json

LAYOUTS: tuple[tuple[str, str], ...] = (
    ("transforms.json", "transforms.json"),
    ("cameras.json", "cameras.json"),
    ("transforms_train.json", "transforms_train.json"),
    ("COLMAP", ""),
    ("poses_bounds.npy", "poses_bounds.npy"),
    ("cameras.npz", "cameras.npz"),
)
"""Forms of poses in a folder as (name, file), the preferred first; COLMAP has its own folders."""


def pose_files_in(folder: Path) -> dict[str, Path]:
    """Form -> file or model folder, for every form that is there, in the order of preference of ``LAYOUTS``."""
    found = {}
    for name, file in LAYOUTS:
        path = find_model(folder) if name == "COLMAP" else folder / file
        if path is not None and path.exists():
            found[name] = path
    return found


def read_split_file(folder: Path) -> dict[str, Any] | None:
    """The content of ``folder``/split.json, or None when there is none.

    Raises:
        InputError: it is broken.
    """
    path = folder / "split.json"
    return read_json(path) if path.is_file() else None


def split_pose_file(folder: Path) -> Path | tuple[Path, Path] | None:
    """The pose file that the indices of split.json refer to, or a pair (training views, test views).

    Without split.json: the pair transforms_train.json, transforms_test.json of the synthetic NeRF scenes when both
    are there and no transforms.json or cameras.json is; else None.

    Raises:
        InputError: split.json is broken or names a file that is not there.
    """
    split = read_split_file(folder)
    named = split.get("cameras") if split is not None else None
    if isinstance(named, str):
        return _existing(folder, named)
    if isinstance(named, dict) and isinstance(named.get("train"), str) and isinstance(named.get("test"), str):
        return _existing(folder, named["train"]), _existing(folder, named["test"])
    if named is not None:
        raise InputError("split-broken", f"'cameras' of {folder / 'split.json'} names no pose file.",
                         "Correct the file.")
    pair = folder / "transforms_train.json", folder / "transforms_test.json"
    if next(iter(pose_files_in(folder)), None) == "transforms_train.json" and pair[1].is_file():
        return pair
    return None


def _existing(folder: Path, name: str) -> Path:
    path = folder / Path(name).name
    if not path.is_file():
        raise InputError("split-broken", f"{folder / 'split.json'} names the pose file {name!r}, which is not there.",
                         "Restore the file or remove split.json.")
    return path
