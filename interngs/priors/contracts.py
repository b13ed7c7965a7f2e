# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pretrained model does for the optimisation: depth of a picture, repair of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..stopping import StopCheck, never

Image = NDArray[np.float32]
"""[H, W, 3] sRGB in 0..1."""


@dataclass(frozen=True)
class Identity:
    """Which model it is: its name in words, its licence, and the hash of its files."""

    title: str
    terms: str
    fingerprint: str


class DepthPrior(Protocol):
    """Monocular depth.  The network is in memory during a call only."""

    identity: Identity

    def inverse_depth(self, images: Sequence[Image], check: StopCheck = never) -> list[NDArray[np.float32]]:
        """[H, W] relative inverse depth of every image, larger is nearer; scale and shift are free.

        ``check`` is called before every call of the network.

        Raises:
            Stopped: ``check`` says so.
            InternGSError: the model cannot be loaded, memory is short, or its output is no depth.
        """
        ...


@dataclass(frozen=True, eq=False)
class Unseen:
    """A render of a view nobody took.

    Attributes:
        render: the picture to repair.
        reference: the photograph whose camera is nearest, for models that look at one.
    """

    render: Image
    reference: Image


class AppearancePrior(Protocol):
    """Repairs renders.  The model is in memory during a call only."""

    identity: Identity

    def repair(self, views: Sequence[Unseen], seed: int, check: StopCheck = never) -> list[Image]:
        """The repaired pictures, at the renders' sizes; the same ``seed`` gives the same pictures.

        ``check`` is called before every call of the network, of which one picture can take many.

        Raises:
            Stopped: ``check`` says so.
            InternGSError: the model cannot be loaded, memory is short, or its output is no picture.
        """
        ...
