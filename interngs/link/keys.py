# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's identity: its id, its CURVE key pair, the servers it trusts, and pairing codes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from ..errors import InputError, InternGSError
from .address import format_address, parse_address

_CODE_BYTES = 10
_PAIRING = re.compile(r"(?P<address>\S+)/(?P<key>[0-9a-f]{64})/(?P<code>(?:[A-Z2-7]{4}-){3}[A-Z2-7]{4})")


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, both halves Z85 text of 40 characters."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


@dataclass(frozen=True)
class Pairing:
    """What a pairing code line says: where the server is, its key, and the one-time code."""

    address: str
    server_key: str
    code: str


def default_data_dir() -> Path:
    """The folder of this user's client files; ``INTERNGS_CLIENT_DIR`` overrides it."""
    if given := os.environ.get("INTERNGS_CLIENT_DIR"):
        return Path(given)
    if os.name == "nt":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / "interngs" / "client"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "interngs" / "client"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "interngs" / "client"


def new_key_pair() -> KeyPair:
    """A fresh key pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def new_pairing_code() -> str:
    """A one-time code of 80 random bits, in four groups of four letters and digits."""
    text = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode()
    return "-".join(text[i:i + 4] for i in range(0, len(text), 4))


def key_pair_of_code(code: str) -> KeyPair:
    """The key pair that a pairing code stands for, on both sides.

    Raises:
        InputError: the text is no pairing code.
    """
    letters = code.upper().replace("-", "").replace(" ", "")
    if not re.fullmatch(r"[A-Z2-7]{16}", letters):
        raise InputError("pairing-code", "That is no pairing code.", "Copy the whole line that 'keys pair' printed.")
    secret = z85.encode(hashlib.sha256(b"interngs pairing 1\0" + letters.encode()).digest())
    return KeyPair(zmq.curve_public(secret).decode(), secret.decode())


def format_pairing(address: str, server_key: str, code: str) -> str:
    """The line that a person copies from server to client."""
    return f"{format_address(*parse_address(address))}/{z85.decode(server_key.encode()).hex()}/{code}"


def parse_pairing(text: str) -> Pairing:
    """The parts of a pairing line.

    Raises:
        InputError: the text is no pairing line.
    """
    match = _PAIRING.fullmatch(text.strip())
    if match is None:
        raise InputError("pairing-code", "That is no pairing line.", "Copy the whole line that 'keys pair' printed.")
    return Pairing(format_address(*parse_address(match["address"])), z85.encode(bytes.fromhex(match["key"])).decode(),
                   match["code"])


def key_id_of(public_key: str) -> str:
    """The short name of a public key (16 hex digits), for lists and logs.

    Raises:
        InputError: the text is no key.
    """
    try:
        raw = z85.decode(public_key.encode("ascii"))
    except (ValueError, KeyError, UnicodeEncodeError) as error:
        raise InputError("key-invalid", "That is no CURVE key.", "Make the key again.") from error
    if len(raw) != 32:
        raise InputError("key-invalid", "That is no CURVE key.", "Make the key again.")
    return hashlib.sha256(raw).hexdigest()[:16]


def write_private(path: Path, values: dict[str, object]) -> None:
    """Write a small JSON file that only its owner may read, whole or not at all.

    On Windows the file takes the access list of its folder, which in a user's profile is that user's own.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(values, opened, indent=1)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_private(path: Path) -> dict[str, object] | None:
    """The map in a file of ``write_private``; None when there is no file.

    Raises:
        InternGSError: others can read the file, or it is damaged.
    """
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise InternGSError("key-file-open", f"{path} can be read by other users of this machine.",
                                f"Run: chmod 600 '{path}' -- and make new keys if others may have read it.")
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InternGSError("key-file-damaged", f"{path} cannot be read: {error}.",
                            "Restore it from a backup, or delete it and pair again.") from error
    if not isinstance(values, dict):
        raise InternGSError("key-file-damaged", f"{path} holds no map.", "Delete it and pair again.")
    return values


class ClientFiles:
    """The files of a client: ``client.json`` (id and keys) and ``servers.json`` (keys of known servers)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_data_dir()

    def identity(self) -> tuple[str, KeyPair]:
        """(client id, key pair); made at the first call.

        Raises:
            InternGSError: the file cannot be read or written, or is open to others.
        """
        path = self.folder / "client.json"
        values = read_private(path)
        if values is None:
            pair = new_key_pair()
            values = {"client_id": secrets.token_hex(16), "public_key": pair.public, "secret_key": pair.secret}
            try:
                write_private(path, values)
            except OSError as error:
                raise InternGSError("not-writable", f"{path} cannot be written: {error.strerror}.",
                                    "Set INTERNGS_CLIENT_DIR to a folder you may write to.") from error
        try:
            client_id, public, secret = (str(values[name]) for name in ("client_id", "public_key", "secret_key"))
        except KeyError as error:
            raise InternGSError("key-file-damaged", f"{path} lacks {error}.", "Delete it and pair again.") from error
        return client_id, KeyPair(public, secret)

    def server_key(self, address: str) -> str | None:
        """The stored key of a server, or None when it was never paired with."""
        values = read_private(self.folder / "servers.json") or {}
        key = values.get(format_address(*parse_address(address)))
        return key if isinstance(key, str) else None

    def remember_server(self, address: str, server_key: str | None) -> None:
        """Store the key of a server; None forgets it."""
        path = self.folder / "servers.json"
        values = dict(read_private(path) or {})
        name = format_address(*parse_address(address))
        values.pop(name, None)
        if server_key is not None:
            values[name] = server_key
        write_private(path, values)
