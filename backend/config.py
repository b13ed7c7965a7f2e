# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a server: safe defaults, an optional TOML file, and the refusal of unsafe mixes."""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from interngs.errors import InputError
from interngs.link.address import is_loopback, parse_address
from interngs.wire.limits import CONTROL_PORT, HEARTBEAT_MISSES, HEARTBEAT_S, Limits


def default_folder() -> Path:
    """The folder of this user's server files; ``INTERNGS_SERVER_DIR`` overrides it."""
    if given := os.environ.get("INTERNGS_SERVER_DIR"):
        return Path(given)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "interngs" / "server"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "interngs" / "server"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "interngs" / "server"


@dataclass(frozen=True)
class RaySettings:
    """Where and how jobs run on a Ray cluster."""

    address: str = ""
    """The cluster's head, ``HOST:6379``; empty starts a cluster of this machine alone."""
    jobs: int = 0
    """Jobs handed to the cluster at the same time; 0 for as many as its machines have room for now.  With an
    autoscaler: as many as it may grow to."""
    cpus_per_job: float = 1.0
    gpus_per_job: float = 0.0
    memory_bytes_per_job: int = 0
    """What Ray reserves for a job on a machine; it puts a job only where there is so much."""
    files: str = ""
    """Folder that all machines share, or fsspec URL (``s3://bucket/jobs``), through which photos, checkpoints and
    results go; empty for a folder in the store, which is right for one machine."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of the workers."""


@dataclass(frozen=True)
class ServerConfig:
    """All settings of a server.

    ``pipeline`` is code that a worker runs, so only the person who starts the server can set it.
    """

    host: str = "127.0.0.1"
    """Interface to listen on; anything but loopback needs keys."""
    port: int = CONTROL_PORT
    """Control lane; 0 takes any free port."""
    bulk_port: int | None = None
    """Bulk lane; by default the port after the control lane's (any free one when ``port`` is 0)."""
    store: Path = Path()
    """Folder of jobs, photos and results."""
    keys: Path = Path()
    """Folder of the server's key pair and of the clients' keys."""
    require_keys: bool = False
    """Ask for keys on loopback too."""
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    """Limits for each client."""
    executor: Literal["local", "ray"] = "local"
    """``local``: a process per job on this machine.  ``ray``: tasks of a Ray cluster."""
    ray: RaySettings = RaySettings()
    """Table ``[ray]``."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: every GPU that nvidia-smi shows when gsplat is installed, else the CPU."""
    cpu_slots: int = 1
    """Jobs that run at the same time on the CPU."""
    threads: int = 0
    """CPU threads of one worker; 0 shares the cores among the slots."""
    worker_niceness: int = 5
    """How far below the front process workers stand in priority, so that training never slows an answer."""
    min_gpu_free_bytes: int = 2 << 30
    """A job starts on a GPU only while so much of its memory is free."""
    heartbeat_s: float = HEARTBEAT_S
    heartbeat_misses: int = HEARTBEAT_MISSES
    min_free_bytes: int = 1 << 30
    """Below this much free disk no new work is accepted."""
    hang_s: float = 600.0
    """A worker that shows no activity for so long is ended and started again."""
    pause_grace_s: float = 10.0
    """How long a worker may take to write its checkpoint and stop."""
    cancel_grace_s: float = 1.5
    """The same for cancel and discard, which need no checkpoint."""
    short_job_s: float = 120.0
    """A job that is expected to take no longer may take the place of a longer one at its checkpoint."""
    yield_after_s: float = 60.0
    """So long a job trains at least before it makes way for a short one."""
    shares: dict[str, float] = field(default_factory=dict)
    """By key id: how many times the worker time of others a client may have while all want some; 1 when not named."""
    tries: int = 3
    """Starts of a worker without a new checkpoint between them before its job fails."""
    pipeline: str = "interngs.pipeline:reconstruct"
    """``module:function`` that a worker runs."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def uses_keys(self) -> bool:
        """Whether connections are CURVE."""
        return self.require_keys or not self.is_loopback


def load_config(path: Path | None) -> ServerConfig:
    """The defaults, changed by a TOML file: keys as in ``ServerConfig``, tables ``[limits]``, ``[ray]``, ``[shares]``.

    Raises:
        InputError: the file is missing, is no TOML, or has unknown keys or wrong types.
    """
    folder = default_folder()
    config = ServerConfig(store=folder / "store", keys=folder / "keys")
    if path is None:
        return config
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError("config-unreadable", f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except ValueError as error:
        raise InputError("config-unreadable", f"{path} is no TOML: {error}.", "Correct the file.") from error
    listen = values.pop("listen", None)
    if listen is not None:
        config = with_listen(config, _expect(listen, str, "listen"))
    limits = _changed(config.limits, _expect(values.pop("limits", {}), dict, "limits"), "limits.")
    ray = _changed(config.ray, _expect(values.pop("ray", {}), dict, "ray"), "ray.")
    return _changed(replace(config, limits=limits, ray=ray), values, "")


def with_listen(config: ServerConfig, address: str) -> ServerConfig:
    """``config`` listening on ``tcp://host:port``.

    Raises:
        InputError: ``address`` is none.
    """
    host, port = parse_address(address)
    return replace(config, host=host, port=port)


def validate_config(config: ServerConfig) -> None:
    """Raise ``InputError`` for settings that cannot work."""
    checks = [
        (config.cpu_slots >= 1, "cpu_slots must be at least 1"),
        (0 <= config.worker_niceness <= 19, "worker_niceness must be 0 to 19"),
        (config.executor in ("local", "ray"), "executor must be local or ray"),
        (config.ray.jobs >= 0 and config.ray.cpus_per_job >= 0 and config.ray.gpus_per_job >= 0
         and config.ray.memory_bytes_per_job >= 0, "numbers in [ray] must not be negative"),
        (all(isinstance(value, str) for value in config.ray.environment.values()),
         "values in ray.environment must be texts"),
        (config.threads >= 0, "threads must not be negative"),
        (config.heartbeat_s >= 0.1, "heartbeat_s must be at least 0.1"),
        (config.heartbeat_misses >= 2, "heartbeat_misses must be at least 2"),
        (config.tries >= 1, "tries must be at least 1"),
        (config.hang_s > 0, "hang_s must be positive"),
        (config.short_job_s >= 0 and config.yield_after_s >= 0, "short_job_s and yield_after_s must not be negative"),
        (all(isinstance(weight, (int, float)) and 0 < weight < 1e6 for weight in config.shares.values()),
         "shares must be positive numbers"),
        (config.pipeline.count(":") == 1, "pipeline must be module:function"),
        (0 <= (config.bulk_port or 0) <= 65535, "bulk_port must be a port"),
    ]
    for fine, complaint in checks:
        if not fine:
            raise InputError("config-out-of-range", f"{complaint}.", "Correct the server's settings.")


def _changed(base: Any, values: dict[str, Any], where: str) -> Any:
    known = {entry.name: getattr(base, entry.name) for entry in fields(base)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known or key in ("limits", "ray", "host"):
            raise InputError("config-unknown", f"The server has no setting {where + key!r}.",
                             f"Known: {', '.join(sorted(known))}.")
        current = known[key]
        if isinstance(current, Path):
            changes[key] = Path(_expect(value, str, where + key))
        elif isinstance(current, float):
            changes[key] = float(_expect(value, (int, float), where + key))
        else:
            changes[key] = _expect(value, int if current is None else type(current), where + key)
    return replace(base, **changes)


def _expect(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError("config-type", f"{where} cannot be {value!r}.", "Correct the type in the settings file.")
    return value
