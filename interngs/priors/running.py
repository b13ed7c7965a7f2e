# SPDX-License-Identifier: GPL-3.0-or-later
"""What running any pretrained model needs: its library, the identity of its files, clear errors, memory given back."""

from __future__ import annotations

import gc
import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import InputError, InternGSError
from .own_models import MANIFEST
from .weights import known_hashes, sha256_of

WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt"})
_SHORT_OF_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")


def library(name: str) -> Any:
    """Import ``transformers`` or ``diffusers``.

    Raises:
        InputError: it is not installed, or does not work here.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError("library-missing", f"The package {name}, which runs this model, cannot be used "
                         f"({first_line(error)}).",
                         "Run: pip install 'interngs[priors]'; or switch this model off.") from error


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and hashes of a model's files, in hexadecimal.

    A file that still has the size it was added with keeps the hash from then ('interngs weights verify'
    checks those): gigabytes need not be read at the start of every run.
    """
    recorded = {file: (size, sha256) for file, size, sha256 in known_hashes(folder)}
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in WEIGHT_SUFFIXES and path.is_file()):
        if path.name == MANIFEST:
            continue
        size, sha256 = recorded.get(path, (None, ""))
        if size is None or size != path.stat().st_size:
            sha256 = sha256_of(path)
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256}\0".encode())
    return digest.hexdigest()


@contextmanager
def explained(title: str, folder: Path, switch_off: str) -> Iterator[None]:
    """Turn what the libraries raise over a model into an error that says what to do.

    Args:
        title: the model in words.
        switch_off: the option that does without it.
    """
    try:
        yield
    except InternGSError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _short_of_memory(title, switch_off) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError,
            SafetensorError) as error:
        if isinstance(error, RuntimeError | OSError) and any(s in str(error).lower() for s in _SHORT_OF_MEMORY):
            raise _short_of_memory(title, switch_off) from error
        raise InputError("weights-wrong", f"{title} in {folder} cannot be used: {first_line(error)}.",
                         f"Check the folder ('interngs weights verify'), choose another model, or {switch_off}."
                         ) from error


def _short_of_memory(title: str, switch_off: str) -> InternGSError:
    return InternGSError("out-of-memory", f"There is not enough memory for {title}.",
                         "Close other programs, choose a smaller model or preset, run it on the CPU (--device cpu), "
                         f"or {switch_off}.")


@contextmanager
def memory_given_back(device: torch.device) -> Iterator[None]:
    """Give a model's memory back at the end, so that the next one finds the GPU empty."""
    try:
        yield
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind when it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
