# SPDX-License-Identifier: GPL-3.0-or-later
"""The built zip: what is in it, that Blender's own tool accepts it, that it comes and goes without a trace."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import bpy
import pytest

pytestmark = pytest.mark.blender
ROOT = Path(__file__).resolve().parents[2]
PLATFORM = {"linux": "linux-x64", "win32": "windows-x64"}.get(
    sys.platform, "macos-arm64" if platform.machine() == "arm64" else "macos-x64")


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_addon", ROOT / "tools" / "build_addon.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def zip_path(builder, tmp_path_factory):
    (path,) = builder.build(tmp_path_factory.mktemp("dist"), only_platform=PLATFORM)
    return path


def test_blenders_own_tool_accepts_it(builder, zip_path):
    script = next(Path(bpy.utils.resource_path("LOCAL"), "scripts", "addons_core").glob("bl_pkg/cli/blender_ext.py"))
    done = subprocess.run([sys.executable, str(script), "validate", str(zip_path)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_blender_needs_is_in_it(zip_path):
    names = zipfile.ZipFile(zip_path).namelist()
    assert {"blender_manifest.toml", "__init__.py", "blender_addon/__init__.py", "interngs/wire/codec.py"} <= set(names)
    wrong = [name for name in names if name.startswith(("tests/", "backend/", "interngs/render", "interngs/optimise"))
             or "__pycache__" in name or name.startswith("/") or ".." in name]
    assert not wrong
    wheels = [name for name in names if name.endswith(".whl")]
    assert {name.split("-")[0] for name in wheels} == {"wheels/pyzmq", "wheels/msgpack"}


def test_install_enable_disable_reload_uninstall(zip_path, tmp_path):
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(tmp_path / "user")}
    (tmp_path / "user").mkdir()
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("install_probe.py")), str(zip_path)],
                          env=environment, capture_output=True, text=True, timeout=120, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("PROBE ")), None)
    assert line, done.stdout + done.stderr
    report = json.loads(line.removeprefix("PROBE "))
    assert report["before"] == []
    assert report["enabled"] and "Scene.interngs" in report["registered"]
    assert report["wheels"] == ["27.3.0", "1.2.4"] and all(report["wheels_are_ours"])
    assert "blender_addon.scene.capture" in report["imported"] and "interngs.wire.codec" in report["imported"]
    assert report["after_disable"] == [] and report["after_reload"] and report["after_new_file"]
    assert not report["enabled_after_uninstall"] and report["after_uninstall"] == []
    assert report["files_left"] == []
    assert "Traceback" not in done.stderr and "Error" not in done.stdout.replace("EGL Error", "")
