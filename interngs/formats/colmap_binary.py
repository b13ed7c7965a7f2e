# SPDX-License-Identifier: GPL-3.0-or-later
"""COLMAP's binary model files; every count is held against the bytes that are there before it is believed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..scene.capture import SparsePoints
from .camera_models import MODEL_OF_NUMBER, unknown_model
from .colmap_records import ColmapCamera, ColmapImage, ColmapModel, broken, make_camera, make_image, make_points

_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<iiQQ")
_IMAGE = struct.Struct("<i4d3di")
_POINT = struct.Struct("<Q3d3BdQ")
_OBSERVATION_BYTES = 24
_TRACK_ELEMENT_BYTES = 8
_MAX_NAME_BYTES = 4096


class _Cursor:
    """Reads forward through the bytes of one file; running past the end is an ``InputError``."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise InputError("colmap-unreadable", f"{path} cannot be read: {error.strerror or error}.",
                             "Check that the file may be read.") from error
        self.offset = 0

    def unpack(self, layout: struct.Struct) -> tuple[float, ...]:
        start = self.offset
        self.skip(layout.size)
        return layout.unpack_from(self.data, start)

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.offset:
            raise broken(self.name, f"it ends after {len(self.data)} bytes, inside a record")
        self.offset += size

    def count(self, smallest_record: int) -> int:
        """The number of records that follow, each of at least ``smallest_record`` bytes."""
        (count,) = self.unpack(_COUNT)
        if count * smallest_record > len(self.data) - self.offset:
            raise broken(self.name, f"it says it holds {count} records, which do not fit into {len(self.data)} bytes")
        return int(count)

    def text(self) -> str:
        end = self.data.find(b"\0", self.offset, self.offset + _MAX_NAME_BYTES)
        if end < 0:
            raise broken(self.name, "a name has no end")
        raw = self.data[self.offset:end]
        self.offset = end + 1
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise broken(self.name, "a name is not UTF-8") from error

    def finish(self) -> None:
        if self.offset != len(self.data):
            raise broken(self.name, f"{len(self.data) - self.offset} bytes follow the last record")


def read_binary(folder: Path) -> ColmapModel:
    """The model in ``cameras.bin``, ``images.bin`` and, when there, ``points3D.bin``.

    Raises:
        InputError: a file is cut short, its counts do not fit its size, or a camera model is unknown.
    """
    points_file = folder / "points3D.bin"
    return ColmapModel(_read_cameras(folder / "cameras.bin"), _read_images(folder / "images.bin"),
                       _read_points(points_file) if points_file.is_file() else None)


def _read_cameras(path: Path) -> dict[int, ColmapCamera]:
    cursor = _Cursor(path)
    cameras = {}
    for _ in range(cursor.count(_CAMERA.size)):
        camera_id, number, width, height = (int(value) for value in cursor.unpack(_CAMERA))
        model = MODEL_OF_NUMBER.get(number)
        if model is None:
            raise unknown_model(f"number {number}", f"Camera {camera_id} of {path}")
        parameters = cursor.unpack(struct.Struct(f"<{model.parameters}d"))
        cameras[camera_id] = make_camera(model, width, height, parameters, str(path))
    cursor.finish()
    return cameras


def _read_images(path: Path) -> tuple[ColmapImage, ...]:
    cursor = _Cursor(path)
    images = []
    for _ in range(cursor.count(_IMAGE.size + 1 + _COUNT.size)):
        _image_id, *values, camera_id = cursor.unpack(_IMAGE)
        name = cursor.text()
        cursor.skip(cursor.count(_OBSERVATION_BYTES) * _OBSERVATION_BYTES)
        images.append(make_image(name, int(camera_id), values[:4], values[4:], str(path)))
    cursor.finish()
    return tuple(sorted(images, key=lambda image: image.name))


def _read_points(path: Path) -> SparsePoints:
    cursor = _Cursor(path)
    count = cursor.count(_POINT.size)
    positions, colours = np.empty((count, 3), np.float64), np.empty((count, 3), np.uint8)
    for index in range(count):
        _, x, y, z, red, green, blue, _, track_length = cursor.unpack(_POINT)
        positions[index] = x, y, z
        colours[index] = red, green, blue
        cursor.skip(int(track_length) * _TRACK_ELEMENT_BYTES)
    cursor.finish()
    return make_points(positions, colours)
