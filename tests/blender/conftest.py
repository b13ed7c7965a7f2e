# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Blender as a module: an empty user folder, the extension loaded as Blender loads it, a hard exit at the end."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = "intern_gs_under_test"

bpy_missing = importlib.util.find_spec("bpy") is None
if not bpy_missing:
    _user = tempfile.mkdtemp(prefix="interngs_blender_user_")
    os.environ["BLENDER_USER_RESOURCES"] = _user
    import bpy


def pytest_ignore_collect(collection_path, config):
    return True if bpy_missing and collection_path.name.startswith("test_") else None


def load_extension():
    """The repository root as a package, as Blender loads an extension."""
    if EXTENSION not in sys.modules:
        spec = importlib.util.spec_from_file_location(EXTENSION, ROOT / "__init__.py",
                                                      submodule_search_locations=[str(ROOT)])
        module = importlib.util.module_from_spec(spec)
        sys.modules[EXTENSION] = module
        spec.loader.exec_module(module)
    return sys.modules[EXTENSION]


@pytest.fixture(scope="session")
def extension_name():
    load_extension()
    return EXTENSION


@pytest.fixture
def module(extension_name):
    """Import a module of the extension by its dotted name below the root."""
    return lambda dotted: importlib.import_module(f"{extension_name}.{dotted}")


@pytest.fixture(autouse=True)
def empty_file():
    bpy.ops.wm.read_homefile(use_empty=True)
    yield


def pytest_sessionfinish(session, exitstatus):
    session.config.interngs_status = int(exitstatus)


def pytest_unconfigure(config):
    if bpy_missing:
        return
    shutil.rmtree(_user, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(getattr(config, "interngs_status", 0))  # up to 4.5 Blender's own exit handlers can hang in a module


@pytest.fixture(scope="session")
def egl():
    """Workbench and the gpu module abort the process where EGL is missing: ask a child process first."""
    probe = ("import ctypes as c; e=c.CDLL('libEGL.so.1'); e.eglGetPlatformDisplay.restype=c.c_void_p; "
             "e.eglGetPlatformDisplay.argtypes=[c.c_uint,c.c_void_p,c.c_void_p]; "
             "d=e.eglGetPlatformDisplay(0x31DD,None,None); e.eglInitialize.argtypes=[c.c_void_p]*3; "
             "raise SystemExit(0 if d and e.eglInitialize(d,None,None) else 1)")
    if sys.platform != "linux":
        return
    if subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("no EGL: install libegl1 libegl-mesa0 libgl1-mesa-dri")


@pytest.fixture
def addon(extension_name):
    """The add-on, registered for one test as Blender registers it."""
    root = sys.modules[extension_name]
    entry = bpy.context.preferences.addons.new()
    entry.module = extension_name
    root.register()
    yield root
    root.unregister()
    bpy.context.preferences.addons.remove(entry)
