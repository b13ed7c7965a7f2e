# SPDX-License-Identifier: GPL-3.0-or-later
"""Model files on this machine: list, add, download, verify.  Nothing is fetched unless asked for."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError, InternGSError
from ..storage import atomic_write
from .catalogue import CATALOGUE, Model, model_called
from .locations import FoundModel, find_model, locations, own_folder, user_weights_folder
from .own_models import MANIFEST, known_model, own_models

ACCEPTED = "accepted-licences.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ModelState:
    """A model and where it is, if it is."""

    model: Model
    found: FoundModel | None


def list_models(catalogue: tuple[Model, ...] = CATALOGUE) -> list[ModelState]:
    """Every known model, the user's own included, with its place on this machine."""
    return [ModelState(model, find_model(model)) for model in (*catalogue, *own_models(catalogue))]


def model_path(name: str, catalogue: tuple[Model, ...] = CATALOGUE) -> Path:
    """Folder or file of the model called ``name``.

    Raises:
        InputError: unknown, or not on this machine: names file, licence and the command that installs it.
    """
    model = known_model(name, catalogue)
    found = find_model(model)
    if found is None:
        raise missing(model)
    return found.path


def missing(model: Model) -> InputError:
    """The error for a model that is not on this machine."""
    wanted = " or ".join(filter(None, [model.single_file, f"{model.hub_repository}/{model.files[-1]}"]))
    looked = ", ".join(str(place.folder) for place in locations())
    return InputError(
        "weights-missing",
        f"The weights of {model.title} ({wanted}; {model.size_bytes / 1e9:.1f} GB; {model.terms}) are not on this "
        f"machine; looked in {looked}.",
        f"Run 'interngs weights download {model.name}', or 'interngs weights add FILE_OR_FOLDER' for a copy you have.")


def add(path: Path, name: str | None = None, catalogue: tuple[Model, ...] = CATALOGUE) -> FoundModel:
    """Check a model's file or folder and copy it to where this program looks.

    Args:
        name: which model it is; by default told from the file itself (DUSt3R).

    Raises:
        InputError: missing, damaged, of no known model, or of another than ``name``.
        InternGSError: the disk is full or not writable; an older copy stays.
    """
    if not path.exists():
        raise InputError("no-such-path", f"{path} does not exist.", "Check the path.")
    model = model_called(name, catalogue) if name else _recognise(path, catalogue)
    _check_content(path, model)
    return _install(path, model, f"added from {path}")


def add_own(path: Path, model: Model) -> FoundModel:
    """Copy a model of the user's own, of a kind that is known here (see ``own_models.describe``).

    Raises:
        InputError: the folder is missing or damaged.
        InternGSError: the disk is full or not writable; an older copy stays.
    """
    _check_content(path, model)
    return _install(path, model, f"added from {path}")


def download(
    name: str, accept: Callable[[Model], bool], catalogue: tuple[Model, ...] = CATALOGUE
) -> FoundModel:
    """Fetch a model from the Hugging Face hub; an interrupted download goes on where it stopped.

    Args:
        accept: asked once per licence whether the user accepts it; the answer yes is remembered.

    Raises:
        InputError: unknown model, offline mode, licence refused, or the downloader is not installed.
        InternGSError: the download failed or the disk is full.
    """
    model = model_called(name, catalogue)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise InputError("offline", f"HF_HUB_OFFLINE is set, so {model.title} is not downloaded.",
                         f"Unset it, or fetch https://huggingface.co/{model.hub_repository} elsewhere and run "
                         "'interngs weights add FOLDER'.")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError("downloader-missing", "Downloading needs the package huggingface_hub, which is not installed.",
                         "Run 'pip install huggingface_hub', or fetch the files by hand and run "
                         "'interngs weights add FOLDER'.") from error
    _ask_for_licence(model, accept)
    staging = own_folder() / f".{model.name}.download"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        hub.snapshot_download(repo_id=model.hub_repository, allow_patterns=model.file_names, local_dir=str(staging))
    except _download_errors() as error:
        raise InternGSError("download-failed", f"{model.title} could not be downloaded: {_first_line(error)}.",
                            f"Run 'interngs weights download {model.name}' again; it goes on where it "
                            "stopped.") from error
    _check_content(staging, model)
    found = _install(staging, model, f"https://huggingface.co/{model.hub_repository}", move=True)
    shutil.rmtree(staging)
    return found


def verify(name: str, catalogue: tuple[Model, ...] = CATALOGUE) -> FoundModel:
    """Check a model on this machine: sizes and hashes where they are known, then the content.

    Raises:
        InputError: missing, truncated, changed since it was added, or not what its name says.
    """
    model = known_model(name, catalogue)
    found = find_model(model)
    if found is None:
        raise missing(model)
    for file, size, digest in known_hashes(found.path):
        if not file.is_file():
            raise InputError("weights-missing", f"{file} is gone.", _again(model))
        if size is not None and file.stat().st_size != size:
            raise InputError("weights-truncated", f"{file} has {file.stat().st_size:,} bytes instead of {size:,}: it "
                             "is truncated or was changed.", _again(model))
        if sha256_of(file) != digest:
            raise InputError("weights-tampered", f"{file} is not the file that was added: its content has changed.",
                             _again(model))
    _check_content(found.path, model)
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _again(model: Model) -> str:
    return f"Run 'interngs weights download {model.name}' (or 'interngs weights add') again."


