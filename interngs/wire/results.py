# SPDX-License-Identifier: GPL-3.0-or-later
"""A result as an array container: Gaussians bit for bit, or the files of rendered frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..scene.gaussians import Gaussians
from .arrays import container_parts, unpack_arrays
from .codec import Buffer
from .errors import WireError

RESULT_ARRAYS = ("means", "quats", "log_scales", "opacity_logits", "sh")
"""Names of a result's arrays: the fields of ``Gaussians``."""


def result_parts(gaussians: Gaussians) -> Iterator[Buffer]:
    """The bytes of a result in pieces, to be written one after the other; nothing is copied."""
    arrays = {name: np.asarray(getattr(gaussians, name), "<f4") for name in RESULT_ARRAYS}
    return container_parts(arrays, {"kind": "gaussians"})


def read_result(data: Buffer) -> Gaussians:
    """The Gaussians of a result; views of ``data``, which may be a memory map.

    Raises:
        WireError: the bytes are no result.
    """
    arrays, meta = unpack_arrays(data)
    if meta.get("kind") != "gaussians" or set(arrays) != set(RESULT_ARRAYS):
        raise WireError("The container holds no Gaussians.")
    try:
        return Gaussians(*(arrays[name] for name in RESULT_ARRAYS))
    except (ValueError, IndexError, AttributeError) as error:
        raise WireError(f"The result's arrays do not fit each other: {error}.") from error


def frames_parts(frames: Mapping[int, bytes]) -> Iterator[Buffer]:
    """The bytes of a render's result in pieces: the file of each frame by its number."""
    return container_parts({str(number): np.frombuffer(data, np.uint8) for number, data in frames.items()},
                           {"kind": "frames"})


def read_frames(data: Buffer) -> dict[int, memoryview]:
    """The files of a render's frames by number; views of ``data``.

    Raises:
        WireError: the bytes are no rendered frames.
    """
    arrays, meta = unpack_arrays(data)
    if meta.get("kind") != "frames" or not all(name.lstrip("-").isdecimal() and len(name) < 12 and array.ndim == 1
                                               and array.dtype == np.uint8 for name, array in arrays.items()):
        raise WireError("The container holds no rendered frames.")
    return {int(name): array.data for name, array in arrays.items()}
