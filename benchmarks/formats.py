# SPDX-License-Identifier: GPL-3.0-or-later
"""Time and size of every splat format for one splat, against numpy writing the bytes of the PLY.

    python benchmarks/formats.py [--gaussians 1000000] [--sh-degree 3] [--rounds 3] [--folder FOLDER]

Times are the best of the rounds, wall clock and processor (of this process; the one to trust on a busy machine).
"ratio" is the wall-clock writing time over that of ``numpy.ndarray.tofile`` for the PLY's bytes, both flushed to the
disk (fsync); the last line leaves the flush out on both sides.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from interngs.errors import InputError
from interngs.exchange.convert import ALL_FORMATS
from interngs.formats.ply import ply_properties, write_ply
from interngs.scene.gaussians import Gaussians


def make_splat(count: int, sh_degree: int) -> Gaussians:
    """A splat with the spread of values of a trained one: a noisy sphere, small SH."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(count, 3))
    means *= (1 + 0.02 * rng.normal(size=(count, 1))) / np.linalg.norm(means, axis=1, keepdims=True)
    quats = rng.normal(size=(count, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    sh = rng.normal(0, 0.05, (count, (sh_degree + 1) ** 2, 3)).astype(np.float32)
    sh[:, 0] = rng.uniform(-1.5, 1.5, (count, 3))
    return Gaussians(*(a.astype(np.float32) for a in (means, quats, rng.normal(-5, 0.7, (count, 3)),
                                                      rng.normal(0, 2, count), sh)))


def seconds(action: Callable[[], object], rounds: int,
            before: Callable[[], object] = lambda: None) -> tuple[float, float]:
    """Best wall-clock and best processor time of ``rounds``; ``before`` runs untimed ahead of each."""
    times = []
    for _ in range(rounds):
        before()
        wall, processor = time.perf_counter(), time.process_time()
        action()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(time for time, _ in times), min(time for _, time in times)


def write_raw(path: Path, rows: np.ndarray, flush: bool) -> None:
    with path.open("wb") as opened:
        rows.tofile(opened)
        if flush:
            opened.flush()
            os.fsync(opened.fileno())


def write_ply_unflushed(path: Path, splat: Gaussians) -> None:
    with path.open("wb") as opened:
        write_ply(opened, splat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, default=1_000_000)
    parser.add_argument("--sh-degree", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--formats", nargs="*", default=[splat_format.name for splat_format in ALL_FORMATS])
    options = parser.parse_args()
    splat = make_splat(options.gaussians, options.sh_degree)
    rows = np.random.default_rng(1).random((options.gaussians, len(ply_properties(options.sh_degree))), np.float32)
    print(f"{options.gaussians:,} Gaussians, SH degree {options.sh_degree}; load {os.getloadavg()[0]:.1f}\n"
          if hasattr(os, "getloadavg") else "")
    print("| format | write s | (processor) | ratio | read s | (processor) | MB | of PLY |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        raw = folder / "raw.bin"
        raw_wall, raw_cpu = seconds(lambda: write_raw(raw, rows, True), options.rounds,
                                    lambda: raw.unlink(missing_ok=True))
        read_wall, read_cpu = seconds(lambda: np.fromfile(raw), options.rounds)
        megabytes = raw.stat().st_size / 1e6
        print(f"| numpy tofile | {raw_wall:.2f} | {raw_cpu:.2f} | 1 | {read_wall:.2f} | {read_cpu:.2f} "
              f"| {megabytes:.0f} | 1 |")
        for splat_format in ALL_FORMATS:
            if splat_format.write is None or splat_format.read is None or splat_format.name not in options.formats:
                continue
            path = folder / f"splat{splat_format.extensions[0]}"
            rounds = 1 if splat_format.name in ("usda", "sog") else options.rounds
            write, read = splat_format.write, splat_format.read
            try:
                wall, cpu = seconds(lambda: write(path, splat, ()), rounds, lambda: path.unlink(missing_ok=True))  # noqa: B023
            except InputError as error:
                print(f"| {splat_format.label} | {error.cause} | | | | | | |")
                continue
            read_wall, read_cpu = seconds(lambda: read(path), rounds)  # noqa: B023
            size = path.stat().st_size / 1e6
            print(f"| {splat_format.label} | {wall:.2f} | {cpu:.2f} | {wall / raw_wall:.2f} | {read_wall:.2f} "
                  f"| {read_cpu:.2f} | {size:.0f} | {size / megabytes:.3f} |", flush=True)
            path.unlink()
        ply = folder / "splat.ply"
        cached_raw, cached_ply = [], []
        for _ in range(options.rounds):      # alternating, so that both meet the same machine
            cached_raw.append(seconds(lambda: write_raw(raw, rows, False), 1, lambda: raw.unlink(missing_ok=True)))
            cached_ply.append(seconds(lambda: write_ply_unflushed(ply, splat), 1, lambda: ply.unlink(missing_ok=True)))
        for index, kind in enumerate(("wall", "processor")):
            numpy_s, ply_s = (min(times[index] for times in runs) for runs in (cached_raw, cached_ply))
            print(f"\nwithout flush, {kind}: numpy {numpy_s:.3f} s, PLY {ply_s:.3f} s, ratio {ply_s / numpy_s:.2f}")


if __name__ == "__main__":
    main()
