# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend in a process of its own that can be killed and started again on its store and port; for tests and runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


def _no_patience() -> float:
    """The default of ``ServerProcess.patience``."""
    return 1.0


@dataclass(eq=False)
class ServerProcess:
    """A server and its folder.

    Attributes:
        folder: holds the store, the keys, the configuration and the log.
        options: the configuration file's values; dicts are its tables.
        environment: added to that of the server and of its workers, on a Ray cluster too.
        arguments: of the command line.
        pipelines: folder of pipelines that ``options["pipeline"]`` names.
        start_s, stop_s: how long the start and the end may take, times what ``patience`` gives.
    """

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    pipelines: Path | None = None
    start_s: float = 20.0
    stop_s: float = 20.0
    patience: Callable[[], float] = _no_patience
    process: subprocess.Popen[bytes] | None = None
    address: str = ""

    @property
    def store(self) -> Path:
        """The folder of jobs and blobs."""
        return self.folder / "store"

    @property
    def keys(self) -> Path:
        """The folder of keys."""
        return self.folder / "keys"

    def log(self) -> str:
        """What the server has printed so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def command(self, *arguments: str) -> list[str]:
        """The command line of the service with this server's configuration."""
        config = self.folder / "server.toml"
        config.write_text(to_toml(self.options), encoding="utf-8")
        return [sys.executable, "-m", "backend", "--config", str(config), "--store", str(self.store), "--keys",
                str(self.keys), *arguments]

    def start(self) -> ServerProcess:
        """Start it, on its old port when it had one, and wait until it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time; with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        paths = [str(path) for path in (REPOSITORY, self.pipelines) if path is not None]
        own = {"PYTHONPATH": os.pathsep.join(paths), **self.environment}
        if "ray" in self.options:
            self.options["ray"]["environment"] = own
        listen = self.address or "tcp://127.0.0.1:0"
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command("--listen", listen, "--ready-file", str(ready), *self.arguments),
                env={**os.environ, **own}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + self.start_s * self.patience()
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log()[-4000:])
            time.sleep(0.02)
        self.address = json.loads(ready.read_text())["address"]
        return self

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it in good order; its exit code.

        Raises:
            TimeoutExpired: it did not end in time; it is killed then.
        """
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(self.stop_s * self.patience())
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def resident_bytes(self) -> int:
        """Resident memory of the front process (Linux)."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def to_toml(options: dict[str, Any]) -> str:
    """A configuration as TOML: values, and tables of values or of tables of texts."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items() if not isinstance(value, dict)]
    for table, values in options.items():
        if isinstance(values, dict):
            lines += [f"[{table}]", *[f"{name} = {_value(value)}" for name, value in values.items()]]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {json.dumps(item)}" for name, item in value.items()) + "}"
    return json.dumps(value)
