# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for models that are not at hand: a small monocular network, and repairs that do one simple thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from interngs.optimise.model_priors import ModelPriors
from interngs.priors.contracts import AppearancePrior, DepthPrior, Identity, Unseen
from interngs.stopping import StopCheck, never

STAND_IN = "a stand-in for measuring"
Picture = NDArray[np.float32]


class OnnxDepth:
    """A monocular network from an ONNX file that takes one picture, RGB 0..255, at its own fixed size."""

    def __init__(self, file: Path, sign: float = 1.0) -> None:
        """The file's name ends in its input size, ``..._HEIGHTxWIDTH.onnx``; ``sign`` -1 turns depth upside down."""
        height, width = (int(part) for part in file.stem.rsplit("_", 1)[1].split("x"))
        self._file, self._size, self._sign = file, (width, height), sign
        self.identity = Identity(f"{file.stem}{'' if sign > 0 else ', upside down'}", STAND_IN, f"{file.stem}{sign}")

    def inverse_depth(self, images: Sequence[Picture], check: StopCheck = never) -> list[Picture]:
        """See ``DepthPrior``."""
        network = cv2.dnn.readNetFromONNX(str(self._file))
        results = []
        for image in images:
            check()
            network.setInput(cv2.dnn.blobFromImage(255 * image, 1.0, self._size))
            output = network.forward()
            resized = cv2.resize(output.reshape(output.shape[-2:]), (image.shape[1], image.shape[0]))
            results.append((self._sign * resized).astype(np.float32))
        return results


class Repair:
    """A model that does one simple thing to a picture."""

    def __init__(self, name: str, change: Callable[[Picture, np.random.Generator], NDArray[np.floating]]) -> None:
        self.identity, self._change = Identity(name, STAND_IN, name), change

    def repair(self, views: Sequence[Unseen], seed: int, check: StopCheck = never) -> list[Picture]:
        """See ``AppearancePrior``."""
        generator = np.random.default_rng(seed)
        repaired = []
        for view in views:
            check()
            repaired.append(self._change(view.render, generator).astype(np.float32))
        return repaired


def denoised(picture: Picture, _: np.random.Generator) -> NDArray[np.floating]:
    """Noise taken off, edges kept (bilateral filter)."""
    return cv2.bilateralFilter(np.ascontiguousarray(picture), 5, 0.08, 1.5)


IDENTITY = Repair("identity", lambda picture, _: picture)
DENOISER = Repair("denoiser", denoised)
BLUR = Repair("blur", lambda picture, _: cv2.GaussianBlur(picture, (0, 0), 1.5))
NOISE = Repair("noise", lambda picture, random: random.uniform(size=picture.shape))


def use(depth: DepthPrior | None, appearance: AppearancePrior | None) -> None:
    """Put these in the place of the models that the next runs choose."""
    ModelPriors.choose = classmethod(  # type: ignore[method-assign,assignment]
        lambda cls, *_: cls(depth, STAND_IN, appearance, STAND_IN))
