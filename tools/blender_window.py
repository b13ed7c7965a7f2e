# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Blender with its real window on a Linux machine without screen or GPU: Debian's Blender in a chroot on Xvfb.

    python tools/blender_window.py setup sid FOLDER       Debian suite (sid, trixie); needs root, debootstrap, 1.6 GB
    python tools/blender_window.py run FOLDER WORK SCRIPT [Blender's options] -- [the script's arguments]

WORK is seen as /w inside; SCRIPT is a path inside WORK.  tests/gui uses the folders in INTERNGS_GUI_ROOTS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGES = ("blender", "python3-numpy", "python3-requests", "xvfb", "xdotool", "imagemagick", "x11-utils",
            "libgl1-mesa-dri", "libegl1", "libegl-mesa0", "mesa-vulkan-drivers")
SCREEN = "1500x1700x24"
"""Tall, so that the whole sidebar is seen at once."""

# Runs inside: a private mount namespace, so nothing stays mounted; then the chroot.
ENTER = """
mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; mkdir -p "$1/w"
[ "$2" = - ] || mount --bind "$2" "$1/w"
R="$1"; shift 2; exec chroot "$R" "$@"
"""
WINDOW = """
cd /w; export LANG=C.UTF-8 LIBGL_ALWAYS_SOFTWARE=1 HOME=$(mktemp -d)
export BLENDER_USER_RESOURCES=$HOME/blender; mkdir -p "$BLENDER_USER_RESOURCES"
for f in /usr/share/vulkan/icd.d/lvp_icd*.json; do export VK_DRIVER_FILES=$f; done
exec 9<>$(mktemp); Xvfb -displayfd 9 -screen 0 SCREEN +extension GLX -nolisten tcp >/tmp/xvfb.log 2>&1 & X=$!
for i in $(seq 100); do D=$(head -1 /proc/self/fd/9); [ -n "$D" ] && break; sleep 0.1; done
export DISPLAY=:$D
timeout -k 5 "$1" blender --factory-startup --window-geometry 0 0 WIDTH HEIGHT "${@:2}"; code=$?
kill $X; exit $code
""".replace("SCREEN", SCREEN).replace("WIDTH HEIGHT", " ".join(SCREEN.split("x")[:2]))


def enter(root: Path, work: Path | None, command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``root`` with ``work`` seen as /w."""
    line = ["unshare", "-m", "--propagation", "private", "bash", "-c", ENTER, "_", str(root), str(work or "-")]
    return subprocess.run([*line, *command], text=True, check=False, **options)  # type: ignore[call-overload]


def setup(suite: str, root: Path) -> None:
    """Make a Debian of ``suite`` with Blender in ``root``; a mirror other than the default by ``DEBIAN_MIRROR``."""
    if shutil.which("debootstrap") is None:
        raise SystemExit("debootstrap is missing; install it: apt-get install debootstrap")
    mirror = [os.environ["DEBIAN_MIRROR"]] if "DEBIAN_MIRROR" in os.environ else []
    if not (root / "etc" / "debian_version").exists():
        subprocess.run(["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root), *mirror],
                       check=True)
    # Signatures stay checked; a mirror may serve a snapshot of sid that is older than its seven days.
    install = ("apt-get -o Acquire::Check-Valid-Until=false update -q && DEBIAN_FRONTEND=noninteractive "
               f"apt-get install -y -q --no-install-recommends {' '.join(PACKAGES)} && apt-get clean")
    if enter(root, None, ["bash", "-c", install]).returncode:
        raise SystemExit(f"Installing Blender in {root} failed; see above.")
    version = enter(root, None, ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                    capture_output=True).stdout.strip()
    if enter(root, None, ["python3", "-c", "import cattrs"], capture_output=True).returncode:
        # Debian's 5.2 leaves out what Blender's own extension add-on imports
        target = root / "usr/local/lib" / f"python{version}" / "dist-packages"
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target),
                        "cattrs", "attrs", "typing_extensions"], check=True)


def run(root: Path, work: Path, script: str, blender_options: Sequence[str] = (), arguments: Sequence[str] = (), *,
        timeout_s: float = 180.0, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Open Blender's window in ``root`` and run ``/w/script`` in it."""
    command = ["env", *(f"{name}={value}" for name, value in (environment or {}).items()), "bash", "-c", WINDOW, "_",
               str(int(timeout_s)), *blender_options, "--python", f"/w/{script}", "--", *arguments]
    return enter(root, work, command, capture_output=True)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    if len(argv) == 3 and argv[0] == "setup":
        setup(argv[1], Path(argv[2]).resolve())
        return 0
    if len(argv) >= 4 and argv[0] == "run":
        rest = list(argv[4:])
        cut = rest.index("--") if "--" in rest else len(rest)
        done = run(Path(argv[1]).resolve(), Path(argv[2]).resolve(), argv[3], rest[:cut], rest[cut + 1:])
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
