# SPDX-License-Identifier: GPL-3.0-or-later
"""A scene's render as the session runs it, and what the scene knows of it when it is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import bpy

from ...interngs.link import RenderSource
from ..scene.final_frames import FILE_STEM, file_name, folder_of
from .renders import Render


def new_render(scene: bpy.types.Scene, parts: Sequence[RenderSource], title: str) -> Render:
    """A render of ``parts`` into the scene's folder; none for frames that a backend has finished already."""
    name, folder = scene.name, folder_of(scene)
    numbers = [frame.number for part in parts for frame in part.frames]

    def finished() -> None:
        found = bpy.data.scenes.get(name)
        written = numbers or numbers_in(folder)
        if found is None or not written:
            return
        settings = found.interngs_render
        settings.first_file = str(folder / file_name(written[0]))
        settings.first_frame, settings.last_frame = written[0], written[-1]
        for image in bpy.data.images:
            if image.filepath and Path(bpy.path.abspath(image.filepath)).parent == folder:
                image.reload()  # compositing nodes show the new frames

    return Render(title, folder, len(numbers), file_name, finished, deque(parts))


def numbers_in(folder: Path) -> list[int]:
    """The numbers of the frames in a folder, ascending."""
    endings = (path.stem.removeprefix(FILE_STEM) for path in folder.glob(f"{FILE_STEM}*.exr"))
    return sorted(int(each) for each in endings if each.lstrip("-").isdecimal())
