# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads as a state machine: ranges within the credit, kept over a loss, hashed and read while they arrive."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InternGSError
from ..wire.errors import ErrorInfo, ServiceError
from ..wire.limits import FETCH_BYTES, FETCH_WHOLE_BYTES
from ..wire.messages import Chunk, Failure, Fetch, Message

Work = Callable[[], None]
Failed = Callable[[ErrorInfo], None]
Advanced = Callable[[int, int], None]
Range = tuple[int, int]
"""(offset, length)."""

_WRONG_RANGE = ErrorInfo("bad-message", "The server sent another range than was asked for.",
                         "Update the server, or report this as a bug.")
_TOO_LARGE = ErrorInfo("out-of-memory", "There is not enough memory for the download.", "Close other programs.")
_OTHER_BYTES = ServiceError("hash-mismatch", "A download differs from what the server announced.",
                            "Fetch it again; if it happens again, the server's disk may be at fault.")


_RANGES_AT_LEAST = 16


def _nothing(done: int, total: int) -> None:
    """The default of ``Download.advanced``."""


@dataclass(eq=False)
class Download:
    """One object on its way: ``size`` bytes of ``name``.

    Attributes:
        read: makes of the whole bytes what the program wants; in the thread beside the socket's, after the hash.
        finished: called with what ``read`` gave, in the socket's thread.
        failed: called with the error instead, in the socket's thread.
        sha256: what the bytes must hash to, where it is known.
        advanced: called with (bytes done, bytes in all) for each chunk.
    """

    name: str
    size: int
    read: Callable[[memoryview], Any]
    finished: Callable[[Any], None]
    failed: Failed
    sha256: str | None = None
    advanced: Advanced = _nothing
    data: NDArray[np.uint8] = field(init=False, repr=False)
    received: int = 0
    arrived: int = 0
    """Bytes from the beginning that are there without a gap."""
    _todo: deque[Range] = field(init=False)
    _out: set[Range] = field(init=False, default_factory=set)
    _later: dict[int, int] = field(init=False, default_factory=dict)
    _digest: Any = field(init=False, default=None)
    _hashed: int = 0
    _was_read: bool = False

    def __post_init__(self) -> None:
        self.data = np.empty(0, np.uint8)
        self._todo = deque([(0, self.size)] if self.size else [])
        self._digest = None if self.sha256 is None else hashlib.sha256()

    def next_range(self, most: int) -> Range | None:
        """The next (offset, length) to ask for, at most ``most`` bytes; None when all are asked for."""
        if not self._todo:
            return None
        offset, length = self._todo.popleft()
        if length > most:
            self._todo.appendleft((offset + most, length - most))
        wanted = offset, min(length, most)
        self._out.add(wanted)
        return wanted

    def take(self, wanted: Range, chunk: Chunk) -> bool:
        """Put a chunk in its place; False when it is not what was asked for.

        A server that is short of memory may answer with the first part of a range; the rest is asked for again.
        """
        offset, length = wanted
        got = len(chunk.payload)
        if chunk.offset != offset or not min(length, FETCH_WHOLE_BYTES) <= got <= length:
            return False
        self._out.discard(wanted)
        if got < length:
            self._todo.appendleft((offset + got, length - got))
        np.copyto(self.data[offset:offset + got], chunk.payload)
        self.received += got
        self._later[offset] = got
        while (got := self._later.pop(self.arrived, 0)):
            self.arrived += got
        return True

    def put_back(self) -> None:
        """The connection is gone: what was asked for must be asked again."""
        self._todo.extendleft(sorted(self._out, reverse=True))
        self._out.clear()

    def look(self) -> tuple[Any] | None:
        """Hash what has arrived since the last call; when it is the whole, what ``read`` makes of it, once.

        For one thread at a time, which need not be the socket's.

        Raises:
            InternGSError: the whole has another hash, or is not what ``read`` expects.
        """
        end = self.arrived
        if self._digest is not None and end > self._hashed:
            self._digest.update(self.data[self._hashed:end])
        self._hashed = end
        if end < self.size or self._was_read:
            return None
        self._was_read = True
        if self._digest is not None and self._digest.hexdigest() != self.sha256:
            raise _OTHER_BYTES
        return (self.read(self.data.data),)


class Downloads:
    """All downloads of one link, in the socket's thread; the first that has ranges left is served first."""

    def __init__(self, beside: Callable[[Work], None], back: Callable[[Work], None]) -> None:
        """``beside`` runs work in another thread, one after the other; ``back`` runs it in the socket's thread."""
        self._beside, self._back = beside, back
        self._active: list[Download] = []
        self._in_flight: dict[str, tuple[Download, Range]] = {}
        self.range_bytes = FETCH_WHOLE_BYTES
        """Most bytes of one range; the server's ``bulk-ready`` may raise it."""

    def agree(self, fetch_bytes: int) -> None:
        """Take the longest range that a server answers."""
        self.range_bytes = max(FETCH_WHOLE_BYTES, min(fetch_bytes, FETCH_BYTES))

    def add(self, download: Download) -> None:
        """Begin a download."""
        try:
            # Not zeroed: the memory is first touched as the bytes arrive, while the next ones are on their way.
            download.data = np.empty(download.size, np.uint8)
        except (MemoryError, ValueError):
            download.failed(_TOO_LARGE)
            return
        self._active.append(download)
        if download.size == 0:
            self._beside(lambda: self._look(download))

    @property
    def in_flight(self) -> int:
        """Ranges that are asked for and not answered."""
        return len(self._in_flight)

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
            # A small object comes in several ranges too, so that its parts are read, sent and hashed at one time.
            most = max(FETCH_WHOLE_BYTES, min(self.range_bytes, download.size // _RANGES_AT_LEAST))
            while len(self._in_flight) < credit:
                wanted = download.next_range(most)
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
            self._fail(download, ErrorInfo(answer.code, answer.cause, answer.remedy))
        elif not download.take(wanted, answer):
            self._fail(download, _WRONG_RANGE)
        else:
            download.advanced(download.received, download.size)
            self._beside(lambda: self._look(download))
        return True

    def _look(self, download: Download) -> None:
        """Beside the socket's thread: hash and read what is there."""
        try:
            whole = download.look()
        except InternGSError as error:
            reason = ErrorInfo.of(error)
        except MemoryError:
            reason = _TOO_LARGE
        else:
            if whole is not None:
                self._back(lambda: self._finish(download, whole[0]))
            return
        self._back(lambda: self._fail(download, reason))

    def _finish(self, download: Download, value: Any) -> None:
        if download in self._active:
            self._active.remove(download)
            download.finished(value)

    def _fail(self, download: Download, error: ErrorInfo) -> None:
        if download in self._active:
            self._active.remove(download)
            download.failed(error)
