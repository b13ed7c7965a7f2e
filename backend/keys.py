# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's CURVE pair, the list of clients let in, and one-time pairing codes: small owner-only files."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from interngs.errors import InputError, InternGSError
from interngs.link.keys import (
    KeyPair,
    format_pairing,
    key_id_of,
    key_pair_of_code,
    new_key_pair,
    new_pairing_code,
    read_private,
    write_private,
)
from interngs.wire.limits import NAME_CHARACTERS

PAIRING_S = 600.0
"""How long a pairing code is good, seconds."""


@dataclass(frozen=True)
class ClientKey:
    """A client that is let in: its key's short id, the name it gave, its public key (Z85), Unix time of pairing."""

    key_id: str
    name: str
    public: str
    added_s: float


class KeyFolder:
    """The folder of keys: ``server.json``, ``clients/<key id>.json``, ``pending/<key id>.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def has_server_key(self) -> bool:
        """Whether ``keys init`` was run."""
        return (self.folder / "server.json").exists()

    def make_server_key(self) -> KeyPair:
        """Make the server's key pair.

        Raises:
            InputError: there is one already (clients know it).
        """
        if self.has_server_key:
            raise InputError("key-exists", f"{self.folder} has a server key already.",
                             "Keep it: clients refuse another one. Delete server.json by hand if it leaked.")
        pair = new_key_pair()
        write_private(self.folder / "server.json", {"public_key": pair.public, "secret_key": pair.secret})
        return pair

    def server_key(self) -> KeyPair:
        """The server's key pair.

        Raises:
            InternGSError: there is none, it is damaged, or others can read it.
        """
        values = read_private(self.folder / "server.json")
        if values is None:
            raise InputError("keys-missing", f"The server has no keys in {self.folder}.",
                             "Run 'interngs-backend keys init', then 'interngs-backend keys pair' for each client.")
        public, secret = values.get("public_key"), values.get("secret_key")
        if not isinstance(public, str) or not isinstance(secret, str):
            raise InternGSError("key-file-damaged", f"{self.folder / 'server.json'} holds no key pair.",
                                "Restore it from a backup.")
        return KeyPair(public, secret)

    def clients(self) -> list[ClientKey]:
        """All clients let in, oldest first; files that are damaged or open to others let nobody in.

        Raises:
            InternGSError: a file is damaged or open to others.
        """
        found = []
        for path in sorted((self.folder / "clients").glob("*.json")):
            values = read_private(path)
            if values is not None:
                found.append(_client_of(values))
        return sorted(found, key=lambda client: client.added_s)

    def change_mark(self) -> object:
        """A value that changes when the list of clients does."""
        folder = self.folder / "clients"
        try:
            return folder.stat().st_mtime_ns, len(list(folder.iterdir()))
        except FileNotFoundError:
            return None

    def client(self, public: str) -> ClientKey | None:
        """The client with this public key, when it is let in."""
        values = read_private(self.folder / "clients" / f"{key_id_of(public)}.json")
        if values is None:
            return None
        client = _client_of(values)
        return client if secrets.compare_digest(client.public, public) else None

    def add_client(self, public: str, name: str) -> ClientKey:
        """Let a client in."""
        client = ClientKey(key_id_of(public), name[:NAME_CHARACTERS], public, time.time())
        write_private(self.folder / "clients" / f"{client.key_id}.json",
                      {"name": client.name, "public_key": public, "added_s": client.added_s})
        return client

    def revoke(self, name_or_id: str) -> list[ClientKey]:
        """Shut out every client of a name, or the one of a key id.

        Raises:
            InputError: there is none.
        """
        gone = [client for client in self.clients() if name_or_id in (client.key_id, client.name)]
        if not gone:
            raise InputError("key-unknown", f"No client is called {name_or_id!r}.",
                             "Run 'interngs-backend keys list' for names and ids.")
        for client in gone:
            (self.folder / "clients" / f"{client.key_id}.json").unlink(missing_ok=True)
        return gone

    def begin_pairing(self, address: str) -> str:
        """A pairing line for a client that will reach this server at ``address``; good once, for ten minutes."""
        server = self.server_key()
        code = new_pairing_code()
        public = key_pair_of_code(code).public
        write_private(self.folder / "pending" / f"{key_id_of(public)}.json",
                      {"public_key": public, "until_s": time.time() + PAIRING_S})
        return format_pairing(address, server.public, code)

    def is_pending(self, public: str) -> bool:
        """Whether ``public`` is the key of a pairing code that is still good."""
        path = self.folder / "pending" / f"{key_id_of(public)}.json"
        values = read_private(path)
        if values is None:
            return False
        until_s = values.get("until_s")
        # A clock set back must not make a code good for longer than it was given out for.
        now_s = time.time()
        if not isinstance(until_s, float) or not now_s <= until_s <= now_s + PAIRING_S:
            path.unlink(missing_ok=True)
            return False
        return values.get("public_key") == public

    def finish_pairing(self, pairing_public: str, client_public: str, name: str) -> ClientKey:
        """Let the client in that used a pairing code, and use the code up.

        Raises:
            InputError: the code is used or too old, or the client's key is none.
        """
        key_id_of(client_public)
        if not self.is_pending(pairing_public):
            raise InputError("pairing-code", "The pairing code was used already or is too old.",
                             "Run 'interngs-backend keys pair' again.")
        (self.folder / "pending" / f"{key_id_of(pairing_public)}.json").unlink()
        return self.add_client(client_public, name)


def _client_of(values: dict[str, object]) -> ClientKey:
    name, public, added_s = values.get("name"), values.get("public_key"), values.get("added_s")
    if not isinstance(name, str) or not isinstance(public, str) or not isinstance(added_s, (int, float)):
        raise InternGSError("key-file-damaged", "A client's key file is damaged.",
                            "Revoke the client and pair it again.")
    return ClientKey(key_id_of(public), name, public, float(added_s))
