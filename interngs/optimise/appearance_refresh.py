# SPDX-License-Identifier: GPL-3.0-or-later
"""Appearance from a diffusion model as a loss: views nobody took are repaired at set points of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import OptimiseConfig
from ..evaluate.lpips import Lpips
from ..priors.contracts import AppearancePrior, Unseen
from ..render.photometric import l1_ssim
from ..scene.cameras import Camera
from ..stopping import StopCheck, never
from .appearance_gate import admitted
from .perceptual_loss import check_size, perceptual_loss
from .prior_term import Picture, RenderView
from .pseudo_views import PseudoView

ROUNDS = (0.5, 0.75)
"""Shares of the steps at which the pictures are repaired anew."""
SSIM_SHARE = 0.4
"""Share of 1 - SSIM beside L1 (OracleGS, with the perceptual distance left out)."""
PERCEPTUAL_SHARE = 0.3
"""Share of the perceptual distance where it is given; L1 and SSIM have 0.4 and 0.3 then (OracleGS)."""


class AppearanceTerm:
    """L1 + SSIM (+ LPIPS when it is given) against repaired renders at pseudo views, at a low and falling weight.

    A picture teaches only where ``appearance_gate.admitted`` lets it.  A ``PriorTerm``.
    """

    def __init__(self, prior: AppearancePrior, images: Sequence[NDArray[np.float32]], cameras: Sequence[Camera],
                 pseudo: Sequence[PseudoView], config: OptimiseConfig, seed: int, device: torch.device,
                 lpips: Lpips | None = None) -> None:
        """``images`` [H, W, 3] and ``cameras`` of the photographs; ``pseudo`` views to choose from.

        Raises:
            InputError: ``lpips`` is given, and the pictures are too small for it.
        """
        if lpips is not None:
            for view in pseudo:
                check_size(view.camera.width_px, view.camera.height_px)
        self._lpips = None if lpips is None else lpips.to(device)
        self._prior, self._images, self._cameras, self._pseudo = prior, images, cameras, pseudo
        self._config, self._seed, self._device = config, seed, device
        self._rounds = [int(share * config.steps) for share in ROUNDS] if config.appearance_weight > 0 else []
        chosen = min(config.appearance_views, len(pseudo))
        self._numbers = sorted({round(n) for n in np.linspace(0, len(pseudo) - 1, chosen)}) if chosen else []
        # 8 bits: a checkpoint stays small, and a resumed run sees the same values.
        self._targets: dict[int, tuple[Tensor, Tensor]] = {}
        self._admitted: list[float] = []

    def due(self, step: int) -> str | None:
        """See ``PriorTerm``."""
        if step not in self._rounds or not self._numbers or len(self._admitted) > self._rounds.index(step):
            return None
        return f"{self._prior.identity.title} repairs {len(self._numbers)} views nobody took."

    def refresh(self, step: int, render: RenderView, check: StopCheck = never) -> None:
        """Render, repair, and decide what is admitted; see ``PriorTerm``."""
        pictures = []
        for number in self._numbers:
            check()
            pictures.append(render(self._pseudo[number].camera))
        renders = [picture.rgb.clamp(0, 1).cpu().numpy() for picture in pictures]
        views = [Unseen(rgb, self._nearest_photograph(self._pseudo[number].camera))
                 for number, rgb in zip(self._numbers, renders, strict=True)]
        repaired = self._prior.repair(views, self._seed + step, check)
        shares = []
        for number, picture, rgb, result in zip(self._numbers, pictures, renders, repaired, strict=True):
            say = admitted(result, rgb, picture.depth.cpu().numpy(), picture.alpha.cpu().numpy(), self._pseudo[number])
            self._targets[number] = (_to_bytes(result), _to_bytes(say))
            shares.append(float(say.mean()))
        self._admitted.append(round(float(np.mean(shares)), 3))

    def _nearest_photograph(self, camera: Camera) -> NDArray[np.float32]:
        distances = [float(np.linalg.norm(other.centre - camera.centre)) for other in self._cameras]
        return self._images[int(np.argmin(distances))]

    def training_loss(self, index: int, picture: Picture, step: int) -> Tensor | None:
        """Nothing: photographs need no repair."""
        return None

    def pseudo_loss(self, number: int, picture: Picture, step: int) -> Tensor | None:
        """See ``PriorTerm``."""
        if number not in self._targets:
            return None
        target, say = (values.to(self._device).float() / 255.0 for values in self._targets[number])
        total = say.mean()
        if float(total) <= 0:
            return None
        falling = (1.0 - step / self._config.steps) / (1.0 - ROUNDS[0])
        # The loss is a mean over admitted pixels; few admitted pixels shall not weigh as much as many.
        weight = self._config.appearance_weight * falling
        if self._lpips is None:
            return weight * total * l1_ssim(picture.rgb, target, say, SSIM_SHARE)
        pixels = total * l1_ssim(picture.rgb, target, say, 0.3 / (1.0 - PERCEPTUAL_SHARE))
        perceived = perceptual_loss(self._lpips, picture.rgb, target, say, self._seed * 32_452_843 + step)
        return weight * ((1.0 - PERCEPTUAL_SHARE) * pixels + PERCEPTUAL_SHARE * perceived)

    def state(self) -> dict[str, Tensor]:
        """See ``PriorTerm``."""
        tensors = {"appearance.admitted": torch.tensor(self._admitted, dtype=torch.float64)}
        for number, (target, say) in self._targets.items():
            tensors[f"appearance.{number}.target"], tensors[f"appearance.{number}.say"] = target, say
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """See ``PriorTerm``."""
        self._admitted = tensors["appearance.admitted"].tolist() if "appearance.admitted" in tensors else []
        self._targets = {
            number: (tensors[f"appearance.{number}.target"], tensors[f"appearance.{number}.say"])
            for number in self._numbers if f"appearance.{number}.target" in tensors}

    def report(self) -> dict[str, Any]:
        """See ``PriorTerm``."""
        told = {"purpose": "appearance", "model": self._prior.identity.title, "licence": self._prior.identity.terms,
                "fingerprint": self._prior.identity.fingerprint, "pseudo_views": len(self._numbers),
                "admitted_share": self._admitted, "loss": "L1 + SSIM"}
        if self._lpips is not None:
            told |= {"loss": f"L1 + SSIM + {self._lpips.name}", "perceptual_licence": self._lpips.terms,
                     "perceptual_fingerprint": self._lpips.fingerprint}
        return told


def _to_bytes(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8))
