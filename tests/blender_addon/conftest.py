# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the repository root as a package, as Blender loads the extension; the modules tested here know no bpy."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = "intern_gs_without_blender"


@pytest.fixture(scope="session")
def addon_module():
    """Import a module of the extension by its dotted name below the root."""
    if EXTENSION not in sys.modules:
        spec = importlib.util.spec_from_file_location(EXTENSION, ROOT / "__init__.py",
                                                      submodule_search_locations=[str(ROOT)])
        module = importlib.util.module_from_spec(spec)
        sys.modules[EXTENSION] = module
        spec.loader.exec_module(module)
    return lambda dotted: importlib.import_module(f"{EXTENSION}.{dotted}")
