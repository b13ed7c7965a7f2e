#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""One entry for people and for CI: makes .venv with pinned packages when it must, then runs a command in it.

Standard library only; Python 3.11 or newer; Linux, Windows, macOS.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = "interngs-installed.txt"

LIBRARY_COMMANDS = {
    "demo": "reconstruct the shipped example from 3 views; pictures, splat and report go to out/demo",
    "reconstruct": "photos and poses to a splat:  python run.py reconstruct CAPTURE -o OUT",
    "eval": "train on a few views, measure on the others:  python run.py eval CAPTURE --views 3",
    "render": "render a splat from cameras",
    "info": "what a capture or a splat file holds",
    "clean": "remove floaters and crop a splat",
    "convert": "a splat file into another format",
    "weights": "model files: list, add, download, path, verify",
    "submit": "send a capture to a backend; see also jobs, watch, fetch, pause, resume, cancel, discard, pair, health",
    **dict.fromkeys(("jobs", "watch", "fetch", "pause", "resume", "cancel", "discard", "pair", "health"), ""),
}
OTHER_COMMANDS = {
    "backend": "start the service that Blender talks to",
    "test": "ruff, mypy, the tests in Blender's Python, then pytest;  with arguments: pytest alone, given those",
    "check": "ruff and mypy alone",
    "addon": "build the Blender extension into dist/",
    "setup": "install everything and stop",
}

# Blender versions whose Python module the tests run in: (bpy, Python, numpy).
BLENDERS = (("4.5.15", "3.11", "numpy<2"), ("5.2.3", "3.13", "numpy"))
BLENDER_TEST_PACKAGES = ("msgpack", "pytest", "pytest-timeout", "pyzmq")


