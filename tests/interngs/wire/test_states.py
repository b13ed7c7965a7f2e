# SPDX-License-Identifier: GPL-3.0-or-later
"""Every legal move of a job, and the refusal of every other one."""

from __future__ import annotations

import pytest

from interngs.wire.errors import ServiceError
from interngs.wire.states import ACTIVE, COMMANDS, ENDED, MOVES, STATES, check_command, check_move

# Written out a second time, from docs/protocol.md section 9.
LEGAL = {
    ("draft", "uploading"), ("draft", "queued"), ("uploading", "queued"), ("queued", "preparing"),
    ("preparing", "training"), ("preparing", "finishing"), ("training", "finishing"), ("finishing", "done"),
    ("paused", "queued"), ("cancelled", "queued"), ("failed", "queued"),
    *((active, "queued") for active in ("preparing", "training", "finishing")),
    *((state, "paused") for state in ("queued", "preparing", "training", "finishing")),
    *((state, end) for end in ("cancelled", "failed")
      for state in ("draft", "uploading", "queued", "preparing", "training", "finishing", "paused")),
    *((state, "discarded") for state in STATES if state != "discarded"),
}


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_exactly_the_legal_moves_are_accepted(before, after):
    if (before, after) in LEGAL:
        check_move(before, after)
    else:
        with pytest.raises(ServiceError) as refused:
            check_move(before, after)
        assert refused.value.code == "illegal-move" and before in refused.value.cause


def test_every_state_can_be_reached_and_only_discarded_is_final():
    reached, frontier = {"draft"}, ["draft"]
    while frontier:
        for state in MOVES[frontier.pop()] - reached:
            reached.add(state)
            frontier.append(state)
    assert reached == set(STATES)
    assert [state for state in STATES if not MOVES[state]] == ["discarded"]
    assert ACTIVE.isdisjoint(ENDED)


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("state", STATES)
def test_commands_are_refused_where_they_make_no_sense(command, state):
    if state in COMMANDS[command]:
        check_command(command, state)
        target = {"pause": "paused", "resume": "queued", "cancel": "cancelled", "discard": "discarded"}[command]
        assert target in MOVES[state]
    else:
        with pytest.raises(ServiceError, match=f"cannot be told to {command}"):
            check_command(command, state)
