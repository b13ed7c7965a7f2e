# SPDX-License-Identifier: GPL-3.0-or-later
"""Monocular depth as a loss: at the photographs, and at views nobody took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import OptimiseConfig
from ..geometry.prior import Geometry
from ..priors.contracts import DepthPrior
from ..scene.capture import View
from ..stopping import StopCheck, never
from .depth_agreement import Agreement, check_agreement
from .losses import weighted_pearson_loss
from .patch_correlation import patch_pearson_loss
from .prior_term import Picture, RenderView
from .pseudo_views import FILL_TRUST, PseudoView

PATCH_PX = 128
"""Side of a patch of the local term (LM-Gaussian), at most a quarter of the longer side of the picture."""
FADE_FROM, FADE_TO = 0.95, 0.02
"""From this share of the steps the photographs' term falls to this share of its weight (FSGS)."""
PSEUDO_FROM, PSEUDO_RAMP, PSEUDO_UNTIL = 0.2, 0.05, 0.95
"""Shares of the steps where the pseudo views' term begins, how long it grows, and where it stops (FSGS)."""
CONFIDENT = 1.0
"""Stereo depth above this confidence is evidence; at and below it is a guess (DUSt3R's convention)."""
FULL_CONFIDENCE = 10.0

LookUp = Callable[[Sequence[NDArray[np.float32]]], list[NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class _Target:
    """A prediction [H, W] with its say per pixel [H, W] and as a whole, on the device."""

    inverse_depth: Tensor
    weight: Tensor
    strength: float


class DepthPriorTerm:
    """1 - Pearson correlation of rendered inverse depth with a monocular network's, globally and by patches.

    Both are blind to the network's unknown scale and shift.  At a photograph the network looks at the
    photograph; at a pseudo view it looks at the render of that moment (FSGS, section 4.3), detached, and
    anew at every round.  ``check_agreement`` with the stereo depth decides how much is believed, per view
    and per pixel, so that a poor prediction cannot pull good geometry.

    A ``PriorTerm``.
    """

    def __init__(self, prior: DepthPrior, look_up: LookUp, photographs: Sequence[View], geometry: Geometry,
                 pseudo: Sequence[PseudoView], config: OptimiseConfig, seed: int, device: torch.device) -> None:
        """Looks at the photographs at once.

        Args:
            prior: the network.
            look_up: the same for the photographs, through a cache on disk.
            photographs: in the order of ``geometry.views``; nothing is said where their masks are 0.
            geometry: the stereo depth to check against.
            pseudo: the views nobody took.
        """
        self._prior, self._config, self._seed, self._device = prior, config, seed, device
        self._pseudo = pseudo
        self._rounds = _rounds(config)
        chosen = min(config.depth_prior_views, len(pseudo)) if self._rounds else 0
        self._numbers = sorted({round(n) for n in np.linspace(0, len(pseudo) - 1, chosen)}) if chosen else []
        self._training: list[_Target] = []
        self._unseen: dict[int, _Target] = {}
        self._views: list[dict[str, Any]] = []
        self._pseudo_strengths: list[float] = []
        predictions = look_up([photograph.image for photograph in photographs])
        for photograph, predicted, view in zip(photographs, predictions, geometry.views, strict=True):
            known = view.depth > 0
            inverse_depth = np.where(known, 1.0 / np.where(known, view.depth, 1.0), 0.0).astype(np.float32)
            trust = np.where(known, (view.confidence - CONFIDENT) / (FULL_CONFIDENCE - CONFIDENT), 0.0)
            agreement = check_agreement(predicted, inverse_depth, np.clip(trust, 0.0, 1.0).astype(np.float32))
            if photograph.mask is not None:
                agreement = replace(agreement, weight=agreement.weight * photograph.mask)
            self._training.append(self._target(predicted, agreement))
            self._views.append({"correlation": agreement.correlation, "say": round(_say(agreement), 3)})

    def _target(self, predicted: NDArray[np.float32], agreement: Agreement) -> _Target:
        # One scale for all networks, so that sums of squares stay in float32's range.
        spread = float(predicted.std()) or 1.0
        normal = (predicted - float(predicted.mean())) / spread
        return _Target(torch.from_numpy(normal.astype(np.float32)).to(self._device),
                       torch.from_numpy(agreement.weight).to(self._device), agreement.strength)

    def due(self, step: int) -> str | None:
        """See ``PriorTerm``."""
        if step not in self._rounds or not self._numbers:
            return None
        if len(self._pseudo_strengths) > self._rounds.index(step):
            return None
        return f"{self._prior.identity.title} looks at {len(self._numbers)} views nobody took."

    def refresh(self, step: int, render: RenderView, check: StopCheck = never) -> None:
        """Predict depth of the present renders of the pseudo views."""
        pictures = []
        for number in self._numbers:
            check()
            pictures.append(render(self._pseudo[number].camera))
        predictions = self._prior.inverse_depth(
            [picture.rgb.clamp(0, 1).cpu().numpy() for picture in pictures], check)
        strengths = []
        for number, predicted in zip(self._numbers, predictions, strict=True):
            view = self._pseudo[number]
            known = view.depth > 0
            inverse_depth = np.where(known, 1.0 / np.where(known, view.depth, 1.0), 0.0).astype(np.float32)
            # What was filled in behind edges is no evidence.
            trust = np.where(known & (view.weight > FILL_TRUST), view.weight, 0.0).astype(np.float32)
            agreement = check_agreement(predicted, inverse_depth, trust)
            self._unseen[number] = self._target(predicted, agreement)
            strengths.append(_say(agreement))
        self._pseudo_strengths.append(round(float(np.mean(strengths)), 3))

    def training_loss(self, index: int, picture: Picture, step: int) -> Tensor | None:
        """See ``PriorTerm``."""
        config, progress = self._config, step / self._config.steps
        fade = 1.0 if progress < FADE_FROM else 1.0 + (FADE_TO - 1.0) * (progress - FADE_FROM) / (1.0 - FADE_FROM)
        return self._loss(self._training[index], picture, step, fade * config.depth_prior_weight,
                          fade * config.depth_prior_patch_weight)

    def pseudo_loss(self, number: int, picture: Picture, step: int) -> Tensor | None:
        """See ``PriorTerm``."""
        progress = step / self._config.steps
        if number not in self._unseen or not PSEUDO_FROM <= progress < PSEUDO_UNTIL:
            return None
        ramp = min((progress - PSEUDO_FROM) / PSEUDO_RAMP, 1.0)
        return self._loss(self._unseen[number], picture, step, ramp * self._config.depth_prior_pseudo_weight, 0.0)

    def _loss(self, target: _Target, picture: Picture, step: int, weight: float, patch_weight: float) -> Tensor | None:
        weight, patch_weight = weight * target.strength, patch_weight * target.strength
        if weight <= 0 and patch_weight <= 0:
            return None
        inverse_depth = 1.0 / picture.depth.clamp_min(1e-6)
        say = target.weight * (picture.alpha.detach() > 0.5)
        loss = weight * weighted_pearson_loss(inverse_depth, target.inverse_depth, say)
        if patch_weight > 0:
            patch_px = max(min(PATCH_PX, max(say.shape) // 4), 1)
            generator = torch.Generator().manual_seed((self._seed * 15_485_863 + step) & 0x7FFFFFFF)
            top, left = (int(value) for value in torch.randint(patch_px, (2,), generator=generator))
            loss = loss + patch_weight * patch_pearson_loss(
                inverse_depth, target.inverse_depth, say, patch_px, (top, left))
        return loss

    def state(self) -> dict[str, Tensor]:
        """See ``PriorTerm``."""
        tensors = {"depth_prior.said": torch.tensor(self._pseudo_strengths, dtype=torch.float64)}
        for number, target in self._unseen.items():
            tensors[f"depth_prior.{number}.inverse_depth"] = target.inverse_depth
            tensors[f"depth_prior.{number}.weight"] = target.weight
            tensors[f"depth_prior.{number}.strength"] = torch.tensor(target.strength, dtype=torch.float64)
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """See ``PriorTerm``."""
        self._pseudo_strengths = tensors["depth_prior.said"].tolist() if "depth_prior.said" in tensors else []
        self._unseen = {
            number: _Target(tensors[f"depth_prior.{number}.inverse_depth"].to(self._device),
                            tensors[f"depth_prior.{number}.weight"].to(self._device),
                            float(tensors[f"depth_prior.{number}.strength"]))
            for number in self._numbers if f"depth_prior.{number}.strength" in tensors}

    def report(self) -> dict[str, Any]:
        """See ``PriorTerm``."""
        return {"purpose": "depth", "model": self._prior.identity.title, "licence": self._prior.identity.terms,
                "fingerprint": self._prior.identity.fingerprint, "views": self._views,
                "pseudo_views": len(self._numbers), "say_at_pseudo_views": self._pseudo_strengths}

    @property
    def ignored(self) -> bool:
        """Whether no photograph's prediction agrees with the stereo depth enough to be heard."""
        return all(target.strength <= 0 for target in self._training)


def _say(agreement: Agreement) -> float:
    return agreement.strength * float(agreement.weight.mean())


def _rounds(config: OptimiseConfig) -> list[int]:
    """Steps at which the pseudo views are looked at anew, evenly from the term's start to its end."""
    if config.depth_prior_pseudo_weight <= 0:
        return []
    count = config.depth_prior_rounds
    return [int(config.steps * (PSEUDO_FROM + (PSEUDO_UNTIL - PSEUDO_FROM) * n / count)) for n in range(count)]
