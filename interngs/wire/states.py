# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a job and the moves between them, as data."""

from __future__ import annotations

from typing import Literal, get_args

from .errors import ServiceError

JobState = Literal["draft", "uploading", "queued", "preparing", "training", "finishing", "paused",
                   "done", "cancelled", "failed", "discarded"]
Command = Literal["pause", "resume", "cancel", "discard"]

STATES: tuple[JobState, ...] = get_args(JobState)
ACTIVE: frozenset[JobState] = frozenset({"preparing", "training", "finishing"})
"""States in which a worker is at work."""
ENDED: frozenset[JobState] = frozenset({"done", "cancelled", "failed", "discarded"})
"""States in which nothing more happens by itself."""
WAITING: frozenset[JobState] = frozenset({"draft", "uploading", "queued"})
"""States that count against the limit of waiting jobs."""

MOVES: dict[JobState, frozenset[JobState]] = {
    "draft": frozenset({"uploading", "queued", "cancelled", "failed", "discarded"}),
    "uploading": frozenset({"queued", "cancelled", "failed", "discarded"}),
    "queued": frozenset({"preparing", "paused", "cancelled", "failed", "discarded"}),
    "preparing": frozenset({"training", "finishing", "queued", "paused", "cancelled", "failed", "discarded"}),
    "training": frozenset({"finishing", "queued", "paused", "cancelled", "failed", "discarded"}),
    "finishing": frozenset({"done", "queued", "paused", "cancelled", "failed", "discarded"}),
    "paused": frozenset({"queued", "cancelled", "failed", "discarded"}),
    "done": frozenset({"discarded"}),
    "cancelled": frozenset({"queued", "discarded"}),
    "failed": frozenset({"queued", "discarded"}),
    "discarded": frozenset(),
}
"""From each state, the states that may follow."""

COMMANDS: dict[Command, frozenset[JobState]] = {
    "pause": frozenset({"queued", "preparing", "training", "finishing"}),
    "resume": frozenset({"paused", "cancelled", "failed"}),
    "cancel": frozenset({"draft", "uploading", "queued", "preparing", "training", "finishing", "paused"}),
    "discard": frozenset(STATES) - {"discarded"},
}
"""The states in which each command is accepted."""


def check_move(before: JobState, after: JobState) -> None:
    """Raise ``ServiceError`` ``illegal-move`` unless ``MOVES`` has the move."""
    if after not in MOVES[before]:
        raise ServiceError("illegal-move", f"A job that is {before} cannot become {after}.",
                           "Ask for the job's state again; it has changed meanwhile.")


def check_command(command: Command, state: JobState) -> None:
    """Raise ``ServiceError`` ``illegal-move`` unless ``command`` is accepted in ``state``."""
    if state not in COMMANDS[command]:
        raise ServiceError("illegal-move", f"A job that is {state} cannot be told to {command}.",
                           f"This works while a job is {', '.join(sorted(COMMANDS[command]))}.")