def known_hashes(path: Path) -> list[tuple[Path, int | None, str]]:
    """(file, size, SHA-256) of what is recorded: in our own note, or in the hub cache's blob names (without sizes).

    Raises:
        InputError: the note is damaged.
    """
    folder = path if path.is_dir() else path.parent
    note = folder / MANIFEST
    if note.is_file():
        try:
            files = json.loads(note.read_text(encoding="utf-8"))["files"]
            return [(folder / name, int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("weights-tampered", f"{note}, which holds the files' hashes, is damaged.",
                             "Remove the folder and add the model again.") from error
    if path.is_dir():
        # The cache links each large file to a blob that is called by its SHA-256.
        blobs = [(file, file.resolve().name) for file in path.iterdir() if file.is_symlink()]
        return [(file, None, blob) for file, blob in blobs if re.fullmatch(r"[0-9a-f]{64}", blob)]
    return []


def _recognise(path: Path, catalogue: tuple[Model, ...]) -> Model:
    from ..geometry.dust3r.checkpoint import inspect_checkpoint  # noqa: PLC0415  (torch is slow to load)

    config = inspect_checkpoint(path)
    for model in catalogue:
        if model.network == config:
            return model
    raise InputError("weights-wrong", f"{path.name} is a DUSt3R checkpoint of an unknown shape ({config.head} head, "
                     f"encoder {config.encoder_depth} x {config.encoder_width}, {config.long_side_px} px).",
                     "Only the released models can be added; 'interngs weights list' shows them.")


def _check_content(path: Path, model: Model) -> None:
    """Raise ``InputError`` unless ``path`` holds ``model``, whole."""
    if model.network is not None:
        from ..geometry.dust3r.checkpoint import inspect_checkpoint  # noqa: PLC0415  (torch is slow to load)

        config = inspect_checkpoint(path)
        if config != model.network:
            raise InputError("weights-wrong", f"{path.name} is another DUSt3R than {model.name}: {config.head} head, "
                             f"{config.long_side_px} px, encoder {config.encoder_depth} x {config.encoder_width}.",
                             "Check which model this file is.")
        return
    absent = model.missing_in(path)
    if absent is not None:
        raise InputError("weights-missing", f"{path} has no {absent}, so it is no {model.title}.",
                         f"Its folder holds {', '.join(model.files)}.")
    for name in model.files_in(path):
        file = path / name
        if file.suffix == ".safetensors":
            _check_safetensors(file, model)
        elif file.suffix == ".json":
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError("weights-wrong", f"{file} is no JSON.", _again(model)) from error


def _check_safetensors(file: Path, model: Model) -> None:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415  (keep 'list' quick)

    try:
        with safe_open(file, framework="np") as tensors:
            count = len(list(tensors.keys()))
    except (SafetensorError, OSError) as error:
        raise InputError("weights-unreadable", f"{file} is truncated or damaged ({_first_line(error)}).",
                         _again(model)) from error
    if count == 0:
        raise InputError("weights-wrong", f"{file} holds no tensors.", _again(model))


def _install(path: Path, model: Model, source: str, move: bool = False) -> FoundModel:
    """Put a checked model under its name: an older one stays until the new one is whole.

    ``move`` takes the files themselves, when they lie on the same disk and nobody else needs them.
    """
    target = own_folder() / model.name
    partial = target.with_name(f".{model.name}.{secrets.token_hex(4)}.partial")
    try:
        files = {model.single_file or path.name: path} if path.is_file() else {
            name: path / name for name in model.files_in(path)}
        recorded: dict[str, dict[str, Any]] = {}
        for name, file in files.items():
            if move:
                recorded[name] = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                file.replace(partial / name)
            else:
                recorded[name] = _copy(file, partial / name)
        note = {"model": model.name, "purpose": model.purpose, "licence": model.licence,
                "licence_url": model.licence_url, "commercial_use": model.commercial_use, "source": source,
                "files": recorded}
        atomic_write(partial / MANIFEST, json.dumps(note, indent=1).encode())
        _put_in_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    found = find_model(model)
    if found is None:
        raise InternGSError("weights-not-stored", f"{target} was written but cannot be found again.",
                            "Check the folder's permissions.")
    return found


def _copy(source: Path, target: Path) -> dict[str, Any]:
    """Copy one file and return its size and hash."""
    digest, size = hashlib.sha256(), 0

    def write(out: BinaryIO) -> None:
        nonlocal size
        with source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                out.write(chunk)

    atomic_write(target, write)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _put_in_place(partial: Path, target: Path) -> None:
    try:
        if target.exists():
            # A folder cannot be replaced in one step on every system: the old one steps aside first.
            old = partial.with_suffix(".old")
            target.replace(old)
            try:
                partial.replace(target)
            except OSError:
                old.replace(target)
                raise
            shutil.rmtree(old)
        else:
            partial.replace(target)
    except OSError as error:
        raise InternGSError("not-writable", f"{target} cannot be written: {error.strerror}.",
                            "Check the folder's permissions and that no program has the weights open.") from error


def _ask_for_licence(model: Model, accept: Callable[[Model], bool]) -> None:
    record = user_weights_folder() / ACCEPTED
    try:
        accepted = set(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # No record, or a damaged one: the user is asked (again).
        accepted = set()
    agreed_to = f"{model.title}: {model.licence}"
    if agreed_to in accepted:
        return
    if not accept(model):
        raise InputError("licence-refused", f"The licence of {model.title} ({model.terms}) was not accepted.",
                         "Nothing was downloaded.")
    atomic_write(record, json.dumps(sorted(accepted | {agreed_to}), indent=1).encode())


def _download_errors() -> tuple[type[Exception], ...]:
    """What the hub library raises when a download fails: mostly OSError, else its HTTP layer's own."""
    usual = (OSError, ValueError, RuntimeError)
    try:
        return (*usual, importlib.import_module("httpx").HTTPError)
    except (ImportError, AttributeError):
        return usual


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
