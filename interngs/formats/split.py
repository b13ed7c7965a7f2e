# SPDX-License-Identifier: GPL-3.0-or-later
"""Which views train and which are held out: split.json of a data folder, else the LLFF protocol."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .detect import find_capture
from .pose_files import read_split_file, split_pose_file

HOLD_OUT_EVERY = 8


@dataclass(frozen=True)
class Split:
    """Indices into the views of the capture that ``find_capture`` gives for the same path.

    Attributes:
        train: training views.
        held_out: views to measure on, never trained with.
        rule: where the split comes from, in words.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    rule: str = ""


def find_split(path: str | os.PathLike[str], n_views: int) -> Split:
    """The split with ``n_views`` training views of the capture at ``path``.

    split.json decides when it lists that number of views and its indices refer to what ``path`` is (the folder, or
    the pose file that split.json names).  Otherwise the LLFF protocol (``protocol_split``); where training and test
    views come in files of their own, training views spread evenly over the first and all of the second held out.
    ``rule`` says which it was.

    Raises:
        InputError: a broken split.json, or a capture with too few views.
    """
    path = Path(path)
    count = len(find_capture(path).views)
    folder = path if path.is_dir() else path.parent
    named = split_pose_file(folder)
    pair = named if isinstance(named, tuple) and path.is_dir() else None
    first_test = len(find_capture(pair[0]).views) if pair else 0
    content = read_split_file(folder)
    if content is not None and (path.is_dir() or path == named):
        listed = _listed(content, n_views, folder / "split.json")
        if listed is not None:
            train, held_out = listed
            return _checked(Split(train, tuple(first_test + index for index in held_out),
                                  f"split.json: {content.get('rule', 'no rule given')}"), first_test or count, count)
    if pair:
        train = tuple(_spread(list(range(first_test)), n_views))
        return Split(train, tuple(range(first_test, count)), "training views spread evenly, all test views held out")
    return protocol_split(count, n_views)


def protocol_split(count: int, n_views: int) -> Split:
    """The few-view protocol of the LLFF scenes: every 8th view held out, training views spread evenly over the rest.

    Niemeyer et al., "RegNeRF", CVPR 2022, section 4 (sampling evenly as in its released code).

    Args:
        count: views of the capture.
        n_views: training views wanted.

    Raises:
        InputError: there are too few views.
    """
    held_out = tuple(range(0, count, HOLD_OUT_EVERY))
    rest = [index for index in range(count) if index % HOLD_OUT_EVERY]
    return Split(tuple(_spread(rest, n_views)), held_out, "LLFF protocol: every 8th view held out")


def _spread(candidates: list[int], n_views: int) -> list[int]:
    if not 1 <= n_views <= len(candidates):
        raise InputError("split-views", f"{n_views} training views were asked for; {len(candidates)} can be had.",
                         "Ask for another number of views.")
    return [candidates[round(position)] for position in np.linspace(0, len(candidates) - 1, n_views)]


def _listed(content: dict[str, Any], n_views: int, file: Path) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(train, test) indices that split.json lists for ``n_views``, or None when it does not list that number."""
    splits = content.get("splits")
    entry = splits.get(str(n_views)) if isinstance(splits, dict) else None
    if entry is None:
        return None
    lists = [entry.get(key) if isinstance(entry, dict) else None for key in ("train", "test")]
    if not all(isinstance(part, list) and all(type(index) is int for index in part) for part in lists):
        raise InputError("split-broken", f"The split for {n_views} views in {file} is no pair of index lists.",
                         "Correct the file.")
    train, test = lists
    return tuple(train or ()), tuple(test or ())


def _checked(split: Split, train_count: int, count: int) -> Split:
    train, held_out = set(split.train), set(split.held_out)
    outside = [index for index in split.train if not 0 <= index < train_count]
    outside += [index for index in split.held_out if not 0 <= index < count]
    if outside or train & held_out or len(train) != len(split.train):
        raise InputError("split-broken", f"The split names views that the capture does not have ({outside[:5]}), "
                         f"or one twice; the capture has {count}.", "Correct split.json.")
    return split
