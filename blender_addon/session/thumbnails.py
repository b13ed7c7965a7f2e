# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails of photographs: panels ask for an icon, the pump loads what was asked for."""

from __future__ import annotations

import bpy
import bpy.utils.previews


class Thumbnails:
    """Icons by path.  Blender reads the files itself, when an icon is first drawn, in its own background job."""

    def __init__(self) -> None:
        self._previews: bpy.utils.previews.ImagePreviewCollection | None = None
        self._wanted: set[str] = set()

    def icon_of(self, path: str) -> int:
        """Icon number of a photograph, 0 until it is loaded; cheap enough for ``draw``."""
        if self._previews is not None and path in self._previews:
            return self._previews[path].icon_id
        self._wanted.add(path)
        return 0

    def load_wanted(self) -> bool:
        """Load what panels asked for since the last call; whether there was anything."""
        if not self._wanted:
            return False
        if self._previews is None:
            self._previews = bpy.utils.previews.new()
        for path in self._wanted:
            if path and path not in self._previews:
                self._previews.load(path, bpy.path.abspath(path), "IMAGE")
        self._wanted.clear()
        return True

    def clear(self) -> None:
        """Forget all icons (another file, add-on disabled)."""
        self._wanted.clear()
        if self._previews is not None:
            bpy.utils.previews.remove(self._previews)
            self._previews = None


_thumbnails = Thumbnails()


def thumbnails() -> Thumbnails:
    """The add-on's thumbnails."""
    return _thumbnails
