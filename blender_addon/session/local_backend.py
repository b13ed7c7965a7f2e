# SPDX-License-Identifier: GPL-3.0-or-later
"""Find, start, watch and stop a backend on this computer; knows no bpy and never waits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...interngs.errors import InputError

LOG_LINES = 500
PYTHON_IN_VENV = ("Scripts/python.exe",) if os.name == "nt" else ("bin/python3", "bin/python")
BACKEND_SCRIPT = "Scripts/interngs-backend.exe" if os.name == "nt" else "bin/interngs-backend"
FORGOTTEN = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "VIRTUAL_ENV")
"""Blender's own Python settings, which would break another Python."""


@dataclass(frozen=True)
class BackendCommand:
    """How the backend is started: command line without options, and the folder it runs in."""

    arguments: tuple[str, ...]
    folder: Path | None = None


def _python_in(folder: Path) -> Path | None:
    return next((folder / name for name in PYTHON_IN_VENV if (folder / name).is_file()), None)


def _command_in_folder(folder: Path) -> BackendCommand | None:
    """The backend of a virtual environment, or of a checkout that has one in ``.venv``."""
    if (folder / "backend" / "__main__.py").is_file():
        python = _python_in(folder / ".venv") or _python_in(folder / "venv")
        return BackendCommand((str(python), "-m", "backend"), folder) if python else None
    if (folder / BACKEND_SCRIPT).is_file():
        return BackendCommand((str(folder / BACKEND_SCRIPT),))
    python = _python_in(folder)
    checkout = folder.parent
    if python and (checkout / "backend" / "__main__.py").is_file():
        return BackendCommand((str(python), "-m", "backend"), checkout)
    return None


def find_backend(told: str = "", environment: Mapping[str, str] = os.environ) -> BackendCommand:
    """The command that starts the backend.

    Args:
        told: what the preferences say: a Python program, a virtual environment, or a checkout; may be empty.
        environment: looked at for ``INTERNGS_HOME`` (like ``told``) and ``PATH``.

    Raises:
        InputError: nothing was found, or what was told is no backend.
    """
    for given in filter(None, (told, environment.get("INTERNGS_HOME", ""))):
        path = Path(given).expanduser()
        if path.is_file():
            # not resolved: a virtual environment's Python is a link, and its own path is what makes it one
            return _command_in_folder(path.parent.parent) or BackendCommand((str(path), "-m", "backend"))
        found = _command_in_folder(path) if path.is_dir() else None
        if found is None:
            raise InputError("backend-not-found", f"There is no Intern-GS backend in {given}.",
                             "Choose the folder that 'python run.py' was run in, or the Python that Intern-GS is "
                             "installed for.")
        return found
    on_path = shutil.which("interngs-backend", path=environment.get("PATH"))
    if on_path:
        return BackendCommand((on_path,))
    raise InputError("backend-not-found", "No Intern-GS backend was found on this computer.",
                     "Install it (see the README), then choose its folder under Local Backend in the preferences.")


class LocalBackend:
    """One backend process of this Blender."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self.address = ""

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs or when none was started."""
        return None if self._process is None else self._process.poll()

    @property
    def log(self) -> list[str]:
        """The newest lines that the backend wrote."""
        return list(self._log)

    def start(self, command: BackendCommand, address: str, options: tuple[str, ...] = (), *,
              ends_with_blender: bool = True) -> None:
        """Start the backend so that it listens at ``address``; returns at once.

        With ``ends_with_blender`` it stops in good order when Blender ends, even when Blender crashes: it watches its
        standard input.

        Raises:
            InputError: it runs already, or the program cannot be started.
        """
        if self.is_running:
            raise InputError("backend-running", "The local backend runs already.", "Connect to it.")
        environment = {name: value for name, value in os.environ.items() if name not in FORGOTTEN}
        environment["PYTHONUNBUFFERED"] = "1"
        separate: dict[str, int | bool] = {"start_new_session": True}
        if sys.platform == "win32":
            separate = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        self._log.clear()
        line = [*command.arguments, "--listen", address, *options]
        if ends_with_blender:
            line.append("--stop-with-stdin")
        self._log.append("> " + " ".join(line))
        try:
            self._process = subprocess.Popen(
                line, cwd=command.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if ends_with_blender else subprocess.DEVNULL,
                text=True, encoding="utf-8", errors="replace", **separate)
        except OSError as error:
            raise InputError("backend-not-started", f"{command.arguments[0]} cannot be started: {error.strerror}.",
                             "Check the local backend's path in the preferences.") from error
        self.address = address
        threading.Thread(target=self._read, args=(self._process,), name="interngs-backend-log", daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is not None:
            for line in process.stdout:
                self._log.append(line.rstrip())

    def stop(self) -> None:
        """Ask the backend to end in good order; returns at once, the backend keeps its jobs."""
        if not self.is_running or self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        elif sys.platform == "win32":
            self._process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once (its jobs go on from their checkpoints at the next start)."""
        if self._process is not None and self.is_running:
            self._process.kill()
