# SPDX-License-Identifier: GPL-3.0-or-later
"""Frozen dataclasses to plain msgpack-ready values and back, every type checked against the field's hint."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from .errors import WireError
from .limits import HEADER_DEPTH

Record = TypeVar("Record")
Plain = Any
"""None, bool, int, float, str, bytes, or lists and text-keyed dicts of these."""


def to_plain(value: Any) -> Plain:
    """A record as dicts, lists and scalars.  Arrays are left out: they travel as raw frames."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((entry.name, getattr(value, entry.name)) for entry in fields(value))
        return {name: to_plain(item) for name, item in pairs if not isinstance(item, np.ndarray)}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return value


def from_plain(kind: type[Record], values: Plain) -> Record:
    """A record of class ``kind`` from ``to_plain``'s form; unknown keys are ignored.

    Raises:
        WireError: a required field is missing or a value has another type than its field.
    """
    hint: Any = kind
    record: Record = _reader(hint)(values, kind.__name__)
    return record


Reader = Callable[[Any, str], Any]


def _record_reader(kind: type) -> Reader:
    hints = get_type_hints(kind)
    readers = [(entry.name, _reader(hints[entry.name]), entry.default is MISSING and entry.default_factory is MISSING)
               for entry in fields(kind)]

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise WireError(f"{where} is no map.")
        found = {}
        for name, read_field, required in readers:
            if name in value:
                found[name] = read_field(value[name], f"{where}.{name}")
            elif required:
                raise WireError(f"{where} lacks {name}.")
        return kind(**found)

    return read


@cache
def _reader(hint: Any) -> Reader:
    """The function that checks and converts a value for a type hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _read_json
    if origin is Literal:
        return lambda value, where: _one_of(value, arguments, where)
    if origin in (Union, types.UnionType):
        (inner,) = (_reader(argument) for argument in arguments if argument is not types.NoneType)
        return lambda value, where: None if value is None else inner(value, where)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value, where: tuple(item(entry, where) for entry in _expect(value, (list, tuple), where))
    if origin is dict:
        return lambda value, where: _read_json(_expect(value, (dict,), where), where)
    if origin is np.ndarray or hint is np.ndarray:
        return lambda value, where: _expect(value, (np.ndarray,), where)
    return _simple_reader(hint)


def _simple_reader(hint: Any) -> Reader:
    if hint is float:
        return _read_float
    if hint in (int, str, bytes, bool):
        return lambda value, where: _expect(value, (hint,), where)
    if is_dataclass(hint) and isinstance(hint, type):
        return _record_reader(hint)
    raise TypeError(f"records cannot hold {hint!r}")


def _one_of(value: Any, accepted: tuple[Any, ...], where: str) -> Any:
    if not isinstance(value, (str, int)) or value not in accepted:
        raise WireError(f"{where} is none of {', '.join(map(str, accepted))}.")
    return value


def _expect(value: Any, kinds: tuple[type, ...], where: str) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise WireError(f"{where} is {type(value).__name__}, not {kinds[0].__name__}.")
    return value


def _read_float(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WireError(f"{where} is {type(value).__name__}, not a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise WireError(f"{where} is not finite.")
    return number


def _read_json(value: Any, where: str, depth: int = 0) -> Any:
    """A JSON-like value: text keys, finite numbers, bounded depth."""
    if depth > HEADER_DEPTH:
        raise WireError(f"{where} is nested too deeply.")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return _read_float(value, where)
    if isinstance(value, (list, tuple)):
        return [_read_json(item, where, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _read_json(item, where, depth + 1) for key, item in value.items()}
    raise WireError(f"{where} holds {type(value).__name__}.")
