# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of servers: ``tcp://host:port`` in and out, and whether one stays on this machine."""

from __future__ import annotations

import ipaddress
import re

from ..errors import InputError
from ..wire.limits import CONTROL_PORT

_ADDRESS = re.compile(r"(?:tcp://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-*]+)(?::(?P<port>[0-9]{1,5}))?/?")


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of ``tcp://host:port``, ``host:port`` or ``host``; IPv6 hosts keep their brackets.

    Raises:
        InputError: the text is no address.
    """
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match["port"] or CONTROL_PORT) if match else 0
    if match is None or port > 65535:
        raise InputError("address-invalid", f"{text.strip()[:80]!r} is no address of a server.",
                         f"Write it as tcp://host:port, for example tcp://127.0.0.1:{CONTROL_PORT}.")
    return match["host"], port


def format_address(host: str, port: int) -> str:
    """``tcp://host:port``."""
    return f"tcp://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
