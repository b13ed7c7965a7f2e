# SPDX-License-Identifier: GPL-3.0-or-later
"""Which depth and appearance prior a run gets, and why, in words for the report."""

from __future__ import annotations

import importlib.util

import torch

from ..errors import InputError
from .appearance import DiffusionRepair
from .catalogue import CONTROL_MODEL, DEPTH_MODEL, DIFFUSION_MODEL, Model, model_called
from .contracts import AppearancePrior, DepthPrior
from .depth import TransformersDepth
from .locations import find_model
from .own_models import known_model
from .weights import missing

NONE, AUTO = "none", "auto"
CONTROLLED, PLAIN = "controlnet-tile", "img2img"


def choose_depth_prior(requested: str, device: torch.device) -> tuple[DepthPrior | None, str]:
    """The monocular depth network for ``requested``, and the reason.

    ``auto`` takes Depth Anything V2 Small when its weights and transformers are on this machine, else none;
    ``none`` does without; any other word is the name of a model, which must be there.

    Raises:
        InputError: a model asked for by name is unknown, not for depth, or not on this machine.
    """
    if requested == NONE:
        return None, "it is switched off"
    if requested == AUTO:
        model = model_called(DEPTH_MODEL)
        if find_model(model) is None:
            return None, f"the weights of {model.title} are not on this machine"
        if importlib.util.find_spec("transformers") is None:
            return None, (f"the weights of {model.title} are here, but the package transformers is not installed "
                          "(pip install 'interngs[priors]')")
    else:
        model = _named(requested, "depth")
    found = find_model(model)
    if found is None:
        raise missing(model)
    why = f"its weights are in {found.location.words}" if requested == AUTO else "asked for"
    return TransformersDepth(found.path, model.title, model.terms, device), why


def choose_appearance_prior(requested: str, device: torch.device) -> tuple[AppearancePrior | None, str]:
    """What repairs renders for ``requested``, and the reason.

    ``controlnet-tile`` is Stable Diffusion 1.5 with the ControlNet for tiles, ``img2img`` the same without,
    ``none`` does without; any other word is the name of an own image-to-image model.

    Raises:
        InputError: what is asked for is unknown, not for appearance, or not on this machine.
    """
    if requested == NONE:
        return None, "it was not asked for"
    control = None
    if requested in (CONTROLLED, PLAIN):
        model = model_called(DIFFUSION_MODEL)
        control = model_called(CONTROL_MODEL) if requested == CONTROLLED else None
    else:
        model = _named(requested, "appearance")
        if model.name == CONTROL_MODEL:
            raise InputError("model-purpose", f"{model.title} repairs nothing by itself.",
                             f"Use --appearance-prior {CONTROLLED}.")
    folders = []
    for part in filter(None, (model, control)):
        found = find_model(part)
        if found is None:
            raise missing(part)
        folders.append(found.path)
    title, terms = model.title, model.terms
    if control is not None:
        title, terms = f"{title} with {control.title}", f"{terms}; {control.title}: {control.terms}"
    return DiffusionRepair(folders[0], folders[1] if control else None, title, terms, device), "asked for"


def _named(name: str, purpose: str) -> Model:
    model = known_model(name)
    if model.purpose != purpose:
        raise InputError("model-purpose", f"{model.title} is a model for {model.purpose}, not for {purpose}.",
                         "'interngs weights list' shows what each model is for.")
    return model
