# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the Blender extension: fetch its wheels, zip what Blender needs, validate it with Blender's own tool."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = "blender_manifest.toml"
SIZE_LIMIT_BYTES = 8_000_000
"""One zip for every platform as long as it stays below this; else one zip each."""

SHIPPED_FILES = ("__init__.py", "LICENSE", "interngs/__init__.py", "interngs/errors.py", "interngs/events.py",
                 "interngs/storage.py")
SHIPPED_FOLDERS = ("blender_addon", "interngs/scene", "interngs/formats", "interngs/wire", "interngs/link")
SHIPPED_SUFFIXES = (".py", ".glsl")

PLATFORM_OF_TAG = {"macosx_10_9_x86_64": "macos-x64", "macosx_11_0_arm64": "macos-arm64",
                   "macosx_10_15_universal2": "macos", "win_amd64": "windows-x64"}
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""A fixed time for every member, so that the same sources give the same bytes."""


def read_manifest(root: Path = ROOT) -> dict[str, Any]:
    """The extension's manifest."""
    return tomllib.loads((root / MANIFEST).read_text(encoding="utf-8"))


def shipped_files(root: Path = ROOT) -> list[str]:
    """Paths, relative to ``root`` with forward slashes, of every source file that goes into the zip."""
    found = [name for name in SHIPPED_FILES if (root / name).is_file()]
    for folder in SHIPPED_FOLDERS:
        found += [path.relative_to(root).as_posix() for path in (root / folder).rglob("*")
                  if path.suffix in SHIPPED_SUFFIXES and "__pycache__" not in path.parts]
    return sorted(found)


def wheel_platforms(wheel: str, platforms: Sequence[str]) -> list[str]:
    """Which of Blender's ``platforms`` a wheel file serves."""
    tag = PurePosixPath(wheel).stem.rsplit("-", 1)[1]
    family = PLATFORM_OF_TAG.get(tag, "linux-x64" if tag.startswith("manylinux") else None)
    if family is None:
        raise SystemExit(f"{wheel}: unknown platform tag {tag!r}; add it to PLATFORM_OF_TAG in tools/build_addon.py.")
    return [platform for platform in platforms if platform.startswith(family)]


def fetch_wheels(wheels: Sequence[str], folder: Path) -> None:
    """Download each wheel that the manifest names and that is not in ``folder`` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PurePosixPath(wheel).name for wheel in wheels):
        if (folder / name).is_file():
            continue
        package, version, python_tag, abi_tag, platform_tag = name.removesuffix(".whl").split("-")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary", ":all:", "--implementation", "cp", "--abi", abi_tag,
                   "--python-version", python_tag.removeprefix("cp"), "--dest", str(folder)]
        for tag in platform_tag.split("."):
            command += ["--platform", tag]
        done = subprocess.run([*command, f"{package}=={version}"], capture_output=True, text=True, check=False)
        if done.returncode or not (folder / name).is_file():
            raise SystemExit(f"Could not download {name}:\n{done.stderr.strip()}\n"
                             "Check the connection, or put the file into wheels/ by hand.")


def manifest_text(text: str, platforms: Sequence[str], wheels: Sequence[str]) -> str:
    """The manifest's text reduced to ``platforms`` and ``wheels``."""
    def array(items: Sequence[str]) -> str:
        return "[\n" + "".join(f'  "{item}",\n' for item in items) + "]"

    text = re.sub(r"^platforms = \[[^\]]*\]", f"platforms = {array(platforms)}", text, flags=re.MULTILINE)
    return re.sub(r"^wheels = \[[^\]]*\]", f"wheels = {array(wheels)}", text, flags=re.MULTILINE)


def write_zip(target: Path, root: Path, wheel_folder: Path, platforms: Sequence[str], wheels: Sequence[str]) -> None:
    """Write the extension for ``platforms``, whole or not at all."""
    manifest = manifest_text((root / MANIFEST).read_text(encoding="utf-8"), platforms, wheels)
    members: list[tuple[str, bytes]] = [(MANIFEST, manifest.encode())]
    members += [(name, (root / name).read_bytes()) for name in shipped_files(root)]
    members += [(PurePosixPath(wheel).as_posix(), (wheel_folder / PurePosixPath(wheel).name).read_bytes())
                for wheel in wheels]
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    partial.replace(target)


def build(output: Path, root: Path = ROOT, split: bool = False, only_platform: str | None = None) -> list[Path]:
    """Build the zip (or one per platform) into ``output`` and return the files."""
    manifest = read_manifest(root)
    wheel_folder = root / "wheels"
    platforms: list[str] = [only_platform] if only_platform else manifest["platforms"]
    wheels = [wheel for wheel in manifest["wheels"] if wheel_platforms(wheel, platforms)]
    fetch_wheels(wheels, wheel_folder)
    output.mkdir(parents=True, exist_ok=True)
    name = f"{manifest['id']}-{manifest['version']}"
    if not split:
        whole = output / (f"{name}-{only_platform.replace('-', '_')}.zip" if only_platform else f"{name}.zip")
        write_zip(whole, root, wheel_folder, platforms, wheels)
        if whole.stat().st_size < SIZE_LIMIT_BYTES:
            return [whole]
        whole.unlink()
    made = []
    for platform in platforms:
        target = output / f"{name}-{platform.replace('-', '_')}.zip"
        write_zip(target, root, wheel_folder, [platform],
                  [wheel for wheel in wheels if platform in wheel_platforms(wheel, platforms)])
        made.append(target)
    return made


def _validators(root: Path) -> Iterator[Path]:
    named = os.environ.get("BLENDER_EXT")
    if named:
        yield Path(named)
    for folder in (*sorted(root.glob(".venv-bpy-*"), reverse=True), Path(sys.prefix)):
        yield from sorted(folder.glob("[Ll]ib*/**/bl_pkg/cli/blender_ext.py"))


def validator_command(root: Path = ROOT) -> list[str] | None:
    """The command that validates an extension: a bpy wheel's ``blender_ext.py``, else a ``blender`` on the PATH."""
    for script in _validators(root):
        if script.is_file():
            return [sys.executable, str(script), "validate"]
    blender = shutil.which("blender")
    return [blender, "--background", "--command", "extension", "validate"] if blender else None


def main(argv: Sequence[str] | None = None) -> int:
    """``python run.py addon``: build, validate, say what was made."""
    parser = argparse.ArgumentParser(prog="run.py addon", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)")
    parser.add_argument("--split-platforms", action="store_true", help="one smaller zip for each platform")
    parser.add_argument("--platform", help="only this platform, e.g. linux-x64")
    options = parser.parse_args(argv)
    made = build(options.output, split=options.split_platforms, only_platform=options.platform)
    command = validator_command()
    for path in made:
        sys.stdout.write(f"{path} ({path.stat().st_size / 1e6:.2f} MB)\n")
        if command is None:
            continue
        checked = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
        if checked.returncode:
            sys.stderr.write(f"Blender refuses {path.name}:\n{checked.stdout}{checked.stderr}")
            return 1
    sys.stdout.write("Not validated: no Blender on the PATH and no .venv-bpy-*; set BLENDER_EXT to blender_ext.py.\n"
                     if command is None else "Validated with Blender's own tool.\n")
    sys.stdout.write("Install: drag the zip into Blender, or use Preferences > Get Extensions > Install from Disk.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
