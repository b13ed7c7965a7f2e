# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m backend``: starts the service, or makes, lists and revokes keys."""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interngs import __version__
from interngs.errors import InputError, InternGSError
from interngs.link.keys import key_id_of
from interngs.storage import atomic_write

from . import log
from .config import ServerConfig, load_config, with_listen
from .health import priors
from .keys import PAIRING_S, KeyFolder
from .running import Server


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit codes: 0, 2 for bad input, 1 otherwise."""
    options = _parser().parse_args(arguments)
    try:
        config = _config_of(options)
        if options.command == "keys":
            return _keys(options, config)
        return serve(config, options.ready_file, options.stop_with_stdin, options.verbose)
    except InternGSError as error:
        sys.stderr.write(f"{error.cause}\n{error.remedy}\n")
        return 2 if isinstance(error, InputError) else 1


def serve(config: ServerConfig, ready_file: Path | None = None, stop_with_stdin: bool = False,
          verbose: bool = False) -> int:
    """Run a server until a signal (or the end of standard input) ends it.

    Raises:
        InternGSError: it cannot start.
    """
    log.set_up(verbose)
    server = Server(config)
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: server.stopped.set())
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)       # for an operator: where every thread is, to standard error
    if stop_with_stdin:
        threading.Thread(target=_wait_for_stdin, args=(server.stopped,), daemon=True).start()
    server.start()
    sys.stdout.write(_greeting(server))
    sys.stdout.flush()
    if ready_file is not None:
        atomic_write(ready_file, json.dumps({"address": server.address, "pid": os.getpid()}).encode())
    # A wait with a time limit, since on Windows one without it cannot be interrupted.
    while not server.stopped.wait(0.5):
        pass
    sys.stdout.write("Stopping: running jobs write a checkpoint and go on at the next start.\n")
    sys.stdout.flush()
    server.stop()
    return 1 if server.failed else 0


def _wait_for_stdin(stopped: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    stopped.set()


def _greeting(server: Server) -> str:
    config = server.config
    lines = [f"Intern-GS backend {__version__} listens on {server.address}"]
    if config.uses_keys:
        key = KeyFolder(config.keys).server_key().public
        lines.append(f"keys: asked for; this server's key id is {key_id_of(key)}")
    else:
        lines.append("keys: none; only programs of this machine can connect")
    lines += [f"device: {device.name}" + (f", {device.free_bytes / 2**30:.1f} GB free" if device.free_bytes else "")
              for device in server.devices.infos()]
    lines += [f"prior: {prior.name} ({'present' if prior.present else 'no weights'}; {prior.licence})"
              for prior in priors()]
    return "\n".join([*lines, f"store: {config.store}"]) + "\n"


def _keys(options: argparse.Namespace, config: ServerConfig) -> int:
    folder = KeyFolder(config.keys)
    if options.action == "init":
        pair = folder.make_server_key()
        sys.stdout.write(f"Made the server's keys in {folder.folder}.\nKey id: {key_id_of(pair.public)}\n")
    elif options.action == "pair":
        if not folder.has_server_key:
            folder.make_server_key()
        line = folder.begin_pairing(options.address)
        sys.stdout.write(f"Enter this line in Blender or in 'interngs pair', once, within {PAIRING_S / 60:.0f} "
                         f"minutes:\n\n{line}\n")
    elif options.action == "list":
        for client in folder.clients():
            added = time.strftime("%Y-%m-%d", time.localtime(client.added_s))
            sys.stdout.write(f"{client.key_id}  {added}  {client.name}\n")
    else:
        for client in folder.revoke(options.name):
            sys.stdout.write(f"Revoked {client.key_id} ({client.name}).\n")
    return 0


def _config_of(options: argparse.Namespace) -> ServerConfig:
    config = load_config(options.config)
    if options.listen is not None:
        config = with_listen(config, options.listen)
    given = {name: getattr(options, name) for name in ("store", "keys", "bulk_port", "device", "threads",
                                                       "require_keys")}
    return replace(config, **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="interngs-backend", description="The Intern-GS service.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings")
    parser.add_argument("--listen", metavar="tcp://HOST:PORT",
                        help="address to listen on (default tcp://127.0.0.1:47800); others than loopback need keys")
    parser.add_argument("--bulk-port", type=int, metavar="PORT", help="port of the bulk lane (default: the next one)")
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="folder of jobs, photos and results")
    parser.add_argument("--keys", type=Path, metavar="FOLDER", help="folder of keys")
    parser.add_argument("--require-keys", action="store_true", default=None, help="ask for keys on loopback too")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where jobs run (default auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of a job (default: the cores, shared)")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="written with the address when ready")
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="keys ...")
    keys = commands.add_parser("keys", help="make, hand out, list and revoke keys")
    actions = keys.add_subparsers(dest="action", required=True)
    actions.add_parser("init", help="make the server's own keys")
    pair = actions.add_parser("pair", help="print a line that lets one client in, once")
    pair.add_argument("address", metavar="tcp://HOST:PORT", help="where that client will reach this server")
    actions.add_parser("list", help="the clients that are let in")
    revoke = actions.add_parser("revoke", help="shut a client out")
    revoke.add_argument("name", help="name or key id of the client")
    return parser


if __name__ == "__main__":
    sys.exit(main())
