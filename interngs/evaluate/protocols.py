# SPDX-License-Identifier: GPL-3.0-or-later
"""The few-view splits that papers report on: LLFF, DTU, Tanks and Temples.

A split counts views in the order of the capture, which for these sets must be the order of the file names.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InputError
from ..formats.split import Split, protocol_split

DTU_VIEWS = 49
DTU_TRAIN_ORDER = (25, 22, 28, 40, 44, 48, 0, 8, 13)
DTU_TEST = (1, 2, 9, 10, 11, 12, 14, 15, 23, 24, 26, 27, 29, 30, 31, 32, 33, 34, 35, 41, 42, 43, 45, 46, 47)
DTU_SCANS = (8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114)

TANKS_VIEWS = 24
TANKS_TEST = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22)
TANKS_TRAIN = {3: (0, 11, 23), 6: (0, 5, 9, 13, 17, 23), 9: (0, 3, 5, 9, 11, 13, 17, 19, 23)}
TANKS_SCENES = ("Family", "Horse", "Ballroom", "Barn", "Church", "Francis", "Ignatius", "Museum")


def llff(count: int, n_views: int) -> Split:
    """LLFF: every 8th view held out, training views spread evenly over the rest; see ``protocol_split``."""
    return protocol_split(count, n_views)


def dtu(count: int, n_views: int) -> Split:
    """DTU at 3, 6 or 9 views, on the 15 scans of ``DTU_SCANS``, of the 49 pictures of a scan.

    Yu et al., "pixelNeRF", CVPR 2021, chose the scans; Niemeyer et al., "RegNeRF", CVPR 2022, the views and the
    rule to measure inside the object's mask.  Pictures outside both lists (too dark, or of the table) are unused.

    Raises:
        InputError: the capture is no whole DTU scan, or the number of views is none of the protocol's.
    """
    _require("DTU", count, DTU_VIEWS, n_views, (3, 6, 9))
    return Split(DTU_TRAIN_ORDER[:n_views], DTU_TEST, "DTU protocol (RegNeRF): fixed views, 25 held out")


def tanks_and_temples(count: int, n_views: int) -> Split:
    """Tanks and Temples at 3, 6 or 9 of 24 frames of a scene, 12 held out, never the first or the last.

    Fan et al., "InstantSplat", 2024: the eight scenes of ``TANKS_SCENES``, 24 frames each.

    Raises:
        InputError: the capture has other than 24 frames, or the number of views is none of the protocol's.
    """
    _require("Tanks and Temples", count, TANKS_VIEWS, n_views, tuple(TANKS_TRAIN))
    return Split(TANKS_TRAIN[n_views], TANKS_TEST, "Tanks and Temples protocol (InstantSplat): 12 of 24 held out")


PROTOCOLS: dict[str, Callable[[int, int], Split]] = {"llff": llff, "dtu": dtu, "tanks": tanks_and_temples}


def _require(name: str, count: int, expected: int, n_views: int, allowed: tuple[int, ...]) -> None:
    if count != expected:
        raise InputError("protocol-views", f"The {name} protocol counts {expected} views; this capture has {count}.",
                         "Use the whole set, or give the split in a split.json.")
    if n_views not in allowed:
        raise InputError("protocol-views", f"The {name} protocol knows {allowed} training views, not {n_views}.",
                         "Choose one of these numbers.")
