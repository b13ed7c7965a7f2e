# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels of captures that outgrow memory: arrays in a temporary file that is mapped into it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InternGSError
from ..scene.capture import View

IN_MEMORY_BYTES = 1 << 30
"""Pixels up to here stay in memory; what comes after goes to the file."""
PIECE_BYTES = 256 << 20
"""The file grows by so much at a time."""
_ALIGNED = 4096


class PixelFile:
    """Keeps arrays: the first gigabyte in memory, all others in a file whose pages the system fetches and drops.

    The values stay what they are, bit for bit.  The file has no name (on Windows one that goes with the process), so
    nothing has to be cleaned up.
    """

    def __init__(self, folder: Path, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        """``folder``: on a disk with room for the pixels; made when it is first needed."""
        self._folder, self._left = folder, in_memory_bytes
        self._files: list[BinaryIO] = []
        self._map: mmap.mmap | None = None
        self._used = 0

    @property
    def pieces(self) -> int:
        """How many pieces the file has; 0 while everything is in memory."""
        return len(self._files)

    def keep(self, array: NDArray[Any]) -> NDArray[Any]:
        """The same values, in memory or in the file.

        Raises:
            InternGSError: ``disk-full`` when the file cannot grow.
        """
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            return array
        self._left = 0
        if array.nbytes == 0:
            return array
        if self._map is None or self._used + array.nbytes > len(self._map):
            self._map, self._used = self._grow(max(PIECE_BYTES, array.nbytes)), 0
        start = self._used
        kept = np.frombuffer(self._map, array.dtype, array.size, start).reshape(array.shape)
        kept[...] = array
        self._used += -(-array.nbytes // _ALIGNED) * _ALIGNED
        if hasattr(self._map, "madvise"):
            # The written pages go to the disk when the system sees fit; they need not stay in this process.
            self._map.madvise(mmap.MADV_DONTNEED, start, min(self._used, len(self._map)) - start)
        return kept

    def keep_view(self, view: View) -> View:
        """A view whose pixels are kept here."""
        mask, depth, alpha = (pixels if pixels is None else self.keep(pixels)
                              for pixels in (view.mask, view.depth, view.alpha))
        return replace(view, image=self.keep(view.image), mask=mask, depth=depth, alpha=alpha)

    def _grow(self, size: int) -> mmap.mmap:
        """A new piece; the bytes are reserved, since a full disk could not be told to those who write to a mapping."""
        size = -(-size // _ALIGNED) * _ALIGNED
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=self._folder)    # noqa: SIM115 - lives as long as its arrays
            reserve: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
            if reserve is not None:
                reserve(file.fileno(), 0, size)
            file.truncate(size)
            self._files.append(file)
            return mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise InternGSError(
                "disk-full", f"The photographs need more memory than is set aside for them, and {size >> 20} MB more "
                f"could not be had on the disk at {self._folder} ({error.strerror}).",
                "Free some space there, choose another folder, or use fewer or smaller photographs.") from error
