# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the Blender tests in every supported version: makes an environment for each, then tests one after the other.

    python tools/test_blender_versions.py [VERSION ...] [-- pytest options]

Environments are `.venv-bpy-VERSION` in the repository; each needs Python 3.11 or 3.13 on the PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON_OF = {"4.2.23": "3.11", "4.5.15": "3.11", "5.0.1": "3.11", "5.1.2": "3.13", "5.2.3": "3.13"}
NUMPY_OF = {"3.11": "numpy==1.26.4", "3.13": "numpy>=2"}
"""bpy for Python 3.11 is built for numpy 1; 4.2's wheel does not say so."""


def environment(version: str) -> Path:
    """The Python of the environment with bpy ``version``; made at the first call.

    Raises:
        SystemExit: its Python version is not installed.
    """
    folder = ROOT / f".venv-bpy-{version}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        base = shutil.which(f"python{PYTHON_OF[version]}")
        if base is None:
            raise SystemExit(f"bpy {version} needs Python {PYTHON_OF[version]}, which is not on the PATH.")
        subprocess.run([base, "-m", "venv", str(folder)], check=True)
        pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
                    if "==" in line and not line.startswith("#"))
        wanted = [f"{name}=={pins[name]}" for name in ("pyzmq", "msgpack", "pytest", "pytest-timeout")]
        subprocess.run([str(python), "-m", "pip", "install", "-q", f"bpy=={version}", NUMPY_OF[PYTHON_OF[version]],
                        *wanted], check=True)
    return python


def main(argv: Sequence[str]) -> int:
    """Test the named versions, or all."""
    cut = list(argv).index("--") if "--" in argv else len(argv)
    versions = list(argv[:cut]) or list(PYTHON_OF)
    failed = []
    for version in versions:
        if version not in PYTHON_OF:
            raise SystemExit(f"Unknown version {version}; known: {', '.join(PYTHON_OF)}.")
        sys.stdout.write(f"== Blender {version}\n")
        sys.stdout.flush()
        command = [str(environment(version)), "-m", "pytest", "-q", "-m", "blender", "tests/blender", *argv[cut + 1:]]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(version)
    sys.stdout.write(f"Failed: {', '.join(failed)}\n" if failed else f"Passed: {', '.join(versions)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
