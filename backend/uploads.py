# SPDX-License-Identifier: GPL-3.0-or-later
"""Partial uploads on disk: bytes in order from any restart, compared with their hash at the end."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from interngs.errors import InternGSError
from interngs.storage import DISK_FULL_ERRORS
from interngs.wire.codec import Buffer
from interngs.wire.errors import ServiceError
from interngs.wire.limits import Limits
from interngs.wire.records import BlobKind, BlobRef

from .blobs import BlobFolder, check_content, part_name
from .store import disk_full

_OPEN_FILES = 64


@dataclass(eq=False)
class _Part:
    """An open partial file; ``digest`` is of its first ``offset`` bytes."""

    ref: BlobRef
    kind: BlobKind
    path: Path
    file: BinaryIO
    offset: int
    digest: Any = field(repr=False)


class Uploads:
    """All partial uploads; in the bulk lane's thread.  One file per owner and hash, whoever sends it."""

    def __init__(self, folder: Path, blobs: BlobFolder, limits: Limits) -> None:
        self._folder, self._blobs, self._limits = folder, blobs, limits
        self._parts: OrderedDict[tuple[str, str], _Part] = OrderedDict()
        self._announced: dict[tuple[str, str], tuple[BlobRef, BlobKind]] = {}

    def open(self, owner: str, ref: BlobRef, kind: BlobKind) -> int:
        """Begin or go on with an upload: the offset of the first missing byte.

        Raises:
            ServiceError: ``disk-full``.
        """
        self._announced[owner, ref.sha256] = ref, kind
        return self._part(owner, ref.sha256).offset

    def _part(self, owner: str, sha256: str) -> _Part:
        """The partial file of an announced upload, opened again when too many others were open."""
        part = self._parts.get((owner, sha256))
        return self._open_part(owner, *self._announced[owner, sha256]) if part is None else part

    def _open_part(self, owner: str, ref: BlobRef, kind: BlobKind) -> _Part:
        path = self._folder / part_name(owner, ref.sha256)
        try:
            file = path.open("r+b") if path.exists() else path.open("x+b")
        except OSError as error:
            raise _explained(error) from error
        digest, offset = hashlib.sha256(), 0
        while piece := file.read(1 << 20):
            digest.update(piece)
            offset += len(piece)
        if offset > ref.size_bytes:
            file.truncate(0)
            file.seek(0)
            digest, offset = hashlib.sha256(), 0
        part = _Part(ref, kind, path, file, offset, digest)
        self._parts[owner, ref.sha256] = part
        if len(self._parts) > _OPEN_FILES:
            _, oldest = self._parts.popitem(last=False)
            oldest.file.close()
        return part

    def is_announced(self, owner: str, sha256: str) -> bool:
        """Whether ``open`` was called for an upload that is not finished."""
        return (owner, sha256) in self._announced

    def forget(self, is_referred: Callable[[str, str], bool]) -> None:
        """Remove the partial files of uploads whose jobs are gone; called with (owner, hash)."""
        for owner, sha256 in list(self._announced):
            if not is_referred(owner, sha256):
                del self._announced[owner, sha256]
                part = self._parts.pop((owner, sha256), None)
                if part is not None:
                    part.file.close()
                (self._folder / part_name(owner, sha256)).unlink(missing_ok=True)

    def write(self, owner: str, sha256: str, offset: int, payload: Buffer) -> int:
        """Append a chunk of an announced upload when it comes at the right offset; the offset afterwards.

        Raises:
            ServiceError: ``limit-exceeded``: beyond the announced size; ``disk-full``.
        """
        part = self._part(owner, sha256)
        if offset != part.offset:
            return part.offset
        if offset + len(payload) > part.ref.size_bytes:
            raise ServiceError("limit-exceeded", "An upload is longer than was announced.", "Send the photo again.")
        self._parts.move_to_end((owner, sha256))
        try:
            part.file.write(payload)
            part.file.flush()
        except OSError as error:
            self._cut_back(part)
            raise _explained(error) from error
        part.digest.update(payload)
        part.offset += len(payload)
        return part.offset

    def _cut_back(self, part: _Part) -> None:
        """Undo a write that failed halfway."""
        try:
            part.file.truncate(part.offset)
            part.file.seek(part.offset)
        except OSError:
            self._close(part)

    def is_whole(self, owner: str, sha256: str) -> bool:
        """Whether every byte of an open upload is there."""
        part = self._parts.get((owner, sha256))
        return part is not None and part.offset == part.ref.size_bytes

    def finish(self, owner: str, sha256: str) -> BlobRef:
        """Check a whole upload and put it in its place, flushed.

        Raises:
            InternGSError: ``hash-mismatch``, or its content is refused: the partial file is gone then.
        """
        part = self._parts.pop((owner, sha256))
        del self._announced[owner, sha256]
        try:
            if part.digest.hexdigest() != sha256:
                raise ServiceError("hash-mismatch", "An uploaded file is not the one that was announced.",
                                   "Leave the photos as they are while they are being sent, then submit again.")
            os.fsync(part.file.fileno())
            part.file.close()
            check_content(part.path, part.kind, self._limits)
            self._blobs.adopt(part.path, sha256)
        except InternGSError:
            part.file.close()
            part.path.unlink(missing_ok=True)
            raise
        except OSError as error:
            part.file.close()
            raise _explained(error) from error
        return part.ref

    def _close(self, part: _Part) -> None:
        part.file.close()
        for key, other in list(self._parts.items()):
            if other is part:
                del self._parts[key]

    def close(self) -> None:
        """Close all files; uploads go on at the next start."""
        for part in self._parts.values():
            part.file.close()
        self._parts.clear()


def _explained(error: OSError) -> ServiceError:
    if error.errno in DISK_FULL_ERRORS:
        return disk_full()
    return ServiceError("internal", f"The server could not write a file ({error.strerror}).",
                        "Tell who runs the server.")
