# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's manifest and build, without Blender and without a network."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_addon", ROOT / "tools" / "build_addon.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def manifest(builder):
    return builder.read_manifest()


def test_versions_agree(manifest):
    package = re.search(r'__version__ = "(.+)"', (ROOT / "interngs" / "__init__.py").read_text(encoding="utf-8"))
    assert manifest["version"] == package[1]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
                if "==" in line and not line.startswith("#"))
    for wheel in manifest["wheels"]:
        name, version = Path(wheel).name.split("-")[:2]
        assert pins[name] == version


def test_every_platform_has_both_packages_for_every_python(builder, manifest):
    for platform in manifest["platforms"]:
        names = [Path(wheel).name for wheel in manifest["wheels"]
                 if platform in builder.wheel_platforms(wheel, manifest["platforms"])]
        pythons = ["cp311"] if platform == "macos-x64" else ["cp311", "cp313", "cp314"]
        assert [name.split("-")[2] for name in names if name.startswith("msgpack")] == pythons
        tags = [name.split("-")[2:4] for name in names if name.startswith("pyzmq")]
        assert tags == [["cp311", "cp311"], ["cp312", "abi3"]]


def test_only_light_rooms_are_shipped(builder):
    files = builder.shipped_files()
    assert "interngs/scene/cameras.py" in files and "blender_addon/scene/lens.py" in files
    heavy = [name for name in files if name.startswith("interngs/") and name.count("/") > 1
             and name.split("/")[1] not in ("scene", "formats", "wire", "link")]
    assert not heavy
    for name in files:
        assert not re.search(r"^\s*(import|from) (torch|scipy|cv2|PIL|pycolmap)\b",
                             (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE), name


def test_a_zip_for_one_platform_names_only_its_wheels(builder, manifest, tmp_path):
    import tomllib
    import zipfile

    wheels = [wheel for wheel in manifest["wheels"] if builder.wheel_platforms(wheel, ["windows-x64"])]
    for wheel in wheels:
        (tmp_path / Path(wheel).name).write_bytes(b"wheel")
    for name in ("one.zip", "two.zip"):
        builder.write_zip(tmp_path / name, ROOT, tmp_path, ["windows-x64"], wheels)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        inside = tomllib.loads(archive.read("blender_manifest.toml").decode())
        assert inside["platforms"] == ["windows-x64"] and inside["wheels"] == wheels
        assert {name for name in archive.namelist() if name.endswith(".whl")} == {w.removeprefix("./") for w in wheels}
        assert inside["permissions"].keys() == {"network", "files"}


def test_an_unknown_wheel_is_named(builder):
    with pytest.raises(SystemExit, match="riscv"):
        builder.wheel_platforms("./wheels/pyzmq-27.3.0-cp311-cp311-linux_riscv64.whl", ["linux-x64"])
