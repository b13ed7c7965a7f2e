# SPDX-License-Identifier: GPL-3.0-or-later
"""The published few-view splits, as their papers and released code state them."""

from __future__ import annotations

import pytest

from interngs.errors import InputError
from interngs.evaluate.protocols import PROTOCOLS, dtu, llff, tanks_and_temples


def test_llff_of_twenty_views() -> None:
    assert llff(20, 3).train == (1, 10, 19)
    assert llff(20, 9).train == (1, 3, 5, 7, 10, 12, 14, 17, 19)
    assert llff(20, 3).held_out == (0, 8, 16)


def test_dtu_views_grow_and_leave_25_held_out() -> None:
    assert dtu(49, 3).train == (25, 22, 28)
    assert dtu(49, 9).train == (25, 22, 28, 40, 44, 48, 0, 8, 13)
    assert len(set(dtu(49, 6).held_out)) == 25


def test_tanks_keep_first_and_last_for_training() -> None:
    for n_views in (3, 6, 9):
        split = tanks_and_temples(24, n_views)
        assert {0, 23} <= set(split.train) and len(split.train) == n_views
        assert len(split.held_out) == 12


@pytest.mark.parametrize("name", ["dtu", "tanks"])
def test_other_captures_and_counts_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="counts"):
        PROTOCOLS[name](17, 3)
    with pytest.raises(InputError, match="training views"):
        PROTOCOLS[name]({"dtu": 49, "tanks": 24}[name], 4)


@pytest.mark.parametrize(("name", "count"), [("llff", 30), ("dtu", 49), ("tanks", 24)])
@pytest.mark.parametrize("n_views", [3, 6, 9])
def test_training_and_held_out_views_never_meet(name: str, count: int, n_views: int) -> None:
    split = PROTOCOLS[name](count, n_views)
    assert len(split.train) == n_views and not set(split.train) & set(split.held_out)
    assert max(*split.train, *split.held_out) < count
