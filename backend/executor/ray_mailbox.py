# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor between the driver and the tasks on a Ray cluster: reports one way, commands the other, stale tasks out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

_REPORTS_WAITING = 256
_AT_ONCE = 64


@dataclass
class _Attempt:
    """An attempt at a job.  ``execution``: how often Ray has begun it; ``since``: since the last checkpoint."""

    execution: int = 0
    since: int = 0
    mode: str | None = None
    over: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Mailbox:
    """Lives in an actor of its own on the driver's machine.

    Ray may begin a task again on another machine while the first still runs somewhere, cut off: each beginning has a
    number, and only the newest is listened to.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._reports: asyncio.Queue[tuple[str, int, bytes, bytes]] = asyncio.Queue(_REPORTS_WAITING)

    # ---- the driver's side -------------------------------------------------------------------------------------------

    async def expect(self, job_id: str, attempt: int) -> None:
        """An attempt is going to be handed to Ray."""
        self._attempts[job_id, attempt] = _Attempt()

    async def take(self) -> list[tuple[str, int, bytes, bytes]]:
        """The next reports as (job id, attempt, record, bytes that belong to it); waits for one.

        An empty record stands for the end of an attempt.
        """
        found = [await self._reports.get()]
        while len(found) < _AT_ONCE and not self._reports.empty():
            found.append(self._reports.get_nowait())
        return found

    async def command(self, job_id: str, attempt: int, mode: str) -> bool:
        """Tell a task to stop; False when Ray has not begun it yet (it will end at once when it is)."""
        entry = self._attempts.get((job_id, attempt))
        if entry is None:
            return True
        entry.mode = mode
        entry.changed.set()
        return entry.execution > 0

    async def end(self, job_id: str, attempt: int) -> int:
        """An attempt has ended: its end comes behind its reports.  Gives its beginnings since the last checkpoint."""
        entry = self._attempts.pop((job_id, attempt), _Attempt())
        entry.over = True
        entry.changed.set()
        await self._reports.put((job_id, attempt, b"", b""))
        return max(1, entry.since)

    # ---- the tasks' side ---------------------------------------------------------------------------------------------

    async def begin(self, job_id: str, attempt: int) -> int:
        """A task begins: the number of its execution, 0 when it is not wanted any more."""
        entry = self._attempts.get((job_id, attempt))
        if entry is None or (entry.mode is not None and entry.execution == 0):
            return 0
        entry.execution += 1
        entry.since += 1
        entry.changed.set()
        return entry.execution

    async def report(self, job_id: str, attempt: int, execution: int, record: bytes, payload: bytes,
                     is_checkpoint: bool) -> bool:
        """Take a report; False tells the task that it is no longer the one that counts."""
        entry = self._attempts.get((job_id, attempt))
        if entry is None or entry.execution != execution:
            return False
        if is_checkpoint:
            entry.since = 1
        await self._reports.put((job_id, attempt, record, payload))
        return True

    async def next_command(self, job_id: str, attempt: int, execution: int, known: str | None) -> str | None:
        """Wait for a command other than ``known``; None when this execution is over."""
        while (entry := self._attempts.get((job_id, attempt))) is not None and entry.execution == execution:
            if entry.mode is not None and entry.mode != known:
                return entry.mode
            entry.changed.clear()
            await entry.changed.wait()
        return None
