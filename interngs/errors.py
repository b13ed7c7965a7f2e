# SPDX-License-Identifier: GPL-3.0-or-later
"""The base error: what happened, why, and what to do next."""

from __future__ import annotations


class InternGSError(Exception):
    """An error a person can act on.

    Attributes:
        code: stable short name in kebab-case, for programs (``"pose-missing"``).
        cause: one sentence: what happened and why.
        remedy: one sentence: what to do next.
    """

    def __init__(self, code: str, cause: str, remedy: str) -> None:
        super().__init__(f"{cause} {remedy}")
        self.code = code
        self.cause = cause
        self.remedy = remedy


class InputError(InternGSError):
    """The caller's files or settings are at fault (command line: exit code 2)."""
