# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads as a state machine: ranges within the credit, kept over a loss, compared with their hash."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..wire.errors import ErrorInfo
from ..wire.limits import FETCH_BYTES
from ..wire.messages import Chunk, Failure, Fetch, Message

Finished = Callable[[bytearray], None]
Failed = Callable[[ErrorInfo], None]
Advanced = Callable[[int, int], None]


def _nothing(done: int, total: int) -> None:
    """The default of ``Download.advanced``."""


@dataclass(eq=False)
class Download:
    """One object on its way: ``size`` bytes of ``name``, compared with ``sha256`` where it is known."""

    name: str
    size: int
    finished: Finished
    failed: Failed
    sha256: str | None = None
    advanced: Advanced = _nothing
    data: bytearray = field(init=False, repr=False)
    received: int = 0
    _todo: deque[tuple[int, int]] = field(init=False)
    _out: set[tuple[int, int]] = field(init=False, default_factory=set)
    _digest: hashlib._Hash | None = field(init=False, default=None)
    _hashed: int = 0

    def __post_init__(self) -> None:
        self.data = bytearray(self.size)
        self._todo = deque((offset, min(FETCH_BYTES, self.size - offset))
                           for offset in range(0, self.size, FETCH_BYTES))
        self._digest = None if self.sha256 is None else hashlib.sha256()

    def next_range(self) -> tuple[int, int] | None:
        """The next (offset, length) to ask for; None when all are asked for."""
        if not self._todo:
            return None
        wanted = self._todo.popleft()
        self._out.add(wanted)
        return wanted

    def take(self, wanted: tuple[int, int], chunk: Chunk) -> bool:
        """Put a chunk in its place; False when it is not what was asked for."""
        offset, length = wanted
        if chunk.offset != offset or len(chunk.payload) != length:
            return False
        self._out.discard(wanted)
        self.data[offset:offset + length] = chunk.payload.data
        self.received += length
        # Ranges come back in order on one connection, so the digest nearly always follows along.
        if self._digest is not None and offset == self._hashed:
            self._digest.update(chunk.payload.data)
            self._hashed += length
        return True

    def put_back(self) -> None:
        """The connection is gone: what was asked for must be asked again."""
        self._todo.extendleft(sorted(self._out, reverse=True))
        self._out.clear()

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there."""
        return self.received == self.size

    def has_right_hash(self) -> bool:
        """Compare the bytes with the announced hash."""
        if self._digest is None:
            return True
        if self._hashed < self.size:
            with memoryview(self.data) as view:
                self._digest.update(view[self._hashed:])
        return self._digest.hexdigest() == self.sha256


class Downloads:
    """All downloads of one link, in the socket thread; the first that has ranges left is served first."""

    def __init__(self) -> None:
        self._active: list[Download] = []
        self._in_flight: dict[str, tuple[Download, tuple[int, int]]] = {}

    def add(self, download: Download) -> None:
        """Begin a download; an empty one finishes at once."""
        if download.size == 0:
            self._finish(download)
        else:
            self._active.append(download)

    def reset(self) -> None:
        """The connection is gone."""
        for download in self._active:
            download.put_back()
        self._in_flight.clear()

    def fail_all(self, error: ErrorInfo) -> None:
        """End every download with an error."""
        active, self._active = self._active, []
        self._in_flight.clear()
        for download in active:
            download.failed(error)

    def pump(self, send: Callable[[Message], str], credit: int) -> None:
        """Ask for what the credit allows."""
        for download in self._active:
            while len(self._in_flight) < credit:
                wanted = download.next_range()
                if wanted is None:
                    break
                self._in_flight[send(Fetch(download.name, *wanted))] = (download, wanted)

    def on_answer(self, request_id: str, answer: Chunk | Failure) -> bool:
        """Take the answer to something that ``pump`` sent; False when it is not ours."""
        known = self._in_flight.pop(request_id, None)
        if known is None:
            return False
        download, wanted = known
        if download not in self._active:
            return True
        if isinstance(answer, Failure):
            self._end(download, ErrorInfo(answer.code, answer.cause, answer.remedy))
        elif not download.take(wanted, answer):
            self._end(download, ErrorInfo("bad-message", "The server sent another range than was asked for.",
                                          "Update the server, or report this as a bug."))
        else:
            download.advanced(download.received, download.size)
            if download.is_whole:
                self._active.remove(download)
                self._finish(download)
        return True

    def _end(self, download: Download, error: ErrorInfo) -> None:
        self._active.remove(download)
        download.failed(error)

    def _finish(self, download: Download) -> None:
        if download.has_right_hash():
            download.finished(download.data)
        else:
            download.failed(ErrorInfo("hash-mismatch", "A download differs from what the server announced.",
                                      "Fetch it again; if it happens again, the server's disk may be at fault."))
