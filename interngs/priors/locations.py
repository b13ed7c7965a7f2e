# SPDX-License-Identifier: GPL-3.0-or-later
"""Where model files may lie on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Model

WEIGHTS_VARIABLE = "INTERNGS_WEIGHTS"


@dataclass(frozen=True)
class Location:
    """One place: its folder, and what it is in words."""

    folder: Path
    words: str


@dataclass(frozen=True)
class FoundModel:
    """A model on this machine: the folder of its hub layout or its single file, and where that was found."""

    path: Path
    location: Location


def user_weights_folder() -> Path:
    """Where this program keeps the weights of the user who runs it."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "interngs" / "weights"


def offline_folder() -> Path | None:
    """The folder that ``INTERNGS_WEIGHTS`` names, if it names one."""
    value = os.environ.get(WEIGHTS_VARIABLE)
    return Path(value).expanduser() if value else None


def hub_cache_folder() -> Path:
    """The Hugging Face cache, found as its own library finds it."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "huggingface" / "hub"


def own_folder() -> Path:
    """Where ``add`` and ``download`` put models: the folder of ``INTERNGS_WEIGHTS``, else the user's."""
    return offline_folder() or user_weights_folder()


def locations() -> list[Location]:
    """All places, in the order they are looked at."""
    named = offline_folder()
    places = [Location(named, f"the folder in {WEIGHTS_VARIABLE}")] if named else []
    places.append(Location(user_weights_folder(), "your data folder"))
    places.append(Location(hub_cache_folder(), "the Hugging Face cache"))
    return places


def find_model(model: Model) -> FoundModel | None:
    """The first place that holds ``model``; only names of files are looked at, nothing is read."""
    for place in locations():
        is_cache = place.folder == hub_cache_folder()
        for path in _in_cache(model, place.folder) if is_cache else _candidates(model, place.folder):
            if path.is_file() or (path.is_dir() and model.missing_in(path) is None):
                return FoundModel(path, place)
    return None


def _candidates(model: Model, root: Path) -> list[Path]:
    own = root / model.name
    paths = [own]
    if model.single_file:
        paths += [own / model.single_file, root / model.single_file]
    # A clone of the hub's repository keeps the repository's name.
    return [*paths, root / model.hub_repository.rpartition("/")[2]] if model.hub_repository else paths


def _in_cache(model: Model, cache: Path) -> list[Path]:
    repository = cache / ("models--" + model.hub_repository.replace("/", "--"))
    snapshots = repository / "snapshots"
    if not snapshots.is_dir():
        return []
    newest_first = sorted((path for path in snapshots.iterdir() if path.is_dir()),
                          key=lambda path: path.stat().st_mtime, reverse=True)
    reference = repository / "refs" / "main"
    if reference.is_file():
        current = reference.read_text(encoding="utf-8").strip()
        newest_first.sort(key=lambda path: path.name != current)
    return newest_first
