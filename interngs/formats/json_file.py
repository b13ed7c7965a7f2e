# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads JSON pose files: what is broken in them becomes an error that names the file and the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

MAX_JSON_BYTES = 256 << 20
"""Largest pose file that is read."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: missing, too large, not UTF-8, broken JSON, or not an object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError("json-too-large", f"{path} is over {MAX_JSON_BYTES >> 20} MiB, too large for a pose file.",
                             "Check that this is the pose file.")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError("json-unreadable", f"{path} cannot be read: {error.strerror or error}.",
                         "Check that the file exists and may be read.") from error
    except (ValueError, RecursionError) as error:
        raise InputError("json-broken", f"{path} is not valid JSON: {error}.",
                         "Write or copy the file again; it may be cut short.") from error
    if not isinstance(content, dict):
        raise InputError("json-broken", f"{path} holds a {type(content).__name__}, not an object with poses.",
                         "Check that this is the pose file.")
    return content


def frames_of(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The entry ``frames``: a list of objects, not empty.

    Raises:
        InputError: it is missing, empty or something else.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError("json-no-frames", f"{path} has no list 'frames' of objects.",
                         "Check that this is a pose file with one frame per image.")
    if not frames:
        raise InputError("json-no-frames", f"The list 'frames' of {path} is empty.", "Write the pose file again.")
    return frames


def number(content: dict[str, Any], key: str, where: str) -> float | None:
    """The number under ``key``, or None when it is not there (or null)."""
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("json-value", f"{key!r} of {where} is {_short(value)}, not a number.",
                         "Correct the pose file.")
    try:
        return float(value)
    except OverflowError as error:
        raise InputError("json-value", f"{key!r} of {where} is out of range.", "Correct the pose file.") from error


def text(content: dict[str, Any], key: str, where: str) -> str | None:
    """The text under ``key``, or None when it is not there (or null)."""
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError("json-value", f"{key!r} of {where} is {_short(value)}, not a text.", "Correct the pose file.")
    return value


def matrix(content: dict[str, Any], key: str, shapes: tuple[tuple[int, int], ...], where: str) -> NDArray[np.float64]:
    """The matrix under ``key`` as float64; its shape is one of ``shapes``.

    Raises:
        InputError: it is missing, ragged, of another shape, or holds something else than numbers.
    """
    value = content.get(key)
    wanted = " or ".join(f"{rows}x{columns}" for rows, columns in shapes)
    rows = value if isinstance(value, list) else []
    numbers = all(isinstance(row, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in row)
                  for row in rows)
    if not numbers or (len(rows), len(rows[0]) if rows else 0) not in shapes or len({len(row) for row in rows}) != 1:
        raise InputError("json-value", f"{key!r} of {where} is not a {wanted} matrix of numbers.",
                         "Correct the pose file.")
    try:
        return np.array(rows, np.float64)
    except OverflowError as error:
        raise InputError("json-value", f"{key!r} of {where} is out of range.", "Correct the pose file.") from error


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
