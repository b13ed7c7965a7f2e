# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads size, bit depth and EXIF turn from the header of a JPEG, PNG or WebP file, without decoding it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

MAX_IMAGE_PIXELS = 80_000_000
"""Largest image that is opened, in pixels; a larger one is refused from its header (memory, decompression bombs)."""
MAX_IMAGE_SIDE_PX = 32_000
"""Longest side that is opened (OpenCV's resampling counts in 16 bits)."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""File names taken as images, compared in lower case."""

_EXIF_SCAN_BYTES = 1 << 16
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class ImageHeader:
    """Facts of an image file.

    Attributes:
        format: ``"JPEG"``, ``"PNG"`` or ``"WEBP"``.
        width_px, height_px: of the pixels as stored, before any EXIF turn.
        bit_depth: bits per channel as stored.
        orientation: EXIF orientation 1..8 (1: upright; 5 to 8 swap width and height).
        animated: whether the file holds an animation.
    """

    format: str
    width_px: int
    height_px: int
    bit_depth: int = 8
    orientation: int = 1
    animated: bool = False

    @property
    def upright_size_px(self) -> tuple[int, int]:
        """(width, height) after the EXIF turn."""
        if self.orientation >= 5:
            return self.height_px, self.width_px
        return self.width_px, self.height_px


def read_image_header(path: Path) -> ImageHeader:
    """The header of an image file.

    Raises:
        InputError: the file is missing, unreadable, of another type, damaged, or too large to open.
    """
    try:
        with path.open("rb") as opened:
            header = _read(opened)
    except FileNotFoundError as error:
        raise InputError("image-missing", f"The image {path} does not exist.",
                         "Restore the file, or leave its view out of the pose file.") from error
    except OSError as error:
        raise InputError("image-unreadable", f"The image {path} cannot be read: {error.strerror or error}.",
                         "Check that it is a file and may be read.") from error
    except (struct.error, ValueError) as error:
        raise InputError("image-unreadable", f"The image {path} is damaged or cut short: {error}.",
                         "Copy or export the photo again.") from error
    if header is None:
        raise InputError("image-type", f"{path} is no JPEG, PNG or WebP image.",
                         "Export the photo as JPEG or PNG.")
    _check_size(header, path)
    return header


def _check_size(header: ImageHeader, path: Path) -> None:
    width, height = header.width_px, header.height_px
    if width < 1 or height < 1:
        raise InputError("image-unreadable", f"The image {path} says it is {width}x{height} px.",
                         "Copy or export the photo again.")
    if width * height > MAX_IMAGE_PIXELS or max(width, height) > MAX_IMAGE_SIDE_PX:
        raise InputError(
            "image-too-large",
            f"The image {path} has {width}x{height} px; the limit is {MAX_IMAGE_PIXELS // 1_000_000} megapixels "
            f"and {MAX_IMAGE_SIDE_PX} px a side.", "Export a smaller version of the photo.")


def _read(opened: BinaryIO) -> ImageHeader | None:
    start = opened.read(12)
    opened.seek(0)
    if start.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(opened)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png(opened)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _read_webp(opened)
    return None


def _exactly(opened: BinaryIO, count: int) -> bytes:
    data = opened.read(count)
    if len(data) != count:
        raise ValueError("the file ends inside its header")
    return data


def _read_jpeg(opened: BinaryIO) -> ImageHeader:
    """Walk the marker segments (ITU T.81, annex B) to the frame header."""
    opened.seek(2)
    orientation = 1
    while True:
        marker = _next_jpeg_marker(opened)
        if marker in (0x01, *range(0xD0, 0xD8)):
            continue
        if marker in (0xD9, 0xDA):
            raise ValueError("no frame header before the pixels")
        (length,) = struct.unpack(">H", _exactly(opened, 2))
        if length < 2:
            raise ValueError("a marker segment has no length")
        body = opened.tell()
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width = struct.unpack(">BHH", _exactly(opened, 5))
            return ImageHeader("JPEG", width, height, bits, orientation)
        if marker == 0xE1 and _exactly(opened, min(6, length - 2)) == b"Exif\0\0":
            orientation = _exif_orientation(_exactly(opened, length - 8))
        opened.seek(body + length - 2)


def _next_jpeg_marker(opened: BinaryIO) -> int:
    if _exactly(opened, 1) != b"\xff":
        raise ValueError("a marker is missing")
    code = 0xFF
    while code == 0xFF:
        code = _exactly(opened, 1)[0]
    return code


def _read_png(opened: BinaryIO) -> ImageHeader:
    """Walk the chunks up to the pixels (PNG specification, section 5)."""
    opened.seek(8)
    size: tuple[int, int, int] | None = None
    orientation, animated = 1, False
    while True:
        length, kind = struct.unpack(">I4s", _exactly(opened, 8))
        body = opened.tell()
        if size is None:
            if kind != b"IHDR" or length != 13:
                raise ValueError("the PNG does not begin with its size")
            size = struct.unpack(">IIB", _exactly(opened, 9))
        elif kind == b"eXIf":
            orientation = _exif_orientation(_exactly(opened, min(length, _EXIF_SCAN_BYTES)))
        elif kind == b"acTL":
            animated = True
        elif kind in (b"IDAT", b"IEND"):
            return ImageHeader("PNG", *size, orientation=orientation, animated=animated)
        opened.seek(body + length + 4)


def _read_webp(opened: BinaryIO) -> ImageHeader:
    """Walk the RIFF chunks (RFC 9649)."""
    opened.seek(12)
    size: tuple[int, int] | None = None
    orientation, animated, has_exif = 1, False, False
    while True:
        head = opened.read(8)
        if len(head) < 8:
            break
        kind, length = struct.unpack("<4sI", head)
        body = opened.tell()
        if kind == b"VP8X":
            extended = _exactly(opened, 10)
            animated, has_exif = bool(extended[0] & 0x02), bool(extended[0] & 0x08)
            size = (1 + int.from_bytes(extended[4:7], "little"), 1 + int.from_bytes(extended[7:10], "little"))
        elif kind == b"VP8 ":
            size = size or _vp8_size(_exactly(opened, 10))
        elif kind == b"VP8L":
            size = size or _vp8l_size(_exactly(opened, 5))
        elif kind == b"EXIF":
            data = _exactly(opened, min(length, _EXIF_SCAN_BYTES))
            orientation = _exif_orientation(data.removeprefix(b"Exif\0\0"))
        if size is not None and not has_exif:
            break
        opened.seek(body + length + (length & 1))
    if size is None:
        raise ValueError("the WebP has no size")
    return ImageHeader("WEBP", *size, orientation=orientation, animated=animated)


def _vp8_size(data: bytes) -> tuple[int, int]:
    if data[3:6] != b"\x9d\x01\x2a":
        raise ValueError("the VP8 frame has no start code")
    width, height = struct.unpack("<HH", data[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _vp8l_size(data: bytes) -> tuple[int, int]:
    if data[0] != 0x2F:
        raise ValueError("the VP8L stream has no signature")
    bits = int.from_bytes(data[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _exif_orientation(tiff: bytes) -> int:
    """Orientation from the first image directory of an EXIF block; 1 where the block is odd (it is only advice)."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for entry in range(entries):
        offset = directory + 2 + 12 * entry
        if offset + 12 > len(tiff):
            return 1
        tag, kind, _count, value = struct.unpack_from(order + "HHIH", tiff, offset)
        if tag == _ORIENTATION_TAG:
            return value if kind == 3 and 1 <= value <= 8 else 1
    return 1
