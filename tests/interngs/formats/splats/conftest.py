# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of splat formats share: Gaussians to write, comparison by shape, damage, an independent reader."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.scene.gaussians import Gaussians
from interngs.scene.quaternions import matrices_from_quaternions


@pytest.fixture(scope="session")
def make_gaussians() -> Callable[..., Gaussians]:
    """``make_gaussians(n, degree, seed)``: an ordinary splat; SH above the constant band within -0.9 .. 0.9."""
    def make(n: int = 700, degree: int = 3, seed: int = 0) -> Gaussians:
        rng = np.random.default_rng(seed)
        quats = rng.normal(size=(n, 4))
        quats /= np.linalg.norm(quats, axis=1, keepdims=True)
        sh = rng.uniform(-0.9, 0.9, (n, (degree + 1) ** 2, 3))
        sh[:, 0] = rng.uniform(-1.7, 1.7, (n, 3))
        arrays = (rng.normal(size=(n, 3)) * 3, quats, rng.normal(-3, 1, (n, 3)), rng.normal(0, 2, n), sh)
        return Gaussians(*(a.astype(np.float32) for a in arrays))
    return make


@pytest.fixture(scope="session")
def shape_error() -> Callable[[Gaussians, Gaussians], np.ndarray]:
    """[N] largest difference of the rotated axes' outer products, by which q and -q and flipped axes are the same."""
    def error(first: Gaussians, second: Gaussians) -> np.ndarray:
        products = []
        for g in (first, second):
            axes = matrices_from_quaternions(g.quats)
            products.append(np.einsum("nij,nkj->njik", axes, axes))
        return np.abs(products[0] - products[1]).max(axis=(1, 2, 3))
    return error


@pytest.fixture(scope="session")
def assert_survives_damage() -> Callable[..., None]:
    """``(data, read, rounds)``: cut and altered copies of a file give an ``InputError`` or finite Gaussians, never
    another error, and never more memory than a small multiple of the file."""
    def check(data: bytes, read: Callable[[io.BytesIO], object], rounds: int = 300, seed: int = 0,
              head: int = 256) -> None:
        rng = np.random.default_rng(seed)
        tracemalloc.start()
        refused = 0
        for index in range(rounds):
            damaged = bytearray(data)
            if index % 3 != 0:
                for _ in range(rng.integers(1, 5)):
                    reach = min(head, len(data)) if rng.random() < 0.7 else len(data)
                    damaged[rng.integers(reach)] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
            if index % 3 != 1:
                damaged = damaged[:rng.integers(len(data) + 1)]
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                found = read(io.BytesIO(bytes(damaged)))
            except InputError as error:
                assert error.cause and error.remedy
                refused += 1
                continue
            finally:
                assert tracemalloc.get_traced_memory()[1] - before < 60 * len(data) + (4 << 20)
            for field in ("means", "quats", "log_scales", "opacity_logits", "sh"):
                assert np.isfinite(getattr(found.gaussians, field)).all()  # type: ignore[attr-defined]
        tracemalloc.stop()
        assert refused > rounds // 4
    return check


@pytest.fixture(scope="session")
def splat_transform() -> Callable[[Path, Path], None]:
    """Convert a file by @playcanvas/splat-transform, a reader and writer that shares nothing with ours.

    Found by ``$SPLAT_TRANSFORM`` or on the PATH: ``npm install -g @playcanvas/splat-transform``.
    """
    program = os.environ.get("SPLAT_TRANSFORM") or shutil.which("splat-transform")
    if not program:
        pytest.skip("independent reader splat-transform is not installed (set SPLAT_TRANSFORM)")

    def convert(source: Path, target: Path) -> None:
        done = subprocess.run([program, "-q", "-w", str(source), str(target)], capture_output=True, text=True,
                              check=False, timeout=120)
        assert done.returncode == 0 and target.exists(), done.stdout + done.stderr
    return convert
