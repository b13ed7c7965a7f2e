# SPDX-License-Identifier: GPL-3.0-or-later
"""Image headers: held to Pillow's files, cut at every byte, lying about their size."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from interngs.errors import InputError
from interngs.formats.image_header import MAX_IMAGE_PIXELS, read_image_header

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8))


def _bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a maker whose name is long enough to be stored away from the entry"
    exif[0x0112] = orientation
    return exif


FILES = {
    "jpeg": (_bytes(PHOTO, "JPEG"), "JPEG", 8),
    "progressive": (_bytes(PHOTO, "JPEG", progressive=True), "JPEG", 8),
    "grey jpeg": (_bytes(PHOTO.convert("L"), "JPEG"), "JPEG", 8),
    "png": (_bytes(PHOTO, "PNG"), "PNG", 8),
    "palette": (_bytes(PHOTO.convert("P"), "PNG"), "PNG", 8),
    "16 bit": (_bytes(Image.fromarray(np.zeros((30, 41), np.uint16)), "PNG"), "PNG", 16),
    "webp lossy": (_bytes(PHOTO, "WEBP"), "WEBP", 8),
    "webp lossless": (_bytes(PHOTO, "WEBP", lossless=True), "WEBP", 8),
    "webp alpha": (_bytes(PHOTO.convert("RGBA"), "WEBP", exif=_exif(1)), "WEBP", 8),
}


@pytest.mark.parametrize(("data", "kind", "bits"), FILES.values(), ids=FILES)
def test_size_and_depth(tmp_path, data, kind, bits) -> None:
    path = tmp_path / "photo.bin"
    path.write_bytes(data)
    header = read_image_header(path)
    assert (header.format, header.width_px, header.height_px, header.bit_depth) == (kind, 41, 30, bits)
    assert header.orientation == 1
    assert not header.animated


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, kind, orientation) -> None:
    path = tmp_path / "photo"
    path.write_bytes(_bytes(PHOTO, kind, exif=_exif(orientation)))
    header = read_image_header(path)
    assert header.orientation == orientation
    assert header.upright_size_px == ((30, 41) if orientation >= 5 else (41, 30))


def test_big_endian_exif_and_nonsense_orientation(tmp_path) -> None:
    path = tmp_path / "photo.jpg"
    for value, expected in ((8, 8), (0, 1), (9, 1), (65535, 1)):
        tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, value, 0)
        path.write_bytes(_bytes(PHOTO, "JPEG", exif=b"Exif\0\0" + tiff))
        assert read_image_header(path).orientation == expected


@pytest.mark.parametrize("data", [entry[0] for entry in FILES.values()], ids=FILES)
def test_cut_at_every_byte_or_changed(tmp_path, data) -> None:
    path = tmp_path / "photo"
    for length in range(min(len(data), 400)):
        path.write_bytes(data[:length])
        try:
            header = read_image_header(path)
        except InputError as error:
            assert error.code in ("image-unreadable", "image-type")
        else:
            assert (header.width_px, header.height_px) == (41, 30)
    for position in range(min(len(data), 200)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1:])
        try:
            read_image_header(path)
        except InputError as error:
            assert error.code in ("image-unreadable", "image-type", "image-too-large")


def _png_claiming(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
            + struct.pack(">I4s", 0, b"IDAT"))


@pytest.mark.parametrize("size", [(100_000, 100_000), (8_945, 8_945), (40_000, 1), (1, 40_000)])
def test_too_large_is_refused_from_the_header(tmp_path, size) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_claiming(*size))
    with pytest.raises(InputError, match="80 megapixels") as caught:
        read_image_header(path)
    assert caught.value.code == "image-too-large"
    assert size[0] * size[1] > MAX_IMAGE_PIXELS or max(size) > 32_000


def test_empty_size_missing_folder_and_other_types(tmp_path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(_png_claiming(0, 10))
    with pytest.raises(InputError, match="0x10"):
        read_image_header(path)
    with pytest.raises(InputError, match="does not exist"):
        read_image_header(tmp_path / "none.png")
    with pytest.raises(InputError) as caught:
        read_image_header(tmp_path)
    assert caught.value.code == "image-unreadable"
    for data in (b"", b"GIF89a" + bytes(100), _bytes(PHOTO, "TIFF"), b"<svg/>"):
        path.write_bytes(data)
        with pytest.raises(InputError, match="no JPEG, PNG or WebP"):
            read_image_header(path)


def test_animations_are_known(tmp_path) -> None:
    other = Image.new("RGB", PHOTO.size)
    for kind in ("PNG", "WEBP"):
        path = tmp_path / kind
        path.write_bytes(_bytes(PHOTO, kind, save_all=True, append_images=[other]))
        assert read_image_header(path).animated
