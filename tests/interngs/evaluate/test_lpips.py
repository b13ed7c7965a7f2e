# SPDX-License-Identifier: GPL-3.0-or-later
"""LPIPS-SqueezeNet reproduces the values that torchmetrics documents, and refuses wrong weight files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interngs.errors import InputError
from interngs.evaluate.lpips import Lpips


@pytest.fixture(scope="module")
def weight_files(shared_data: Path) -> tuple[Path, Path]:
    folder = shared_data / "weights"
    return folder / "squeezenet1_1_features.safetensors", folder / "lpips_v0.1_lin_squeeze.safetensors"


@pytest.fixture(scope="module")
def lpips(weight_files: tuple[Path, Path]) -> Lpips:
    return Lpips.from_files(*weight_files)


@pytest.mark.parametrize(("seed", "documented"), [(42, 0.1005), (123, 0.1008)])
def test_documented_values(lpips: Lpips, seed: int, documented: float) -> None:
    """Examples in the documentation of torchmetrics' functional LPIPS (two releases, two seeds)."""
    torch.manual_seed(seed)
    a = torch.rand(10, 3, 100, 100) * 2 - 1
    b = torch.rand(10, 3, 100, 100) * 2 - 1
    assert float(lpips.distance(a, b).mean()) == pytest.approx(documented, abs=5e-5)


def test_grows_with_blur_and_is_zero_for_equal_images(lpips: Lpips) -> None:
    rng = np.random.default_rng(0)
    photo = rng.uniform(0, 1, (64, 80, 3))
    half = 0.5 * photo + 0.25
    assert lpips(photo, photo) == 0.0
    assert 0.0 < lpips(0.9 * photo + 0.05, photo) < lpips(half, photo)
    assert lpips.name == "LPIPS-SqueezeNet"


def test_a_mask_hides_what_is_outside(lpips: Lpips) -> None:
    rng = np.random.default_rng(0)
    photo, other = rng.uniform(0, 1, (2, 64, 64, 3))
    mask = np.zeros((64, 64))
    mask[16:48, 16:48] = 1
    other[16:48, 16:48] = photo[16:48, 16:48]
    assert lpips(photo, other) > 0.05
    assert lpips(photo, other, mask) == 0.0


def test_wrong_files_are_named(weight_files: tuple[Path, Path], tmp_path: Path) -> None:
    backbone, linear = weight_files
    with pytest.raises(InputError) as caught:
        Lpips.from_files(tmp_path / "none.safetensors", linear)
    assert caught.value.code == "weights-missing"
    with pytest.raises(InputError) as caught:
        Lpips.from_files(linear, backbone)
    assert caught.value.code == "weights-wrong"
    (tmp_path / "cut.safetensors").write_bytes(backbone.read_bytes()[:1000])
    with pytest.raises(InputError) as caught:
        Lpips.from_files(tmp_path / "cut.safetensors", linear)
    assert caught.value.code == "weights-damaged"
    tensors = load_file(linear)
    save_file(tensors | {"lin0.model.1.weight": torch.zeros(1, 3, 1, 1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="lin0"):
        Lpips.from_files(backbone, tmp_path / "other.safetensors")


def test_too_small_images_are_refused(lpips: Lpips) -> None:
    with pytest.raises(ValueError, match="35 px"):
        lpips(np.zeros((20, 100, 3)), np.zeros((20, 100, 3)))