def main(argv: list[str]) -> int:
    """Run one command; the exit code is the command's own."""
    command, arguments = (argv[0], argv[1:]) if argv else ("--help", [])
    if command in ("-h", "--help", "help"):
        print(usage())
        return 0
    if command not in {**LIBRARY_COMMANDS, **OTHER_COMMANDS}:
        print(f"There is no command {command!r}.\n\n{usage()}", file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what people with an older Python start
        print(f"This is Python {sys.version.split()[0]}; Python 3.11 or newer is needed. Install one from "
              "https://www.python.org/downloads/ and call run.py with it, for example: python3.11 run.py demo",
              file=sys.stderr)
        return 1
    try:
        return run(set_up(), command, arguments)
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def run(python: Path, command: str, arguments: list[str]) -> int:
    """Run a known command with the environment's Python."""
    if command == "setup":
        print(f"Ready. The command line is {python.with_name('interngs')}.")
        return 0
    if command == "check":
        return check(python)
    if command == "test":
        return test(python, arguments)
    program: dict[str, list[str | Path]] = {
        "addon": [ROOT / "tools" / "build_addon.py"],
        "backend": ["-m", "backend"],
    }
    return call([python, *program.get(command, ["-m", "interngs.cli", command]), *arguments])


class SetupError(Exception):
    """Something on this machine keeps the set-up from finishing; the text says what to do."""


def usage() -> str:
    """Help text."""
    commands = {**LIBRARY_COMMANDS, **OTHER_COMMANDS}
    lines = [f"  {name:<12} {text}" for name, text in commands.items() if text]
    return "\n".join(["usage: python run.py COMMAND [ARGUMENTS]", "", *lines, "",
                      "Each command takes --help. The first call installs into .venv, which takes some minutes."])


def call(command: list[str | Path], cwd: Path | None = None) -> int:
    """Run a program to its end and return its exit code; Ctrl-C is left to the program to handle."""
    process = subprocess.Popen([str(part) for part in command], cwd=cwd)
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def set_up() -> Path:
    """Make the project's virtual environment match the pinned versions; return its Python."""
    constraints, project = ROOT / "constraints.txt", ROOT / "pyproject.toml"
    extra = [] if has_cpp_compiler() else ["ziglang"]   # compiles the CPU kernels where nothing else can
    state = hashlib.sha256(b"\0".join([constraints.read_bytes(), project.read_bytes(), *map(str.encode, extra)]))
    steps: list[list[str | Path]] = [
        ["--constraint", constraints, f"torch=={pinned(['torch'])[0].partition('==')[2]}"],
        ["--constraint", constraints, "--editable", f"{ROOT}[dev]", *extra],
    ]
    return ensure_venv(VENV, Path(sys.executable), steps, state.hexdigest())


def ensure_venv(folder: Path, base: Path, steps: list[list[str | Path]], state: str) -> Path:
    """Make ``folder`` a virtual environment of ``base`` in which each pip step was done; return its Python.

    A stamp inside holds ``state`` once all is installed, so the next call has nothing to do.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / STAMP
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == state:
        return python
    print(f"Setting up {folder.name} (once; some minutes, mostly downloads) ...", flush=True)
    stamp.unlink(missing_ok=True)
    pip: list[str | Path] = [python, "-m", "pip"]
    has_pip = python.exists() and subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0
    if not has_pip and call([base, "-m", "venv", "--clear", folder]) != 0:
        raise SetupError(f"{base} could not make {folder}. On Debian and Ubuntu: apt install python3-venv; else "
                         "check that the folder may be written, then run this again.")
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    for step in steps:
        if call([*pip, "install", "--disable-pip-version-check", *quiet, *step], cwd=ROOT) != 0:
            raise SetupError("Installing packages failed; pip says why above. Check the network, the proxy, the free "
                             "disk space and that this Python is one that PyTorch supports, then run this again: "
                             "it goes on where it stopped.")
    stamp.write_text(state, "utf-8")
    return python


def pinned(names: list[str] | tuple[str, ...]) -> list[str]:
    """Requirements ``name==version`` as constraints.txt pins them."""
    text = (ROOT / "constraints.txt").read_text("utf-8")
    found = [re.search(rf"^{re.escape(name)}==\S+$", text, re.MULTILINE) for name in names]
    missing = [name for name, match in zip(names, found, strict=True) if match is None]
    if missing:
        raise SetupError(f"constraints.txt pins no version of {', '.join(missing)}; add a line name==version.")
    return [match.group() for match in found if match is not None]


def has_cpp_compiler() -> bool:
    """Whether the system brings a C++ compiler that works on the command line."""
    if sys.platform == "darwin":     # /usr/bin/c++ is there without the tools, and opens a dialogue
        return subprocess.run(["/usr/bin/xcode-select", "-p"], capture_output=True, check=False).returncode == 0
    if os.environ.get("CXX"):
        return True
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def check(python: Path) -> int:
    """Static checks of the whole repository."""
    codes = [call([python, "-m", *tool], cwd=ROOT) for tool in (["ruff", "check", "."], ["mypy"])]
    return max(codes)


def test(python: Path, arguments: list[str]) -> int:
    """All checks and tests; pytest comes last, so its closing line ends the output of a good run."""
    if arguments:
        return call([python, "-m", "pytest", *arguments], cwd=ROOT)
    failed = []
    if check(python) != 0:
        failed.append("ruff or mypy")
    if any((ROOT / "tests" / "blender").glob("**/test_*.py")):
        failed += [f"tests in Blender {version[0]}" for version in BLENDERS if not test_in_blender(*version)]
    if call([python, "-m", "pytest"], cwd=ROOT) != 0:
        failed.append("pytest")
    if failed:
        print(f"FAILED: {', '.join(failed)}; see above.", file=sys.stderr)
    return 1 if failed else 0


def test_in_blender(blender: str, python_version: str, numpy: str) -> bool:
    """Run the tests that need Blender's Python module; without its Python: a notice, and a failure in CI."""
    base = find_python(python_version)
    if base is None:
        print(f"SKIPPED: tests in Blender {blender} need Python {python_version}, which was not found. Install it (for "
              f"example: pyenv install {python_version}; or: uv python install {python_version}) so that "
              f"python{python_version} is on the PATH.", flush=True)
        return os.environ.get("CI") != "true"
    packages = [f"bpy=={blender}", numpy, *pinned(BLENDER_TEST_PACKAGES)]
    python = ensure_venv(ROOT / f".venv-bpy-{blender}", base, [[*packages]], " ".join(packages))
    print(f"Tests in Blender {blender}:", flush=True)
    return call([python, "-m", "pytest", "-m", "blender", "tests/blender"], cwd=ROOT) == 0


def find_python(version: str) -> Path | None:
    """An interpreter of that version (``"3.13"``): this one, on the PATH, of the py launcher, or of pyenv."""
    candidates = [[sys.executable], [f"python{version}"], ["py", f"-{version}"]]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted(pyenv.glob(f"versions/{version}.*")):
        candidates.append([str(folder / "bin" / "python")])
    question = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
    for candidate in candidates:
        if shutil.which(candidate[0]) is None:
            continue
        answer = subprocess.run([*candidate, "-c", question], capture_output=True, text=True, check=False)
        lines = answer.stdout.splitlines()
        if answer.returncode == 0 and lines[0] == version:
            return Path(lines[1])
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
