# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that the user adds beside the known ones, under a name and with a licence that the user states."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .catalogue import CATALOGUE, Model, model_called
from .locations import hub_cache_folder, locations

MANIFEST = "interngs-weights.json"
"""Beside a model's files: which model they are, their sizes and SHA-256 from when they were added."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KINDS = {"depth": "config.json", "appearance": "model_index.json"}
_SUFFIXES = frozenset({".json", ".safetensors", ".txt"})


def describe(path: Path, name: str, purpose: Literal["depth", "appearance"], licence: str, commercial_use: bool,
             catalogue: tuple[Model, ...] = CATALOGUE) -> Model:
    """The model in a folder of transformers' layout (depth) or diffusers' (appearance), under the user's name for it.

    Raises:
        InputError: the name is taken or no plain name, or the folder is of another kind.
    """
    if not NAME.fullmatch(name):
        raise InputError("model-name", f"{name!r} cannot be a model's name.",
                         "Use letters, digits, dots, hyphens and underscores, 64 at most.")
    if any(model.name == name for model in catalogue):
        raise InputError("model-name", f"{name!r} is a model that is known already.",
                         "Leave --purpose out to add that one, or choose another name.")
    if not (path / _KINDS[purpose]).is_file():
        raise InputError("weights-wrong", f"{path} has no {_KINDS[purpose]}, so it holds no model for {purpose}.",
                         "Point at the model's folder, as its library saves it.")
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*")
                   if file.suffix in _SUFFIXES and file.is_file() and file.name != MANIFEST)
    if not any(file.endswith(".safetensors") for file in files):
        raise InputError("weights-wrong", f"{path} holds no weights as safetensors.",
                         "Save the model as safetensors; other formats can hold programs and are not read.")
    size = sum((path / file).stat().st_size for file in files)
    return Model(name, name, purpose, "", tuple(files), size, licence, "", commercial_use)


def own_models(catalogue: tuple[Model, ...] = CATALOGUE) -> list[Model]:
    """The models on this machine that the user added under names of their own."""
    known, found = {model.name for model in catalogue}, []
    for place in locations():
        if place.folder == hub_cache_folder() or not place.folder.is_dir():
            continue
        for note in sorted(place.folder.glob(f"*/{MANIFEST}")):
            model = _read(note)
            if model is not None and model.name not in known and NAME.fullmatch(model.name):
                known.add(model.name)
                found.append(model)
    return found


def known_model(name: str, catalogue: tuple[Model, ...] = CATALOGUE) -> Model:
    """The model called ``name``, of the catalogue or the user's own.

    Raises:
        InputError: there is none.
    """
    return model_called(name, (*catalogue, *own_models(catalogue)))


def _read(note: Path) -> Model | None:
    """The model that a note describes; ``None`` for a damaged note ('verify' tells of those)."""
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
        files = values["files"]
        if values["purpose"] not in _KINDS or values["model"] != note.parent.name:
            return None
        return Model(
            values["model"], values["model"], values["purpose"], "", tuple(files),
            sum(int(entry["bytes"]) for entry in files.values()), str(values["licence"]), str(values["licence_url"]),
            bool(values["commercial_use"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
