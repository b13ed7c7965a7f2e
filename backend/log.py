# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured log lines: time, level, module, message, and the facts given as ``extra``, one line each."""

from __future__ import annotations

import json
import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """``2026-01-31T12:00:00 INFO lifecycle job starts job="ab12" attempt=1``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(module)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line with its facts; line breaks inside a value are escaped."""
        facts = [f"{name}={json.dumps(value, default=str)}" for name, value in vars(record).items()
                 if name not in _STANDARD]
        record.message = record.message.replace("\n", "\\n")
        return " ".join([super().formatMessage(record), *facts])


def set_up(verbose: bool) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
