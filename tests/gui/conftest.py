# SPDX-License-Identifier: GPL-3.0-or-later
"""Real windows: Blender in a chroot on Xvfb, the backend on this machine, pictures kept for a person to look at."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUI_ROOTS = [Path(each) for each in os.environ.get("INTERNGS_GUI_ROOTS", "").split(os.pathsep) if each]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_generate_tests(metafunc):
    if "blender_root" in metafunc.fixturenames:
        metafunc.parametrize("blender_root", GUI_ROOTS or [None], ids=lambda root: root.name if root else "none")


@pytest.fixture(scope="session")
def extension_zip(tmp_path_factory):
    (path,) = load("build_addon").build(tmp_path_factory.mktemp("zip"), only_platform="linux-x64")
    return path


@pytest.fixture
def window(blender_root, extension_zip, tmp_path, request):
    """Run a script of this folder in a real window; gives what it found.  Pictures go to ``out/gui`` (``kept``)."""
    if blender_root is None:
        pytest.skip("needs a real Blender window: python tools/blender_window.py setup sid FOLDER, then "
                    "INTERNGS_GUI_ROOTS=FOLDER")
    if not (blender_root / "usr/bin/blender").exists():
        pytest.skip(f"needs a real Blender window: no Blender in {blender_root}")
    work = tmp_path / "work"
    work.mkdir()
    for script in Path(__file__).parent.glob("*.py"):
        shutil.copy(script, work)
    shutil.copy(extension_zip, work / "addon.zip")
    pictures = work / "pictures"
    pictures.mkdir()

    def run(script, *arguments, options=(), files=(), timeout_s=1000.0):
        for path in files:
            if path.is_dir():
                shutil.copytree(path, work / path.name, dirs_exist_ok=True)
            else:
                shutil.copy(path, work)
        told = ["/w/pictures", "/w/addon.zip", *arguments]
        done = load("blender_window").run(blender_root, work, script, options, told, timeout_s=timeout_s)
        kept = ROOT / "out" / "gui" / re.sub(r"[^\w-]+", "-", request.node.name).strip("-")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(pictures, kept)
        (kept / "blender.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        assert (pictures / "result.json").exists(), done.stdout[-3000:] + done.stderr[-3000:]
        result = json.loads((pictures / "result.json").read_text())
        assert "failure" not in result, f"{result['failure']}\nSee {kept}"
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        run.kept = kept
        return result

    return run


def run_backend(folder, pipeline):
    """A backend on this machine, in a process of its own; gives its address."""
    folder.mkdir()
    lines = ["min_free_bytes = 0", 'device = "cpu"', *([f'pipeline = "{pipeline}"'] if pipeline else [])]
    (folder / "server.toml").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/backend/pipelines")]),
                   "STAND_IN_STEP_S": "0.02"}
    ready = folder / "ready.json"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend", "--config", str(folder / "server.toml"), "--store", str(folder / "store"),
             "--keys", str(folder / "keys"), "--listen", "tcp://127.0.0.1:0", "--ready-file", str(ready)],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    until = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None and time.monotonic() < until, (folder / "server.log").read_text()
        time.sleep(0.1)
    yield json.loads(ready.read_text())["address"]
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def backend(tmp_path):
    """A backend with a quick stand-in for the pipeline."""
    yield from run_backend(tmp_path / "server", "stand_in_pipeline:reconstruct")


@pytest.fixture
def real_backend(tmp_path):
    """A backend with the real pipeline."""
    yield from run_backend(tmp_path / "server", None)
