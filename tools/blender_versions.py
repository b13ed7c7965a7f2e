# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the Blender tests in every supported version, one after the other.

    python tools/blender_versions.py [VERSION ...]

``python run.py test`` runs two of them; environments (``.venv-bpy-VERSION``) are made in the same way.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLENDERS = {"4.2.23": ("3.11", "numpy==1.26.4"), "4.5.15": ("3.11", "numpy<2"), "5.0.1": ("3.11", "numpy<2"),
            "5.1.2": ("3.13", "numpy"), "5.2.3": ("3.13", "numpy")}
"""bpy version -> Python, numpy (4.2's wheel does not say that it is built for numpy 1)."""


def main(argv: Sequence[str]) -> int:
    """Test the named versions, or all."""
    unknown = [version for version in argv if version not in BLENDERS]
    if unknown:
        sys.stderr.write(f"Unknown: {', '.join(unknown)}. Known: {', '.join(BLENDERS)}.\n")
        return 2
    spec = importlib.util.spec_from_file_location("interngs_run", ROOT / "run.py")
    if spec is None or spec.loader is None:
        raise SystemExit("run.py is missing.")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    versions = list(argv) or list(BLENDERS)
    failed = [version for version in versions if not run.test_in_blender(version, *BLENDERS[version])]
    sys.stdout.write(f"Failed: {', '.join(failed)}\n" if failed else f"Passed: {', '.join(versions)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
