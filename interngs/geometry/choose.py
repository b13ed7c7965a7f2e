# SPDX-License-Identifier: GPL-3.0-or-later
"""Which geometry a capture gets, and why."""

from __future__ import annotations

from typing import Literal

import torch

from ..errors import InputError
from ..priors.catalogue import GEOMETRY_MODELS, Model, model_called
from ..priors.locations import FoundModel, find_model
from ..priors.weights import missing
from ..scene.capture import Capture
from .dust3r.prior import Dust3r
from .given_depth import GivenDepth
from .plane_sweep import PlaneSweep
from .prior import GeometryPrior
from .sfm import StructureFromMotion

GeometryMethod = Literal["auto", "dust3r", "plane-sweep", "given-depth"]


def choose_geometry(
    capture: Capture,
    requested: GeometryMethod = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 0,
) -> tuple[GeometryPrior, str]:
    """The geometry for ``capture``, and the reason in words (it goes into the report).

    ``auto`` takes given depth when every view has depth and pose, DUSt3R when its weights are on this
    machine, else plane sweep.  A view without pose means that the poses are estimated: by DUSt3R, else
    by structure from motion.

    Args:
        device: where a network runs; ``auto`` takes CUDA where torch has it.
        threads: CPU threads for structure from motion; 0 takes all.

    Raises:
        InputError: what was asked for by name is not possible: weights missing (file, licence and the
            command that installs it are named), or depth missing.
    """
    posed = all(view.camera is not None for view in capture.views)
    has_depth = posed and all(view.depth is not None for view in capture.views)
    if requested == "given-depth" or (requested == "auto" and has_depth):
        without = [view.name for view in capture.views if view.depth is None or view.camera is None]
        if without:
            raise InputError("depth-missing", f"{without[0]!r} has no depth or no pose, so given depth cannot be used.",
                             "Give every photo both, or choose another geometry.")
        return GivenDepth(), "asked for" if requested != "auto" else "every view came with depth and pose"
    weights = _dust3r_weights() if requested != "plane-sweep" else None
    if requested == "dust3r" and weights is None:
        raise missing(model_called(GEOMETRY_MODELS[0]))
    if weights is not None:
        model, place = weights
        prior = Dust3r.from_weights(place.path, _device(device), f"{model.title} ({model.terms})")
        why = "asked for" if requested == "dust3r" else f"its weights are in {place.location.words}"
        return prior, f"{why}; {_poses_in_words(posed)}; weights: {model.terms}"
    why = "asked for" if requested == "plane-sweep" else "the weights of DUSt3R are not on this machine"
    if posed:
        return PlaneSweep(), why
    why += "; poses are missing, so they come from matched features"
    return StructureFromMotion(PlaneSweep(), threads or -1), why


def _dust3r_weights() -> tuple[Model, FoundModel] | None:
    for model in map(model_called, GEOMETRY_MODELS):
        if (found := find_model(model)) is not None:
            return model, found
    return None


def _poses_in_words(posed: bool) -> str:
    return "the given poses are kept" if posed else "poses are missing and estimated with it"


def _device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
