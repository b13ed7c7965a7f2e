# SPDX-License-Identifier: GPL-3.0-or-later
"""Which geometry is chosen, and what is said when one asked for cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interngs.errors import InputError
from interngs.geometry.choose import choose_geometry
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View


def capture(posed: bool = True, depth: bool = False) -> Capture:
    camera = Camera(np.diag([50.0, 50.0, 1.0]), np.eye(4), 8, 6) if posed else None
    view = View("v", np.zeros((6, 8, 3), np.float32), camera, depth=np.ones((6, 8), np.float32) if depth else None)
    return Capture((view, replace(view, name="w")))


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """This machine's own weights must not decide."""
    for name in ("INTERNGS_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "XDG_DATA_HOME", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    return tmp_path / "INTERNGS_WEIGHTS"


def put_weights(folder: Path) -> None:
    folder.mkdir()
    (folder / "DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth").write_bytes(b"read later")


def test_depth_first_then_dust3r_then_plane_sweep(no_weights: Path) -> None:
    assert choose_geometry(capture())[0].name == "plane-sweep"
    assert choose_geometry(capture(depth=True))[0].name == "given-depth"
    put_weights(no_weights)
    prior, reason = choose_geometry(capture())
    assert prior.name == "dust3r" and "CC BY-NC-SA" in reason and "INTERNGS_WEIGHTS" in reason
    assert choose_geometry(capture(depth=True))[0].name == "given-depth"
    assert choose_geometry(capture(), "plane-sweep")[0].name == "plane-sweep"
    assert choose_geometry(capture(depth=True), "dust3r")[0].name == "dust3r"


def test_missing_poses(no_weights: Path) -> None:
    prior, reason = choose_geometry(capture(posed=False))
    assert prior.name == "structure-from-motion, plane-sweep" and "poses are missing" in reason
    put_weights(no_weights)
    prior, reason = choose_geometry(capture(posed=False, depth=True))
    assert prior.name == "dust3r" and "estimated" in reason
    prior, _ = choose_geometry(capture(posed=False), "plane-sweep")
    assert prior.name == "structure-from-motion, plane-sweep"


def test_asked_for_and_missing_is_an_error_with_the_way_out() -> None:
    with pytest.raises(InputError) as caught:
        choose_geometry(capture(), "dust3r")
    assert caught.value.code == "weights-missing"
    for needed in ("DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth", "CC BY-NC-SA 4.0", "commercial use not allowed"):
        assert needed in caught.value.cause
    assert "interngs weights download dust3r-512-dpt" in caught.value.remedy
    for broken in (capture(), capture(posed=False, depth=True)):
        with pytest.raises(InputError) as caught:
            choose_geometry(broken, "given-depth")
        assert caught.value.code == "depth-missing"
