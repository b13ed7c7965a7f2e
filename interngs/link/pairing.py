# SPDX-License-Identifier: GPL-3.0-or-later
"""Introduces this computer's key to a server by a one-time pairing line; waits, so it runs in a thread of its own."""

from __future__ import annotations

import secrets
import time

import zmq

from ..wire.errors import ErrorInfo, ServiceError
from ..wire.messages import Failure, Pair, Paired
from .address import parse_address
from .connection import Connection
from .keys import ClientFiles, key_pair_of_code, parse_pairing

CODE_REFUSED = ErrorInfo("pairing-code", "The server does not accept this pairing line: it is wrong, used or too old.",
                         "Run 'interngs-backend keys pair' again and copy the whole line.")


def pair(line: str, files: ClientFiles, client_name: str, timeout_s: float = 10.0) -> str:
    """Pair by ``line``, store the server's key, and give the server's address.

    Raises:
        InputError: ``line`` is no pairing line.
        ServiceError: ``pairing-code``: refused; ``server-unreachable``: no answer.
    """
    pairing = parse_pairing(line)
    _, keys = files.identity()
    host, port = parse_address(pairing.address)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        connection = Connection(context, host, port, key_pair_of_code(pairing.code), pairing.server_key)
        try:
            _ask(connection, Pair(keys.public, client_name), timeout_s)
        finally:
            connection.close()
    finally:
        context.destroy(linger=0)
    files.remember_server(pairing.address, pairing.server_key)
    return pairing.address


def _ask(connection: Connection, message: Pair, timeout_s: float) -> None:
    request_id = secrets.token_hex(16)
    connection.send_hello(message, request_id)
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        connection.poller.poll(100)
        for envelope in connection.receive(connection.control):
            answer = envelope.message
            if envelope.request_id == request_id and isinstance(answer, Paired):
                return
            if envelope.request_id == request_id and isinstance(answer, Failure):
                raise ErrorInfo(answer.code, answer.cause, answer.remedy).to_error()
        trouble = connection.trouble()
        if trouble is not None:
            if trouble.refusal is not None:
                raise CODE_REFUSED.to_error()
            break
    raise ServiceError("server-unreachable", "The server did not answer.",
                       "Check that it runs, and that no firewall stands between.")
