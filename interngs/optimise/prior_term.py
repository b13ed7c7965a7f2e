# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of a loss that a pretrained model brings into the optimisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..scene.cameras import Camera
from ..stopping import StopCheck, never


@dataclass(frozen=True)
class Picture:
    """One render: ``rgb`` [H, W, 3] in 0..1, ``depth`` [H, W] expected z, ``alpha`` [H, W]; float32."""

    rgb: Tensor
    depth: Tensor
    alpha: Tensor


RenderView = Callable[[Camera], Picture]
"""Renders the present Gaussians, without gradient and without dropout."""


class PriorTerm(Protocol):
    """A model's say in the optimisation: refreshed at set steps, a loss in between.

    Models run in ``refresh`` only, are loaded there and given back there, so no two are in memory at a
    time.  What a refresh found is part of the checkpoint: a resumed run goes on as an uninterrupted one.
    """

    def due(self, step: int) -> str | None:
        """What ``refresh`` is about to do at ``step``, in words; ``None`` when nothing is due, or it is done."""
        ...

    def refresh(self, step: int, render: RenderView, check: StopCheck = never) -> None:
        """Run the model on the present state; ``check`` is called before every call of the network.

        Raises:
            Stopped: ``check`` says so; nothing has changed then.
            InternGSError: the model cannot be used; names what else can be done.
        """
        ...

    def training_loss(self, index: int, picture: Picture, step: int) -> Tensor | None:
        """Loss of training view ``index``; ``None`` when the term has no say there."""
        ...

    def pseudo_loss(self, number: int, picture: Picture, step: int) -> Tensor | None:
        """Loss of pseudo view ``number``; ``None`` when the term has no say there."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs, under names of the term's own."""
        ...

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take back what ``state`` gave."""
        ...

    def report(self) -> dict[str, Any]:
        """Facts and figures for the result's report (JSON-ready): model, licence, how far it was admitted."""
        ...
