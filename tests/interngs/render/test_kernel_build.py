# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling the kernels: the cache, races between processes, and clear errors without a compiler."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from interngs.errors import InternGSError
from interngs.render.cpu import build, library

ROOT = Path(__file__).resolve().parents[3]

# Pretends to compile: writes an existing library slowly, in two halves.
SLOW_COMPILER = """
import sys, time
if "--version" in sys.argv:
    print("slow compiler 1.0")
    sys.exit()
content = open({library!r}, "rb").read()
with open(sys.argv[sys.argv.index("-o") + 1], "wb") as output:
    output.write(content[:1000])
    output.flush()
    time.sleep(0.5)
    output.write(content[1000:])
"""


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERNGS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def use_compiler(monkeypatch, folder, code):
    script = folder / "compiler.py"
    script.write_text(code)
    monkeypatch.setenv("CXX", f'"{sys.executable}" "{script}"')


def test_processes_that_race_for_an_empty_cache_all_get_a_whole_library(tmp_path, empty_cache, monkeypatch):
    with monkeypatch.context() as context:
        context.delenv("INTERNGS_CACHE")
        compiled = build.build_for_this_machine()
    use_compiler(monkeypatch, tmp_path, SLOW_COMPILER.format(library=str(compiled)))
    code = ("from interngs.render.cpu import build, library; path = build.build_for_this_machine(); "
            "library.load(path); print(path)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    racers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
              for _ in range(3)]
    paths = {racer.communicate(timeout=120)[0].strip() for racer in racers}
    assert all(racer.returncode == 0 for racer in racers)
    assert len(paths) == 1
    assert [str(path) for path in empty_cache.iterdir()] == list(paths)  # and no draft is left


def test_the_cache_is_used_and_keyed_by_the_compiler(tmp_path, empty_cache, monkeypatch):
    use_compiler(monkeypatch, tmp_path, "import sys, pathlib\nif '--version' in sys.argv: print('a'); sys.exit()\n"
                 "pathlib.Path(sys.argv[sys.argv.index('-o') + 1]).write_text('library')\n")
    first = build.build_for_this_machine()
    written = first.stat().st_mtime_ns
    assert build.build_for_this_machine() == first and first.stat().st_mtime_ns == written
    use_compiler(monkeypatch, tmp_path, (tmp_path / "compiler.py").read_text().replace("'a'", "'b'"))
    assert build.build_for_this_machine() != first


def test_no_compiler_is_a_clear_error(empty_cache, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InternGSError) as caught:
        build.build_for_this_machine()
    assert caught.value.code == "kernel-compiler-missing"
    assert "ziglang" in caught.value.remedy and "g++" in caught.value.remedy


def test_a_compiler_that_fails_is_quoted(tmp_path, empty_cache, monkeypatch):
    use_compiler(monkeypatch, tmp_path, "import sys\nsys.exit('no such thing as C++17')")
    with pytest.raises(InternGSError) as caught:
        build.build_for_this_machine()
    assert caught.value.code == "kernel-compile-failed"
    assert "no such thing as C++17" in caught.value.cause
    assert not list(empty_cache.iterdir())


def test_a_compiler_that_is_not_there_is_named(empty_cache, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InternGSError, match="no-such-compiler"):
        build.build_for_this_machine()


def test_a_broken_library_says_what_to_delete(tmp_path):
    broken = tmp_path / "kernels.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(InternGSError, match=r"Delete .*kernels\.so"):
        library.load(broken)


def test_threads_must_be_positive():
    with pytest.raises(ValueError, match="got 0"):
        library.set_threads(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork exists only on POSIX")
def test_a_forked_child_can_render():
    code = """
import os, sys, torch
from interngs.render.photometric import l1_ssim
image, target = torch.rand(100, 20, 3), torch.rand(100, 20, 3)
before = l1_ssim(image, target).item()
child = os.fork()
if child == 0:
    os._exit(0 if l1_ssim(image, target).item() == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    result = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
                            check=False)
    assert result.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", build.RELEASE_TARGETS)
def test_ziglang_builds_for_every_release_target(target, tmp_path):
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("slow: needs the ziglang wheel (pip install --target FOLDER ziglang==0.17.1, FOLDER on PYTHONPATH)")
    path = build.cross_build(target, tmp_path)
    magic = path.read_bytes()[:4]
    expected = {"windows": b"MZ", "macos": b"\xcf\xfa\xed\xfe", "linux": b"\x7fELF"}[target.split("-")[1]]
    assert magic.startswith(expected)
    if target.startswith("x86_64-linux") and sys.platform == "linux" and os.uname().machine == "x86_64":
        assert library.load(path).interngs_abi() == library.ABI
