# SPDX-License-Identifier: GPL-3.0-or-later
"""A result's Gaussians as an array container, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..scene.gaussians import Gaussians
from .arrays import container_parts, unpack_arrays
from .codec import Buffer
from .errors import WireError

_FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def result_parts(gaussians: Gaussians) -> Iterator[Buffer]:
    """The bytes of a result in pieces, to be written one after the other; nothing is copied."""
    arrays = {name: np.asarray(getattr(gaussians, name), "<f4") for name in _FIELDS}
    return container_parts(arrays, {"kind": "gaussians"})


def read_result(data: Buffer) -> Gaussians:
    """The Gaussians of a result; views of ``data``, which may be a memory map.

    Raises:
        WireError: the bytes are no result.
    """
    arrays, meta = unpack_arrays(data)
    if meta.get("kind") != "gaussians" or set(arrays) != set(_FIELDS):
        raise WireError("The container holds no Gaussians.")
    try:
        return Gaussians(*(arrays[name] for name in _FIELDS))
    except (ValueError, IndexError, AttributeError) as error:
        raise WireError(f"The result's arrays do not fit each other: {error}.") from error
