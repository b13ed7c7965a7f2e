# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol's own number and the names of capabilities."""

from __future__ import annotations

PROTOCOL = 2
"""The number this package speaks best."""
PROTOCOL_MIN = 1
"""The oldest number it still speaks (N - 1)."""

CAPABILITIES = ("preview-blocks", "resume", "partial-results", "priorities", "render")
"""What a server of this package can do beyond the protocol's floor; a client may require any of them in its hello."""


def agree(theirs_min: int, theirs_max: int) -> int | None:
    """The highest number that both sides speak, or None."""
    best = min(PROTOCOL, theirs_max)
    return best if best >= max(PROTOCOL_MIN, theirs_min) else None
