# SPDX-License-Identifier: GPL-3.0-or-later
"""The error that names views which could not be placed."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import InputError


class ViewsNotAligned(InputError):
    """Some views could not be placed; ``views`` are their indices, ``why`` the reason."""

    def __init__(self, views: Sequence[int], why: str, names: Sequence[str] | None = None) -> None:
        called = ", ".join(repr(names[view]) if names else str(view + 1) for view in views)
        photos = "Photo" if len(views) == 1 else "Photos"
        super().__init__("view-not-aligned", f"{photos} {called} could not be aligned with the others: {why}.",
                         "Leave out what is named here, or add photos that overlap it.")
        self.views, self.why = tuple(views), why
