# SPDX-License-Identifier: GPL-3.0-or-later
"""Wakes a polling thread from any other thread, by a pair of loopback sockets (works on Windows too)."""

from __future__ import annotations

import socket


class Wake:
    """``set`` from any thread; the polling thread polls ``fileno()`` and calls ``clear``."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._receiver.fileno()

    def set(self) -> None:
        """Make the descriptor readable; harmless after ``close``."""
        try:
            self._sender.send(b"\0")
        except OSError:
            # Full: the thread is about to wake anyway.  Closed: nobody polls any more.
            return

    def clear(self) -> None:
        """Take everything that ``set`` wrote."""
        try:
            while self._receiver.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close both ends."""
        self._receiver.close()
        self._sender.close()
