# SPDX-License-Identifier: GPL-3.0-or-later
"""run.py: commands, exit codes, the stamp that makes a second call start at once, errors with a remedy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("demo", "test", "check", "addon", "backend", "reconstruct", "setup"):
        assert f"\n  {command} " in text


def test_an_unknown_command_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["demmo"]) == 2
    assert "There is no command 'demmo'" in capsys.readouterr().err


def test_exit_codes_pass_through() -> None:
    assert run.call([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert run.call([sys.executable, "-c", ""]) == 0


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: signals end processes")
def test_a_killed_program_gives_the_shells_code() -> None:
    assert run.call([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]) == 128 + 15


def make_venv(folder: Path) -> Path:
    """A folder that looks like a virtual environment; its Python is this one."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: the stand-in Python is a shell script")
def test_a_failed_install_is_explained_and_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = make_venv(tmp_path / "venv")
    with pytest.raises(run.SetupError, match="run this again"):
        run.ensure_venv(tmp_path / "venv", Path(sys.executable), [["--no-such-option"]], "state 1")
    assert not (tmp_path / "venv" / run.STAMP).exists()
    assert run.ensure_venv(tmp_path / "venv", Path(sys.executable), [["--help"]], "state 1") == python

    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("nothing may be installed when the stamp fits")

    monkeypatch.setattr(run, "call", refuse)
    assert run.ensure_venv(tmp_path / "venv", Path(sys.executable), [["anything"]], "state 1") == python
    with pytest.raises(AssertionError):
        run.ensure_venv(tmp_path / "venv", Path(sys.executable), [["anything"]], "state 2")


def test_versions_come_from_the_constraints() -> None:
    (torch,) = run.pinned(["torch"])
    assert torch.startswith("torch==2.")
    with pytest.raises(run.SetupError, match="no version of nonsense"):
        run.pinned(["nonsense"])


def test_every_dependency_is_pinned() -> None:
    """What pyproject.toml needs stands in constraints.txt with an exact version."""
    import tomllib

    project = tomllib.loads((run.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dev"], *extras.get("priors", ()), "ziglang"]
    names = {re.split(r"[\[;=<>! ]", requirement)[0] for requirement in needed} - {"interngs"}   # itself, with an extra
    assert run.pinned(sorted(names))


def test_this_python_is_found() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert run.find_python(version) == Path(sys.executable)
    assert run.find_python("2.99") is None


def test_help_starts_at_once_and_needs_nothing_installed() -> None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-I", "-S", run.ROOT / "run.py", "--help"], capture_output=True, text=True,
                          check=True, timeout=60)
    assert "usage: python run.py" in done.stdout
    assert time.monotonic() - started < 10      # loaded machines included; 0.05 s on a quiet one
