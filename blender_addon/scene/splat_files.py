# SPDX-License-Identifier: GPL-3.0-or-later
"""Splat files in and out of the scene: which objects go into which file, and what a file becomes as an object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from ...interngs.errors import InputError
from ...interngs.formats.registry import FORMATS, SplatFormat, format_of, read_splat, write_splat
from ...interngs.scene.axes import Axes
from ...interngs.scene.gaussians import Gaussians, concatenate
from ...interngs.scene.transforms import transform_gaussians
from .splat_arrays import SH_PREFIX, SplatArrays, gaussians_from_arrays, splat_arrays
from .splat_edit import own_arrays
from .splat_object import create, is_splat, wants_viewing_attributes

WRITABLE = tuple(each for each in FORMATS if each.write is not None)
READABLE_ENDINGS = tuple(ending for each in FORMATS if each.read is not None for ending in each.extensions)
DEGREE_OF_ATTRIBUTES = {0: 0, 3: 1, 8: 2, 15: 3, 24: 4}


@dataclass(frozen=True, eq=False)
class FileRead:
    """A file that was read, ready to become an object."""

    path: Path
    format_label: str
    sh_degree: int
    splats: SplatArrays
    comments: tuple[str, ...]
    warnings: tuple[str, ...]


def read_for_blender(path: Path, file_axes: Axes | None, scale: float, viewing: bool) -> FileRead:
    """Read a splat file into Blender's axes; any thread.

    Raises:
        InputError: unknown, unreadable or broken file.
    """
    splat = read_splat(path, "blender", file_axes=file_axes)
    gaussians = splat.gaussians if scale == 1.0 else transform_gaussians(splat.gaussians, np.eye(3) * scale)
    label = next((each.label for each in FORMATS if each.name == splat.format), splat.format)
    return FileRead(path, label, gaussians.sh_degree, splat_arrays(gaussians, viewing), splat.comments, splat.warnings)


def reader(paths: Sequence[Path], file_axes: Axes | None, scale: float) -> Callable[[], list[FileRead]]:
    """The work of reading files, for any thread."""
    viewing = wants_viewing_attributes()
    return lambda: [read_for_blender(path, file_axes, scale, viewing) for path in paths]


def add_object(found: FileRead, collection: bpy.types.Collection) -> bpy.types.Object:
    """A new object with what a file holds; the file's facts and warnings stay with it."""
    name = found.path.name
    for ending in sorted(READABLE_ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            name = name[:-len(ending)]
            break
    splat = create(name, found.splats, collection)
    facts = splat.interngs_splat
    facts.state = "FINAL"
    facts.report_json = json.dumps({"source": f"{found.path.name}, {found.format_label}",
                                    "comments": list(found.comments), "warnings": list(found.warnings)})
    return splat


@dataclass(frozen=True, eq=False)
class ObjectRead:
    """One object's Gaussians as they stood in a frame: attribute arrays and [4, 4] ``world_from_splat``."""

    name: str
    arrays: dict[str, NDArray[np.float32]]
    world_from_splat: NDArray[np.float64]

    def in_world(self) -> Gaussians:
        """In Blender's world; any thread."""
        return transform_gaussians(gaussians_from_arrays(self.arrays), self.world_from_splat)


def read_object(splat: bpy.types.Object) -> ObjectRead:
    """An object's Gaussians now: as modifiers leave them where the outcome is still a splat, else as stored."""
    evaluated = splat.evaluated_get(bpy.context.evaluated_depsgraph_get())
    data = evaluated.data if is_splat(evaluated) else splat.data
    return ObjectRead(splat.name, own_arrays(data), np.array(evaluated.matrix_world, np.float64))


def writer(path: Path, objects: Sequence[ObjectRead], *, scale: float, max_sh_degree: int, file_axes: Axes | None,
           facts: Sequence[str] = ()) -> Callable[[], tuple[Path, int]]:
    """The work of writing objects into one file, for any thread; gives the path and the number of Gaussians."""
    def work() -> tuple[Path, int]:
        gaussians = concatenate([each.in_world() for each in objects])
        if scale != 1.0:
            gaussians = transform_gaussians(gaussians, np.eye(3) * scale)
        if gaussians.sh_degree > max_sh_degree:
            gaussians = gaussians.with_sh_degree(max_sh_degree)
        write_splat(path, gaussians, "blender", facts, file_axes=file_axes)
        return path, len(gaussians)

    return work


def sh_degree_of(splat: bpy.types.Object) -> int:
    """Spherical-harmonic degree of an object's Gaussians."""
    return DEGREE_OF_ATTRIBUTES.get(sum(each.name.startswith(SH_PREFIX) for each in splat.data.attributes), 0)


def with_ending(path: str, chosen: SplatFormat) -> str:
    """A file name with the extension of a format in place of whichever splat extension it has."""
    for ending in sorted((ending for each in FORMATS for ending in each.extensions), key=len, reverse=True):
        if path.lower().endswith(ending):
            path = path[:-len(ending)]
            break
    return path + chosen.extensions[0]


def plan_files(path: Path, objects: Iterable[bpy.types.Object], *, each_alone: bool, by_collection: bool,
               frame: int | None) -> dict[Path, list[bpy.types.Object]]:
    """Which objects go into which file.

    Args:
        path: as the artist named it.
        objects: splats.
        each_alone: a file for each, named after the object, in the folder of ``path``.
        by_collection: then also a folder for each collection.
        frame: number to put into the names.

    Raises:
        InputError: two objects would get the same file, or there is none.
    """
    ending = next(ending for ending in sorted(format_of(path).extensions, key=len, reverse=True)
                  if path.name.lower().endswith(ending))
    stem, number = path.name[:-len(ending)], "" if frame is None else f"_{frame:04d}"
    files: dict[Path, list[bpy.types.Object]] = {}
    for splat in objects:
        if not each_alone:
            files.setdefault(path.with_name(f"{stem}{number}{ending}"), []).append(splat)
            continue
        folder = path.parent
        if by_collection and splat.users_collection:
            folder = folder / bpy.path.clean_name(splat.users_collection[0].name)
        target = folder / f"{bpy.path.clean_name(splat.name)}{number}{ending}"
        if target in files:
            raise InputError("export-same-file", f"{files[target][0].name!r} and {splat.name!r} would both become "
                             f"{target.name}.", "Rename one of the objects.")
        files[target] = [splat]
    if not files:
        raise InputError("export-nothing", "There is no splat to export.", "Select objects that hold Gaussians, or "
                         "choose All.")
    return files
