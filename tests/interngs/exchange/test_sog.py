# SPDX-License-Identifier: GPL-3.0-or-later
"""SOG: error bounds, an independent program both ways, damage."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.exchange.codebook import cluster, codebook_256, nearest_entry
from interngs.exchange.sog import read_sog, write_sog
from interngs.formats.ply import read_ply, write_ply
from interngs.scene.gaussians import Gaussians
from interngs.scene.morton import morton_codes
from interngs.scene.quaternions import matrices_from_quaternions


def make(n: int = 900, degree: int = 2) -> Gaussians:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(n, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    sh = rng.uniform(-0.5, 0.5, (n, (degree + 1) ** 2, 3))
    g = Gaussians(*(a.astype(np.float32) for a in (rng.normal(size=(n, 3)) * 4, quats, rng.normal(-4, 1, (n, 3)),
                                                   rng.normal(size=n), sh)))
    return g.select(np.argsort(morton_codes(g.means), kind="stable"))


def compare(found: Gaussians, g: Gaussians) -> None:
    reach = np.ptp(np.log1p(np.abs(g.means)).max(axis=0)) + 2 * np.log1p(np.abs(g.means)).max()
    assert (np.abs(found.means - g.means) <= (1 + np.abs(g.means)) * reach / 65535).all()
    turn = np.einsum("nij,nij->n", matrices_from_quaternions(found.quats), matrices_from_quaternions(g.quats))
    assert turn.min() > 3 - 2e-3
    assert np.quantile(np.abs(found.log_scales - g.log_scales), 0.99) < 0.05
    assert np.abs(found.opacities - g.opacities).max() <= 0.51 / 255
    assert np.abs(found.sh[:, 0] - g.sh[:, 0]).max() < 0.01


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip_errors_are_bounded(degree: int, tmp_path: Path) -> None:
    g = make(900, degree)
    write_sog(tmp_path / "a.sog", g, ["units: metres"])
    found = read_sog(tmp_path / "a.sog")
    assert found.comments == ("units: metres",) and found.gaussians.sh_degree == degree
    compare(found.gaussians, g)
    # Fewer Gaussians than palette entries: only the codebook's steps are lost.
    assert np.abs(found.gaussians.sh - g.sh).max() < 0.01


def test_no_gaussians(tmp_path: Path) -> None:
    write_sog(tmp_path / "a.sog", make(0, 1))
    assert len(read_sog(tmp_path / "a.sog").gaussians) == 0


def test_same_splat_same_bytes(tmp_path: Path) -> None:
    for name in ("a.sog", "b.sog"):
        write_sog(tmp_path / name, make(50))
    assert (tmp_path / "a.sog").read_bytes() == (tmp_path / "b.sog").read_bytes()


def test_codebook_and_palette() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=5000), [40]]).astype(np.float32)
    book = codebook_256(values)
    error = np.abs(book[nearest_entry(book, values)] - values)
    assert np.quantile(error, 0.95) < 0.05 and error[-1] == 0
    centres = rng.normal(size=(20, 9))
    vectors = np.repeat(centres, 100, axis=0).astype(np.float32)
    palette, labels = cluster(vectors, 200)
    np.testing.assert_allclose(palette[labels], vectors, atol=1e-5)


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    write_sog(tmp_path / "a.sog", make(200, 1))
    data = (tmp_path / "a.sog").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for index in range(120):
        damaged = bytearray(data)
        if index % 2:
            for _ in range(5):
                damaged[rng.integers(len(data))] = rng.integers(256)
        else:
            damaged = damaged[:rng.integers(len(data))]
        (tmp_path / "b.sog").write_bytes(damaged)
        try:
            read_sog(tmp_path / "b.sog")
        except InputError:
            refused += 1
    assert refused > 60


@pytest.mark.parametrize("change", [('"count": 50', '"count": 5000000'), ('"version": 2', '"version": 9'),
                                    ('"sh0.webp"', '"none.webp"'), ('"bands": 1', '"bands": 7'), ("{", "["),
                                    ('"means"', '"meens"')])
def test_lying_descriptions_are_refused(change: tuple[str, str], tmp_path: Path) -> None:
    write_sog(tmp_path / "a.sog", make(50, 1))
    with zipfile.ZipFile(tmp_path / "a.sog") as good, zipfile.ZipFile(tmp_path / "b.sog", "w") as bad:
        for name in good.namelist():
            text = good.read(name)
            bad.writestr(name, text.decode().replace(*change, 1) if name == "meta.json" else text)
    with pytest.raises(InputError):
        read_sog(tmp_path / "b.sog")
    with pytest.raises(InputError):
        read_sog(tmp_path / "absent.sog")


def test_an_independent_program_agrees_both_ways(tmp_path: Path) -> None:
    program = os.environ.get("SPLAT_TRANSFORM") or shutil.which("splat-transform")
    if not program:
        pytest.skip("independent reader splat-transform is not installed (set SPLAT_TRANSFORM)")
    g = make(600, 1)
    write_sog(tmp_path / "ours.sog", g)
    write_ply(tmp_path / "g.ply", g)
    for arguments in (["ours.sog", "ours.ply"], ["-g", "cpu", "g.ply", "theirs.sog"]):
        done = subprocess.run([program, "-q", "-w", *arguments], cwd=tmp_path, capture_output=True, text=True,
                              timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    ours = read_ply(tmp_path / "ours.ply").gaussians
    compare(ours, g)
    np.testing.assert_allclose(ours.sh, read_sog(tmp_path / "ours.sog").gaussians.sh, atol=1e-5)
    theirs = read_sog(tmp_path / "theirs.sog").gaussians
    nearest = np.linalg.norm(theirs.means[:, None] - g.means[None], axis=2)
    assert nearest.min(axis=1).max() < 0.01
    order = nearest.argmin(axis=1)
    assert np.quantile(np.abs(theirs.log_scales - g.log_scales[order]), 0.9) < 0.1
    assert np.abs(theirs.opacities - g.opacities[order]).max() < 1.5 / 255
