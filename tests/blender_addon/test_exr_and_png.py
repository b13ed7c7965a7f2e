# SPDX-License-Identifier: GPL-3.0-or-later
"""The small EXR reader: forms that Blender writes, and damaged files; the grey PNG read by another library."""

import struct
import zlib

import numpy as np
import pytest


@pytest.fixture(scope="module")
def exr(addon_module):
    return addon_module("blender_addon.scene.exr")


@pytest.fixture(scope="module")
def input_error(addon_module):
    return addon_module("interngs.errors").InputError


def attribute(name, kind, data):
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(data)) + data


def header(channels, width, height, compression):
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iiii", 2, 0, 1, 1) for name in channels) + b"\0"
    window = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    return (attribute("channels", "chlist", listed) + attribute("compression", "compression", bytes([compression]))
            + attribute("dataWindow", "box2i", window) + b"\0")


def zipped(raw):
    data = np.frombuffer(raw, np.uint8)
    halves = np.concatenate([data[0::2], data[1::2]]).astype(np.int64)
    halves[1:] = (np.diff(halves) + 128) % 256
    return zlib.compress(halves.astype(np.uint8).tobytes())


def write(path, images, width, height, compression=0, multi_part=False):
    """A minimal EXR; one part with all channels, or one part for each channel."""
    names = sorted(images)
    parts = [[name] for name in names] if multi_part else [names]
    rows_per_block = {0: 1, 2: 1, 3: 16}[compression]
    data = struct.pack("<ii", 20000630, 2 | (0x1000 if multi_part else 0))
    data += b"".join(header(part, width, height, compression) for part in parts) + (b"\0" if multi_part else b"")
    blocks = -(-height // rows_per_block)
    data += b"\0" * (8 * blocks * len(parts))
    for number, part in enumerate(parts):
        for start in range(0, height, rows_per_block):
            raw = b"".join(images[name][row].tobytes() for row in range(start, min(start + rows_per_block, height))
                           for name in part)
            packed = zipped(raw) if compression else raw
            packed = packed if len(packed) < len(raw) else raw
            data += (struct.pack("<i", number) if multi_part else b"") + struct.pack("<ii", start, len(packed)) + packed
    path.write_bytes(data)


@pytest.mark.parametrize("compression", [0, 2, 3])
@pytest.mark.parametrize("multi_part", [False, True])
def test_a_channel_is_read_exactly(exr, tmp_path, compression, multi_part):
    rng = np.random.default_rng(0)
    images = {"ViewLayer.Depth.Z": np.repeat(rng.random((37, 1), np.float32), 21, 1),
              "ViewLayer.Combined.R": rng.random((37, 21), np.float32)}
    write(tmp_path / "a.exr", images, 21, 37, compression, multi_part)
    assert np.array_equal(exr.read_channel(tmp_path / "a.exr", "Depth.Z"), images["ViewLayer.Depth.Z"])
    assert np.array_equal(exr.read_channel(tmp_path / "a.exr", "Combined.R"), images["ViewLayer.Combined.R"])


def test_a_truncated_file_is_refused_at_any_length(exr, input_error, tmp_path):
    write(tmp_path / "a.exr", {"Depth.Z": np.zeros((8, 8), np.float32)}, 8, 8, 3)
    data = (tmp_path / "a.exr").read_bytes()
    for length in range(0, len(data) - 1, 7):
        (tmp_path / "b.exr").write_bytes(data[:length])
        with pytest.raises((input_error, struct.error)) as refused:
            exr.read_channel(tmp_path / "b.exr", "Depth.Z")
        assert refused.type is input_error


def test_foreign_files_are_refused(exr, input_error, tmp_path):
    (tmp_path / "a.exr").write_bytes(b"\x89PNG\r\n\x1a\n" * 9)
    with pytest.raises(input_error, match="scan-line"):
        exr.read_channel(tmp_path / "a.exr", "Depth.Z")
    write(tmp_path / "b.exr", {"Depth.Z": np.zeros((8, 8), np.float32)}, 8, 8)
    with pytest.raises(input_error, match="no channel"):
        exr.read_channel(tmp_path / "b.exr", "Normal.X")


@pytest.mark.parametrize("shape", [(17, 33), (9, 5, 3), (5, 9, 4)])
def test_a_png_is_read_back_by_another_library(addon_module, tmp_path, shape):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    (tmp_path / "m.png").write_bytes(addon_module("blender_addon.scene.png").png_bytes(pixels))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "m.png")), pixels)


def test_another_librarys_tga_is_read(addon_module, input_error, tmp_path):
    from PIL import Image

    read_tga = addon_module("blender_addon.scene.tga").read_tga
    pixels = np.random.default_rng(2).integers(0, 256, (6, 11, 3), np.uint8)
    for orientation in (1, -1):     # uppermost row first, or last
        Image.fromarray(pixels).save(tmp_path / "a.tga", orientation=orientation)
        assert np.array_equal(read_tga(tmp_path / "a.tga"), pixels)
    data = (tmp_path / "a.tga").read_bytes()
    Image.fromarray(pixels[..., 0]).save(tmp_path / "b.tga")
    for refused in (data[:9], data[:100], (tmp_path / "b.tga").read_bytes()):
        (tmp_path / "c.tga").write_bytes(refused)
        with pytest.raises(input_error, match="plain image"):
            read_tga(tmp_path / "c.tga")
