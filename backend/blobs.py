# SPDX-License-Identifier: GPL-3.0-or-later
"""Files by content: a blob is there whole or not at all, under its SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from interngs.errors import InputError
from interngs.formats.image_header import read_image_header
from interngs.wire.arrays import check_extent, read_table
from interngs.wire.errors import ServiceError, WireError
from interngs.wire.limits import CONTROL_FRAME_BYTES, Limits
from interngs.wire.records import BlobKind, BlobRef, check_sha256
from interngs.wire.results import RESULT_ARRAYS

_READ_BYTES = 1 << 20


class BlobFolder:
    """Blobs in ``folder/ab/abcdef...``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the blob of a hash lies or would lie; the hash is checked, so this is always inside the folder."""
        return self.folder / check_sha256(sha256)[:2] / sha256

    def adopt(self, source: Path, sha256: str) -> Path:
        """Move a flushed file whose hash is known to its place; a blob that is there already stays."""
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            source.unlink()
        else:
            source.replace(target)
            flush_folder(target.parent)
        return target

    def remove(self, sha256: str) -> None:
        """Remove a blob if it is there."""
        self.path(sha256).unlink(missing_ok=True)

    def all(self) -> list[str]:
        """The hashes of all blobs on disk."""
        return [path.name for folder in self.folder.glob("??") for path in folder.iterdir() if len(path.name) == 64]


def part_name(owner: str, sha256: str) -> str:
    """The file's name of a partial upload: one for each owner and hash, told from both."""
    return hashlib.sha256(f"{owner}\0{sha256}".encode()).hexdigest() + ".part"


def flush_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut; systems whose folders cannot be flushed do without."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> BlobRef:
    """The reference of a file's content."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as opened:
        while piece := opened.read(_READ_BYTES):
            digest.update(piece)
            size += len(piece)
    return BlobRef(digest.hexdigest(), size)


def check_content(path: Path, kind: BlobKind, limits: Limits) -> None:
    """Look at the header of an uploaded file before anything decodes it.

    Raises:
        InternGSError: it is not what its kind says, or too large.
    """
    if kind in ("image", "mask") or (kind == "depth" and _begins_with(path, b"\x89PNG")):
        _check_image(path, limits)
        return
    with path.open("rb") as opened:
        head = opened.read(CONTROL_FRAME_BYTES + 64)
    try:
        table, _, start = read_table(head)
        shapes = {name: (dtype, list(shape)) for name, dtype, shape, _ in table}
        size = start + sum(-(-check_extent(dtype, shape) // 64) * 64 for _, dtype, shape, _ in table)
    except WireError as error:
        raise ServiceError("capture-invalid", f"An uploaded {kind} file is malformed: {error.cause}",
                           "Send the capture again with the newest client.") from error
    if size != path.stat().st_size or not _has_shape(kind, shapes, limits):
        raise ServiceError("capture-invalid", f"An uploaded {kind} file does not hold what it should.",
                           "Send the capture again with the newest client.")


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as opened:
        return opened.read(len(magic)) == magic


def _check_image(path: Path, limits: Limits) -> None:
    try:
        header = read_image_header(path)
    except InputError as error:
        # The file's name in the store means nothing to the artist.
        raise ServiceError(error.code, error.cause.replace(str(path), "(uploaded)"), error.remedy) from error
    if header.width_px * header.height_px > limits.image_pixels:
        raise ServiceError("image-too-large", f"An image has {header.width_px}x{header.height_px} px; the limit is "
                           f"{limits.image_pixels / 1e6:.0f} megapixels.", "Export a smaller version of the photo.")


def _has_shape(kind: BlobKind, shapes: dict[str, tuple[str, list[int]]], limits: Limits) -> bool:
    if kind == "splat":
        counts = {shape[0] if shape else -1 for _, shape in shapes.values()}
        return (set(shapes) == set(RESULT_ARRAYS) and len(counts) == 1 and 0 < counts.pop() <= limits.gaussians
                and all(dtype == "<f4" for dtype, _ in shapes.values()))
    if kind == "depth":
        dtype, shape = shapes.get("depth", ("", []))
        return (set(shapes) == {"depth"} and dtype == "<f4" and len(shape) == 2
                and 0 < shape[0] * shape[1] <= limits.image_pixels)
    positions, colours = shapes.get("positions", ("", [])), shapes.get("colours", ("", []))
    return (set(shapes) == {"positions", "colours"} and positions[0] == "<f4" and colours[0] == "|u1"
            and positions[1] == colours[1] and len(positions[1]) == 2 and positions[1][1] == 3)
