# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that wait for their answer: repeated with their old ids after a loss, ended by answer, failure or close."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ..errors import InternGSError
from ..wire.errors import ErrorInfo
from ..wire.messages import Failure, Message

Answered = Callable[[Any], None]


@dataclass(eq=False)
class Request:
    """A request: what to do with its answer, and the future that fails when the request fails.

    ``not_before_s`` (monotonic) holds back a request that the server found too fast.
    """

    message: Message
    answered: Answered
    failed: Callable[[InternGSError], None]
    sent: bool = False
    not_before_s: float = 0.0


class Requests:
    """All open requests of one link, in the socket thread."""

    def __init__(self) -> None:
        self._open: dict[str, Request] = {}

    def add(self, request: Request) -> None:
        """Note a request; it is sent at the next ``due``."""
        self._open[secrets.token_hex(16)] = request

    def reset(self) -> None:
        """The connection is gone: all will be sent again, with their ids."""
        for request in self._open.values():
            request.sent, request.not_before_s = False, 0.0

    def due(self, now_s: float) -> list[tuple[str, Message]]:
        """(id, message) of everything to be sent now."""
        ready = [(request_id, request) for request_id, request in self._open.items()
                 if not request.sent and request.not_before_s <= now_s]
        for _, request in ready:
            request.sent = True
        return [(request_id, request.message) for request_id, request in ready]

    def on_answer(self, request_id: str, answer: Message, now_s: float) -> bool:
        """Take an answer; False when no request has this id."""
        request = self._open.get(request_id)
        if request is None:
            return False
        if isinstance(answer, Failure) and answer.code == "too-fast":
            request.sent, request.not_before_s = False, now_s + 0.5
            return True
        del self._open[request_id]
        if isinstance(answer, Failure):
            request.failed(ErrorInfo(answer.code, answer.cause, answer.remedy).to_error())
        else:
            request.answered(answer)
        return True

    def fail_all(self, error: InternGSError) -> None:
        """End every request with an error."""
        waiting, self._open = self._open, {}
        for request in waiting.values():
            request.failed(error)


def settle(future: Future[Any], value: Any) -> None:
    """Give a future its value, unless the program gave it up."""
    if future.set_running_or_notify_cancel():
        future.set_result(value)


def settle_failed(future: Future[Any], error: BaseException) -> None:
    """Give a future its error, unless the program gave it up."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
