# SPDX-License-Identifier: GPL-3.0-or-later
"""The pretrained models of a run: which ones take part, what they say, and the report on it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch

from ..config import PipelineConfig
from ..evaluate.lpips import Lpips
from ..events import Event, Log
from ..geometry.prior import Geometry
from ..priors.choose import choose_appearance_prior, choose_depth_prior
from ..priors.contracts import AppearancePrior, DepthPrior
from ..priors.depth_cache import DepthCache
from ..scene.capture import Capture
from ..stopping import StopCheck, never
from .appearance_refresh import AppearanceTerm
from .depth_prior import DepthPriorTerm
from .prior_term import PriorTerm
from .pseudo_views import PseudoView


@dataclass(frozen=True)
class ModelPriors:
    """The pretrained models that take part in the optimisation, and why they do or do not."""

    depth: DepthPrior | None
    depth_reason: str
    appearance: AppearancePrior | None
    appearance_reason: str

    @classmethod
    def choose(cls, config: PipelineConfig, device: torch.device) -> ModelPriors:
        """What ``config`` asks for.  Raises ``InputError`` for a model that is not there."""
        return cls(*choose_depth_prior(config.depth_prior, device),
                   *choose_appearance_prior(config.appearance_prior, device))

    def terms(self, capture: Capture, geometry: Geometry, pseudo: list[PseudoView], config: PipelineConfig,
              cache: DepthCache, device: torch.device, lpips: Lpips | None = None, check: StopCheck = never,
              ) -> Generator[Event, None, list[PriorTerm]]:
        """Yields what is going on; returns the losses of the models.

        Photographs are looked at through ``cache``.  ``lpips`` joins the loss on repaired views.

        Raises:
            Stopped: ``check``, which is called before every call of a network, says so.
        """
        terms: list[PriorTerm] = []
        images = [view.image for view in capture.views]
        if self.depth is None:
            yield Log(f"Monocular depth: none, since {self.depth_reason}.")
        else:
            depth = self.depth
            yield Log(f"Monocular depth: {depth.identity.title} ({depth.identity.terms}); {self.depth_reason}.")
            term = DepthPriorTerm(depth, lambda pictures: cache.inverse_depth(depth, pictures, check), capture.views,
                                  geometry, pseudo, config.optimise, config.seed, device)
            if term.ignored:
                yield Log(f"{depth.identity.title} agrees with the geometry at no photograph, so it has no say there.",
                          "warning")
            terms.append(term)
        if self.appearance is not None:
            identity = self.appearance.identity
            yield Log(f"Repair of unseen views: {identity.title} ({identity.terms}); {self.appearance_reason}.")
            if lpips is not None:
                yield Log(f"Repaired views are compared by {lpips.name} ({lpips.terms}) too.")
            terms.append(AppearanceTerm(self.appearance, images, [view.camera for view in geometry.views], pseudo,
                                        config.optimise, config.seed, device, lpips))
        return terms

    def report(self, terms: list[PriorTerm]) -> dict[str, Any]:
        """Per purpose: the model, its licence and what it said, or why there was none."""
        told = {entry["purpose"]: entry for entry in (term.report() for term in terms)}
        return {purpose: {"reason": reason, **told.get(purpose, {"model": None})}
                for purpose, reason in (("depth", self.depth_reason), ("appearance", self.appearance_reason))}
