# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles kernels.cpp on first use into a per-user cache, and cross-builds it for other platforms."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interngs.errors import InternGSError

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.cpp")
# No -ffast-math: reassociation would remove the rounding that exp2 is built on, and NaN must stay comparable because
# broken parameters are culled by comparison.
COMMON_FLAGS = ("-O3", "-std=c++17", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math",
                "-ffp-contract=fast")
COMPILE_TIMEOUT_S = 3600.0  # ziglang first builds its standard library, minutes on a busy machine
RELEASE_TARGETS = ("x86_64-windows-gnu", "aarch64-macos", "x86_64-linux-gnu.2.17")
REMEDY = ("Install a C++17 compiler (Debian/Ubuntu: 'apt install g++'; macOS: 'xcode-select --install'), name one in "
          "the environment variable CXX, or install the compiler wheel: 'pip install ziglang==0.17.1'.")


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: the command that starts it, and whether it is the ziglang wheel."""

    command: tuple[str, ...]
    is_zig: bool = False


def find_compilers() -> list[Compiler]:
    """All C++ compilers to try, best first: ``CXX``, c++, g++, clang++, then the ziglang wheel.

    A ``CXX`` that is set is the user's choice and the only one tried.
    """
    chosen = os.environ.get("CXX", "").strip()
    if chosen:
        return [Compiler(tuple(shlex.split(chosen, posix=os.name != "nt")))]
    found = [Compiler((path,)) for path in map(shutil.which, ("c++", "g++", "clang++")) if path]
    if importlib.util.find_spec("ziglang") is not None:
        found.append(Compiler((sys.executable, "-m", "ziglang", "c++"), is_zig=True))
    return found


def _cpu_flag_choices(compiler: Compiler) -> list[tuple[str, ...]]:
    """Processor flags to try, fastest first; the last one is what every compiler takes."""
    if compiler.is_zig:
        return [("-mcpu=native",), ()]
    return [("-march=native",), ("-mcpu=native",), ()]


def _platform_flags() -> tuple[str, ...]:
    return () if os.name == "nt" else ("-fPIC", "-pthread")


def _library_suffix(system: str) -> str:
    return {"windows": ".dll", "darwin": ".dylib", "macos": ".dylib"}.get(system.lower(), ".so")


def cache_dir() -> Path:
    """The per-user folder for compiled kernels; ``INTERNGS_CACHE`` overrides it."""
    if override := os.environ.get("INTERNGS_CACHE"):
        return Path(override) / "kernels"
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "interngs" / "kernels"


def _processor_name() -> str:
    """What tells this processor from another one that shares the home folder (native code must not travel)."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        wanted = ("model name", "flags", "Features", "CPU part")
        lines = cpuinfo.read_text(errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
    return f"{platform.processor()} {platform.machine()}"


def _compiler_version(compiler: Compiler) -> str:
    result = subprocess.run([*compiler.command, "--version"], capture_output=True, text=True, check=False,
                            timeout=COMPILE_TIMEOUT_S)
    return result.stdout


def _cached_path(compiler: Compiler) -> Path:
    parts = (SOURCE.read_text(encoding="utf-8"), *compiler.command, _compiler_version(compiler), *COMMON_FLAGS,
             *_platform_flags(), _processor_name(), platform.machine())
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    return cache_dir() / f"kernels-{digest}{_library_suffix(platform.system())}"


def _run_compiler(command: Sequence[str], output: Path) -> str | None:
    """Compiles to ``output``, which appears whole or not at all.  Returns the compiler's complaint, if any."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".build-", ignore_cleanup_errors=True) as folder:
        draft = Path(folder) / output.name
        try:
            result = subprocess.run([*command, "-o", str(draft)], capture_output=True, text=True, check=False,
                                    timeout=COMPILE_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if result.returncode != 0 or not draft.exists():
            return result.stderr.strip() or f"exit code {result.returncode}"
        try:
            draft.replace(output)
        except PermissionError:
            # Windows refuses to replace a library in use: another process was first, with the same content.
            if not output.exists():
                raise
    return None


def build_for_this_machine() -> Path:
    """The kernel library for this machine, compiled now if the cache has none.

    Safe when several processes call it at once: each writes its own draft and renames it into place.

    Raises:
        InternGSError: ``kernel-compiler-missing`` without any compiler, ``kernel-compile-failed`` when every one fails.
    """
    compilers = find_compilers()
    complaints = []
    for compiler in compilers:
        try:
            path = _cached_path(compiler)
        except (OSError, subprocess.TimeoutExpired) as error:
            complaints.append(f"{' '.join(compiler.command)}: {error}")
            continue
        if path.exists():
            return path
        logger.info("compiling the CPU kernels with %s into %s", " ".join(compiler.command), path)
        for cpu_flags in _cpu_flag_choices(compiler):
            complaint = _run_compiler([*compiler.command, *COMMON_FLAGS, *_platform_flags(), *cpu_flags, str(SOURCE)],
                                      path)
            if complaint is None:
                return path
            complaints.append(f"{' '.join(compiler.command)} {' '.join(cpu_flags)}: {complaint[-600:]}")
    if not compilers:
        raise InternGSError("kernel-compiler-missing",
                            "The CPU renderer compiles its kernels on first use, and no C++ compiler was found.",
                            REMEDY)
    raise InternGSError("kernel-compile-failed",
                        "The CPU renderer's kernels could not be compiled:\n" + "\n".join(complaints) + "\n", REMEDY)


def cross_build(target: str, folder: Path) -> Path:
    """Builds the kernels for another platform with the ziglang wheel, for release wheels.

    Args:
        target: one of ``RELEASE_TARGETS`` (zig's architecture-system-abi).
        folder: where the library goes.

    Raises:
        InternGSError: without ziglang, or when it fails.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise InternGSError("kernel-compiler-missing", f"Cross-building for {target} needs the ziglang wheel.",
                            "Install it: 'pip install ziglang==0.17.1'.")
    architecture, system = target.split("-")[:2]
    output = folder / f"interngs_kernels-{architecture}-{system}{_library_suffix(system)}"
    flags = ("-fPIC",) if system != "windows" else ()
    cpu = ("-mcpu=x86_64_v3",) if architecture == "x86_64" else ()
    complaint = _run_compiler([sys.executable, "-m", "ziglang", "c++", "-target", target, *COMMON_FLAGS, *flags, *cpu,
                               "-s", str(SOURCE)], output)
    if complaint is not None:
        raise InternGSError("kernel-compile-failed", f"ziglang could not build the kernels for {target}: {complaint}",
                            "Check the ziglang version (0.17.1 is known to work) and the free disk space.")
    return output
