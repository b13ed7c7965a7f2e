# SPDX-License-Identifier: GPL-3.0-or-later
"""What Gaussians cost Blender's main thread: made into an object, swapped in place, drawn in a view that turns.

    .venv-bpy-VERSION/bin/python benchmarks/preview.py [--gaussians 500000] [--frames 40]

Needs Blender's Python module (and EGL, for the part that draws).  The GPU's own drawing is left out: on a machine
without one it would be the software renderer's.  Times are milliseconds, wall clock and processor (of the main
thread; the one to trust on a busy machine).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="interngs_benchmark_")

import bpy
import numpy as np
from background_gpu import with_gpu

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = "intern_gs_benchmark"


def addon(dotted: str) -> Any:
    """A module of the extension, loaded as Blender loads it."""
    if EXTENSION not in sys.modules:
        spec = importlib.util.spec_from_file_location(EXTENSION, ROOT / "__init__.py",
                                                      submodule_search_locations=[str(ROOT)])
        assert spec is not None and spec.loader is not None
        sys.modules[EXTENSION] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[EXTENSION])
    return importlib.import_module(f"{EXTENSION}.{dotted}")


class Clock:
    """Wall-clock and main-thread processor times of pieces of work, by name."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = {}

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """The outcome of ``work``."""
        began, used = time.perf_counter(), time.thread_time()
        outcome = work()
        self.times.setdefault(name, []).append((time.perf_counter() - began, time.thread_time() - used))
        return outcome

    def show(self) -> None:
        """One line each: median and largest."""
        for name, pairs in self.times.items():
            wall, cpu = (np.array(each) * 1e3 for each in zip(*pairs, strict=True))
            sys.stdout.write(f"{name:<50} wall {np.median(wall):7.2f} (most {wall.max():7.2f})   "
                             f"processor {np.median(cpu):7.2f} (most {cpu.max():7.2f})   n {len(wall)}\n")


def some_gaussians(count: int, degree: int, seed: int = 0) -> Any:
    """A ball of Gaussians."""
    random = np.random.default_rng(seed)
    quats = random.normal(size=(count, 4)).astype(np.float32)
    return addon("interngs.scene.gaussians").Gaussians(
        random.normal(size=(count, 3)).astype(np.float32), quats / np.linalg.norm(quats, axis=1, keepdims=True),
        random.uniform(-6, -4, (count, 3)).astype(np.float32), random.normal(size=count).astype(np.float32),
        random.normal(scale=0.3, size=(count, (degree + 1) ** 2, 3)).astype(np.float32))


def measure_object(clock: Clock, count: int, degree: int, rounds: int) -> None:
    """Make an object of prepared arrays; write the same number again, another number, and one over many turns."""
    objects, arrays = addon("blender_addon.scene.splat_object"), addon("blender_addon.scene.splat_arrays")
    viewing = objects.wants_viewing_attributes()
    first = arrays.splat_arrays(some_gaussians(count, degree), viewing)
    fewer = arrays.splat_arrays(some_gaussians(count - 1000, degree, 1), viewing)
    label = f"{count} Gaussians, SH {degree}: "
    for _ in range(rounds):
        made = clock.run(f"{label}new object", lambda: objects.create("splat", first, bpy.context.scene.collection))
        clock.run(f"{label}in place", lambda made=made: objects.update(made, first))
        clock.run(f"{label}other count", lambda made=made: objects.update(made, fewer))
        arrive(clock, label, made, first)
        bpy.data.objects.remove(made)


def arrive(clock: Clock, label: str, splat: Any, splats: Any) -> None:
    """Gaussians that come from the backend, as the session writes them: turn by turn, then swapped in."""
    session = addon("blender_addon.session.arrivals")
    write = clock.run(f"{label}arrival, first turn",
                      lambda: addon("blender_addon.scene.gradual_write").GradualWrite("splat", splats))
    while not clock.run(f"{label}arrival, each turn",
                        lambda: write.go_on(time.perf_counter() + session.WRITE_S)):
        pass
    clock.run(f"{label}arrival, swap",
              lambda: addon("blender_addon.scene.splat_object").replace(splat, write.take()))


def measure_view(clock: Clock, count: int, frames: int) -> None:
    """The preview's work in a view that turns, without the drawing itself."""
    painter, contents_module = addon("blender_addon.draw.painter"), addon("blender_addon.draw.contents")
    objects, arrays = addon("blender_addon.scene.splat_object"), addon("blender_addon.scene.splat_arrays")
    worker = addon("blender_addon.session.worker").NewestWorker()
    contents = contents_module.SplatContents(worker)
    made = objects.create("splat", arrays.splat_arrays(some_gaussians(count, 3), True), bpy.context.scene.collection)
    bpy.context.view_layer.update()

    def view(number: int) -> Any:
        turn, matrix = 0.02 * number, np.eye(4, dtype=np.float32)
        matrix[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        matrix[2, 3] = -6
        return matrix

    def settle() -> None:
        while worker.is_busy:
            time.sleep(0.002)

    def work() -> None:
        clock.run("read attributes, each turn", lambda: contents.picture(1, view(0), [made]))
        while contents.is_reading:
            clock.run("read attributes, each turn", contents.read_on)
        settle()
        clock.run("upload Gaussians", lambda: contents.picture(1, view(0), [made]))
        for number in range(1, frames):
            turned = view(number)
            picture = clock.run("frame: order up, next sort asked",
                                lambda turned=turned: contents.picture(1, turned, [made]))
            clock.run("frame: object matrices", lambda picture=picture: painter.texture(
                painter.owner_texels(picture.views, picture.shown, True), "RGBA32F"))
            time.sleep(0.03)
        settle()
        sort = addon("blender_addon.draw.sort")
        positions = contents._contents.positions
        clock.run("(worker) sort", lambda: sort.back_to_front(positions, view(5)[2:3], (True,)))

    with_gpu(work)
    worker.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, default=500_000)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-drawing", action="store_true", help="leave out what needs EGL")
    given = parser.parse_args()
    bpy.ops.wm.read_homefile(use_empty=True)
    root = addon("blender_addon")
    entry = bpy.context.preferences.addons.new()
    entry.module = EXTENSION
    root.register()
    clock = Clock()
    sys.stdout.write(f"Blender {bpy.app.version_string}, load {os.getloadavg()[0]:.1f}\n")
    measure_object(clock, given.gaussians, 0, given.rounds)
    measure_object(clock, 1_000_000, 0, given.rounds)
    measure_object(clock, 1_000_000, 3, 2)
    if not given.no_drawing:
        measure_view(clock, given.gaussians, given.frames)
    clock.show()
    root.unregister()
    sys.stdout.flush()
    os._exit(0)     # up to 4.5 Blender's own exit handlers can hang in a module


if __name__ == "__main__":
    main()
