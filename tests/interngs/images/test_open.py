# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening images: every mode, 16 bits kept, damage and bombs refused."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from interngs.errors import InputError
from interngs.images.open import open_mask, open_stored, to_float

RGBA = np.random.default_rng(1).integers(0, 256, (12, 17, 4), dtype=np.uint8)
RGB = RGBA[..., :3]
GREY = RGB[..., 0]


def _save(tmp_path, image: Image.Image, kind: str, **options):
    path = tmp_path / f"photo.{kind.lower()}"
    image.save(path, kind, **options)
    return path


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_colour_and_alpha_exactly(tmp_path, kind, options) -> None:
    opened = open_stored(_save(tmp_path, Image.fromarray(RGB), kind, **options))
    np.testing.assert_array_equal(opened.colour, RGB)
    assert opened.alpha is None
    with_alpha = open_stored(_save(tmp_path, Image.fromarray(RGBA), kind, exact=True, **options))
    np.testing.assert_array_equal(with_alpha.colour, RGB)
    np.testing.assert_array_equal(with_alpha.alpha, RGBA[..., 3])


def test_grey_palette_bilevel_and_their_transparency(tmp_path) -> None:
    grey = open_stored(_save(tmp_path, Image.fromarray(GREY), "PNG"))
    np.testing.assert_array_equal(grey.colour, np.repeat(GREY[..., None], 3, axis=2))
    grey_alpha = open_stored(_save(tmp_path, Image.fromarray(RGBA[..., [0, 3]], "LA"), "PNG"))
    np.testing.assert_array_equal(grey_alpha.alpha, RGBA[..., 3])
    palette = Image.fromarray((GREY % 3).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    np.testing.assert_array_equal(open_stored(_save(tmp_path, palette, "PNG")).colour, colours[GREY % 3])
    holes = open_stored(_save(tmp_path, palette, "PNG", transparency=1))
    np.testing.assert_array_equal(holes.alpha, np.where(GREY % 3 == 1, 0, 255))
    bilevel = open_stored(_save(tmp_path, Image.fromarray(GREY > 127), "PNG"))
    np.testing.assert_array_equal(bilevel.colour[..., 0], np.where(GREY > 127, 255, 0))
    keyed = open_stored(_save(tmp_path, Image.fromarray(RGB), "PNG", transparency=tuple(int(v) for v in RGB[0, 0])))
    assert keyed.alpha[0, 0] == 0
    assert keyed.alpha[-1, -1] == 255


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_kept(tmp_path, channels) -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (12, 17, channels), dtype=np.uint16)
    path = tmp_path / "deep.png"
    swapped = deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep
    path.write_bytes(cv2.imencode(".png", swapped)[1].tobytes())
    opened = open_stored(path)
    np.testing.assert_array_equal(opened.colour, deep[..., :3] if channels > 1 else np.repeat(deep, 3, axis=2))
    if channels == 4:
        np.testing.assert_array_equal(opened.alpha, deep[..., 3])
    np.testing.assert_allclose(to_float(opened.colour).max(), opened.colour.max() / 65535, rtol=1e-6)


def _sixteen_bit_grey_alpha_png(values: np.ndarray) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + values[y].astype(">u2").tobytes() for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def test_sixteen_bit_grey_with_alpha(tmp_path) -> None:
    values = np.random.default_rng(3).integers(0, 65536, (5, 7, 2), dtype=np.uint16)
    (tmp_path / "ga.png").write_bytes(_sixteen_bit_grey_alpha_png(values))
    opened = open_stored(tmp_path / "ga.png")
    np.testing.assert_array_equal(opened.colour, np.repeat(values[..., :1], 3, axis=2))
    np.testing.assert_array_equal(opened.alpha, values[..., 1])


def test_cmyk_and_jpeg(tmp_path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    opened = open_stored(_save(tmp_path, red, "JPEG", quality=95))
    assert opened.alpha is None
    assert np.abs(opened.colour.astype(int) - [255, 0, 0]).max() < 12
    grey = open_stored(_save(tmp_path, Image.fromarray(GREY), "JPEG"))
    assert grey.colour.shape == (12, 17, 3)


def test_pixels_are_given_as_stored(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP"):
        opened = open_stored(_save(tmp_path, Image.fromarray(RGB), kind, exif=exif))
        assert opened.colour.shape == (12, 17, 3)
        assert opened.header.orientation == 6
    deep = tmp_path / "deep.png"
    deep.write_bytes(cv2.imencode(".png", np.zeros((12, 17), np.uint16))[1].tobytes())
    assert open_stored(deep).colour.shape == (12, 17, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "16"])
def test_cut_anywhere_is_refused(tmp_path, kind) -> None:
    stream = io.BytesIO()
    if kind == "16":
        data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 65536, (12, 17), dtype=np.uint16))[1].tobytes()
    else:
        Image.fromarray(RGB).save(stream, kind)
        data = stream.getvalue()
    path = tmp_path / "photo"
    lost = 20 if kind in ("PNG", "16") else 4  # a PNG's last chunk and check sums, a JPEG's end marker hold no pixels
    for length in [*range(0, len(data) - lost, 7), len(data) - lost - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="photo") as caught:
            open_stored(path)
        assert caught.value.code in ("image-unreadable", "image-type")


def test_changed_bytes_never_crash(tmp_path) -> None:
    path = tmp_path / "photo"
    for kind in ("JPEG", "PNG", "WEBP"):
        stream = io.BytesIO()
        Image.fromarray(RGBA if kind != "JPEG" else RGB).save(stream, kind)
        data = stream.getvalue()
        for position in range(0, len(data), 13):
            path.write_bytes(data[:position] + bytes([data[position] ^ 0x5A]) + data[position + 1:])
            try:
                open_stored(path)
            except InputError as error:
                assert error.remedy


def test_bombs_are_refused_before_decoding(tmp_path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b""))
    tracemalloc.start()
    with pytest.raises(InputError, match="megapixels"):
        open_stored(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_animations_and_other_types(tmp_path) -> None:
    path = _save(tmp_path, Image.fromarray(RGB), "WEBP", save_all=True, append_images=[Image.new("RGB", (17, 12))])
    with pytest.raises(InputError, match="animation"):
        open_stored(path)
    with pytest.raises(InputError, match="no JPEG, PNG or WebP"):
        open_stored(_save(tmp_path, Image.fromarray(RGB), "TIFF"))
    with pytest.raises(InputError, match="does not exist"):
        open_stored(tmp_path / "none.jpg")


def test_masks(tmp_path) -> None:
    mask, header = open_mask(_save(tmp_path, Image.fromarray(GREY), "PNG"))
    np.testing.assert_allclose(mask, GREY / 255, atol=1e-6)
    assert (mask.dtype, header.width_px) == (np.float32, 17)
    coloured, _ = open_mask(_save(tmp_path, Image.fromarray(RGBA), "PNG"))
    np.testing.assert_allclose(coloured, RGB.mean(axis=2) / 255 * (RGBA[..., 3] / 255), atol=1e-6)
