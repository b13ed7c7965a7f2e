# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicted depth on disk, by the hash of picture and model, so that no picture is looked at twice."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..stopping import StopCheck, never
from ..storage import atomic_write
from .contracts import DepthPrior, Image


class DepthCache:
    """A folder of predictions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def inverse_depth(self, prior: DepthPrior, images: Sequence[Image], check: StopCheck = never,
                      ) -> list[NDArray[np.float32]]:
        """As ``prior.inverse_depth``; the network runs only for pictures that it has not seen yet."""
        paths = [self._path(prior, image) for image in images]
        results = [_read(path, image.shape[:2]) for path, image in zip(paths, images, strict=True)]
        missing = [index for index, result in enumerate(results) if result is None]
        predictions = prior.inverse_depth([images[index] for index in missing], check) if missing else []
        for index, result in zip(missing, predictions, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, result, allow_pickle=False)
            atomic_write(paths[index], buffer.getvalue())
            results[index] = result
        return [result for result in results if result is not None]

    def _path(self, prior: DepthPrior, image: Image) -> Path:
        digest = hashlib.sha256(prior.identity.fingerprint.encode())
        digest.update(repr((image.shape, str(image.dtype))).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
        return self.folder / f"{digest.hexdigest()}.npy"


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """A stored prediction; ``None`` when there is none, or a damaged one, which is then made anew."""
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return stored if stored.shape == shape and stored.dtype == np.float32 else None
