# SPDX-License-Identifier: GPL-3.0-or-later
"""COLMAP's text model files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..scene.capture import SparsePoints
from .camera_models import MODEL_OF_NAME, unknown_model
from .colmap_records import ColmapCamera, ColmapImage, ColmapModel, broken, make_camera, make_image, make_points


def read_text(folder: Path) -> ColmapModel:
    """The model in ``cameras.txt``, ``images.txt`` and, when there, ``points3D.txt``.

    Raises:
        InputError: a line is cut short or holds no numbers, or a camera model is unknown.
    """
    points_file = folder / "points3D.txt"
    return ColmapModel(_read_cameras(folder / "cameras.txt"), _read_images(folder / "images.txt"),
                       _read_points(points_file) if points_file.is_file() else None)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place for messages, line without its end) of all lines but comments."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError("colmap-unreadable", f"{path} cannot be read: {error.strerror or error}.",
                         "Check that the file may be read.") from error
    except ValueError as error:
        raise broken(str(path), "it is not UTF-8 text") from error
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.startswith("#"):
            yield f"{path}, line {number}", line.strip()


def _numbers(words: list[str], place: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise broken(place, "a number was expected") from error


def _integer(word: str, place: str) -> int:
    if not (word.lstrip("-").isdecimal() and word.isascii() and len(word) < 20):
        raise broken(place, f"{word[:30]!r} is no whole number")
    return int(word)


def _read_cameras(path: Path) -> dict[int, ColmapCamera]:
    cameras = {}
    for place, line in _lines(path):
        if not line:
            continue
        words = line.split()
        if len(words) < 4:
            raise broken(place, "a camera needs id, model, width, height and parameters")
        model = MODEL_OF_NAME.get(words[1])
        if model is None:
            raise unknown_model(words[1][:40], place)
        cameras[_integer(words[0], place)] = make_camera(
            model, _integer(words[2], place), _integer(words[3], place), _numbers(words[4:], place), place)
    return cameras


def _read_images(path: Path) -> tuple[ColmapImage, ...]:
    """Each image takes two lines: its pose, then its 2D points (not needed here; that line may be empty)."""
    images = []
    lines = _lines(path)
    for place, line in lines:
        if not line:
            continue
        words = line.split(maxsplit=9)
        if len(words) < 10:
            raise broken(place, "an image needs id, quaternion, translation, camera and name")
        values = _numbers(words[1:8], place)
        images.append(make_image(words[9], _integer(words[8], place), values[:4], values[4:], place))
        next(lines, None)
    return tuple(sorted(images, key=lambda image: image.name))


def _read_points(path: Path) -> SparsePoints:
    positions, colours = [], []
    for place, line in _lines(path):
        if not line:
            continue
        words = line.split(maxsplit=7)
        if len(words) < 7:
            raise broken(place, "a point needs id, position and colour")
        positions.append(_numbers(words[1:4], place))
        colour = [_integer(word, place) for word in words[4:7]]
        if not all(0 <= value <= 255 for value in colour):
            raise broken(place, "a colour is outside 0 to 255")
        colours.append(colour)
    return make_points(np.array(positions, np.float64).reshape(-1, 3), np.array(colours, np.uint8).reshape(-1, 3))
