# SPDX-License-Identifier: GPL-3.0-or-later
"""From photos to a splat with a tiny checkpoint in both official layouts, with poses and without."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interngs.config import preset_config
from interngs.events import Done, Preview
from interngs.pipeline import reconstruct

STEPS = 12


@pytest.mark.parametrize(("layout", "posed"), [("pth", True), ("folder", False)])
def test_photos_to_splat(tiny_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str,
                         posed: bool) -> None:
    weights = tmp_path / "weights"
    if layout == "pth":
        weights.mkdir()
        shutil.copy(tiny_checkpoint.pth, weights / "DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth")
    else:
        shutil.copytree(tiny_checkpoint.folder, weights / "dust3r-512-dpt")
    monkeypatch.setenv("INTERNGS_WEIGHTS", str(weights))
    config = preset_config("draft")
    config = replace(config, device="cpu", threads=2, optimise=replace(config.optimise, steps=STEPS, pseudo_views=2))
    scene = tiny_checkpoint.scene
    events = list(reconstruct(scene.capture(posed=posed), config, tmp_path / "work"))
    done = events[-1]
    assert isinstance(done, Done) and done.report["complete"]
    assert done.report["geometry"]["method"] == "dust3r"
    assert "CC BY-NC-SA 4.0" in done.report["geometry"]["reason"]
    assert done.report["geometry"]["poses"] == ("given" if posed else "estimated")
    assert len(done.gaussians) > 500
    json.dumps(done.report, allow_nan=False)
    seeds = next(event for event in events if isinstance(event, Preview)).gaussians
    if posed:
        # The seeds lie on the wall that the photos show.
        x, y, z = seeds.means.T
        wall = 0.35 * np.sin(1.3 * x + 0.4) * np.cos(1.1 * y) + 0.15 * np.sin(2.3 * y - x)
        assert np.median(np.abs(z - wall)) < 0.02
