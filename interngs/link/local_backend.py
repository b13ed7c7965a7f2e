# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a backend of one's own on this machine as a child process, and stops it again; standard library only."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import InternGSError


@dataclass(eq=False)
class LocalBackend:
    """A backend process that listens on loopback and ends with its parent.

    Attributes:
        process: the child; its end of standard input ends it, also when the parent crashed.
        log_path: what it prints.
    """

    process: subprocess.Popen[bytes]
    log_path: Path
    ready_path: Path

    @staticmethod
    def start(python: Path, store: Path, *, folder: Path | None = None,
              options: tuple[str, ...] = ()) -> LocalBackend:
        """Start one; returns at once.  ``address`` becomes known when it is ready.

        Args:
            python: interpreter of an environment that has the backend.
            store: folder of its jobs and blobs; made if missing.
            folder: where to start it (the repository), for environments in which the package is not installed.
            options: more options of ``python -m backend``.

        Raises:
            InternGSError: ``backend-not-started``.
        """
        log_path, ready_path = store / "backend.log", store / f"ready-{os.getpid()}-{time.monotonic_ns()}.json"
        command = [str(python), "-m", "backend", "--listen", "tcp://127.0.0.1:0", "--store", str(store),
                   "--ready-file", str(ready_path), "--stop-with-stdin", *options]
        # Blender's own PYTHON* settings must not reach another interpreter.
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)      # Windows: no console window
        try:
            store.mkdir(parents=True, exist_ok=True)
            with log_path.open("ab") as log:
                process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=log,
                                           stderr=subprocess.STDOUT, creationflags=flags)
        except OSError as error:
            raise InternGSError("backend-not-started", f"The backend did not start: {error}.",
                                "Check the path of the Python environment and of the store folder.") from error
        return LocalBackend(process, log_path, ready_path)

    @property
    def address(self) -> str | None:
        """Where it listens; None until it is ready."""
        try:
            values = json.loads(self.ready_path.read_text("utf-8"))
        except (OSError, ValueError):
            return None     # not there yet; the file appears whole
        address = values.get("address")
        return address if isinstance(address, str) else None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def wait_until_ready(self, timeout_s: float = 30.0) -> str:
        """Wait for the address; for programs that can wait.

        Raises:
            InternGSError: ``backend-not-started``: it ended, or took too long.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and self.is_running:
            if (address := self.address) is not None:
                return address
            time.sleep(0.05)
        self.stop(1.0)
        raise InternGSError("backend-not-started", f"The backend did not get ready: {self.last_log_line()}",
                            f"Read its log: {self.log_path}.")

    def last_log_line(self) -> str:
        """The last line it printed, for a message."""
        try:
            lines = self.log_path.read_text("utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "no log."
        return lines[-1][:300] if lines else "no log."

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ask it to end in good order (running jobs are checkpointed); kill it after ``timeout_s``.

        Returns:
            Whether it ended by itself.
        """
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except OSError:
                self.process.poll()     # it ended first
        try:
            self.process.wait(timeout_s)
            ended = True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            ended = False
        self.ready_path.unlink(missing_ok=True)
        return ended
