# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Blender as a module: an empty user folder, the extension loaded as Blender loads it, a hard exit at the end."""

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = "intern_gs_under_test"

bpy_missing = importlib.util.find_spec("bpy") is None
if not bpy_missing:
    _user = tempfile.mkdtemp(prefix="interngs_blender_user_")
    os.environ["BLENDER_USER_RESOURCES"] = _user
    os.environ["INTERNGS_CLIENT_DIR"] = str(Path(_user) / "interngs_client")
    import bpy
    sys.path.append(str(ROOT / "benchmarks"))
    import background_gpu


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


@pytest.fixture(scope="session")
def repository():
    return ROOT


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


@pytest.fixture
def splats(module):
    """The module that keeps Gaussians in objects."""
    return module("blender_addon.scene.splat_object")


@pytest.fixture
def add_splat(module, splats):
    """Put raw parameters, as ``Gaussians`` takes them, into the scene: selected and active."""
    record, arrays = module("interngs.scene.gaussians").Gaussians, module("blender_addon.scene.splat_arrays")

    def add(name, *parameters):
        gaussians = record(*(np.float32(each) for each in parameters))
        made = splats.create(name, arrays.splat_arrays(gaussians, splats.wants_viewing_attributes()),
                             bpy.context.scene.collection)
        bpy.context.view_layer.objects.active = made
        made.select_set(True)
        bpy.context.view_layer.update()
        return made
    return add


@pytest.fixture
def in_world(module, splats):
    """The Gaussians of an object where they are seen."""
    def read(splat):
        bpy.context.view_layer.update()
        return module("interngs.scene.transforms").transform_gaussians(splats.read(splat), np.array(splat.matrix_world))
    return read


@pytest.fixture(scope="session")
def with_gpu(egl):
    """Run something with a live GPU context in background mode."""
    return background_gpu.with_gpu


BACKEND_PYTHON = next((path for path in (ROOT / ".venv/bin/python", ROOT / ".venv/Scripts/python.exe")
                       if path.exists()), None)


@pytest.fixture(scope="session")
def backend_python():
    """The Python of the repository's own environment."""
    if BACKEND_PYTHON is None:
        pytest.skip("needs the repository's own .venv: python run.py test makes it")
    return BACKEND_PYTHON


class Server:
    """A real backend in a process of its own, in the repository's own environment; on one port all along."""

    def __init__(self, folder: Path, pipeline: str | None, require_keys: bool) -> None:
        self.folder, self.pipeline, self.require_keys = folder, pipeline, require_keys
        self.address, self.process = "", None

    def command(self) -> list[str]:
        return [str(BACKEND_PYTHON), "-m", "backend", "--keys", str(self.folder / "keys")]

    def start(self) -> "Server":
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.toml"
        lines = ["min_free_bytes = 0", "heartbeat_s = 0.5", 'device = "cpu"']
        lines += [f'pipeline = "{self.pipeline}"'] if self.pipeline else []
        config.write_text("\n".join(lines))
        if self.require_keys and not (self.folder / "keys").exists():
            subprocess.run([*self.command(), "keys", "init"], cwd=ROOT, capture_output=True, check=True)
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "backend" / "pipelines")])
        environment["STAND_IN_LOG"] = str(self.folder / "work.log")
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command(), "--config", str(config), "--store", str(self.folder / "store"), "--listen",
                 self.address or "tcp://127.0.0.1:0", "--ready-file", str(ready),
                 *(["--require-keys"] if self.require_keys else [])],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None and time.monotonic() < until, (self.folder / "server.log").read_text()
            time.sleep(0.05)
        self.address = json.loads(ready.read_text())["address"]
        return self

    def pairing_line(self) -> str:
        made = subprocess.run([*self.command(), "keys", "pair", self.address], cwd=ROOT, capture_output=True, text=True,
                              check=True).stdout
        return next(line for line in made.splitlines() if line.startswith("tcp://"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture
def new_server(tmp_path):
    """Start servers: ``new_server()`` with a quick stand-in for the pipeline, ``new_server(real=True)`` with it."""
    if BACKEND_PYTHON is None:
        pytest.skip("the backend needs the repository's own .venv: python run.py test makes it")
    started = []

    def start(real=False, require_keys=False):
        pipeline = None if real else "stand_in_pipeline:reconstruct"
        started.append(Server(tmp_path / f"server{len(started)}", pipeline, require_keys))
        return started[-1].start()

    yield start
    for each in started:
        each.stop()
