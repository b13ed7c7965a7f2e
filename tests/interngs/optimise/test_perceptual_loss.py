# SPDX-License-Identifier: GPL-3.0-or-later
"""LPIPS as a loss on repaired views: gradients, what has no say, and runs with and without it; made-up weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from interngs.config import OptimiseConfig
from interngs.errors import InputError
from interngs.evaluate.lpips import TAP_CHANNELS, Lpips, _backbone_shapes
from interngs.optimise.appearance_refresh import AppearanceTerm
from interngs.optimise.perceptual_loss import CROP_PX, check_size, perceptual_loss
from interngs.optimise.prior_term import Picture
from interngs.optimise.pseudo_views import PseudoView
from interngs.priors.contracts import Identity
from interngs.scene.cameras import Camera

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    """The network with made-up weights."""
    generator = torch.Generator().manual_seed(0)
    backbone = {name: torch.randn(shape, generator=generator) / max(np.prod(shape[1:]), 1) ** 0.5
                for name, shape in _backbone_shapes().items()}
    linear = {f"lin{tap}.model.1.weight": torch.rand((1, channels, 1, 1), generator=generator)
              for tap, channels in enumerate(TAP_CHANNELS)}
    return Lpips(backbone, linear)


def pictures(height: int = 48, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand((2, height, width, 3), generator=generator)
    return first.requires_grad_(), second


def test_gradients_flow_and_lead_downhill(lpips: Lpips) -> None:
    rendered, target = pictures()
    say = torch.ones(48, 64)
    loss = perceptual_loss(lpips, rendered, target, say, 0)
    loss.backward()
    assert rendered.grad is not None and torch.isfinite(rendered.grad).all() and rendered.grad.abs().max() > 0
    with torch.no_grad():
        small = 1e-3 / rendered.grad.norm()
        change = float(perceptual_loss(lpips, rendered + small * rendered.grad, target, say, 0)
                       - perceptual_loss(lpips, rendered - small * rendered.grad, target, say, 0))
    assert change == pytest.approx(2e-3 * float(rendered.grad.norm()), rel=0.05)
    assert float(perceptual_loss(lpips, target, target, say, 0)) == 0.0


def test_pixels_without_a_say_count_for_nothing(lpips: Lpips) -> None:
    rendered, target = pictures()
    say = torch.zeros(48, 64)
    say[:, :24] = 1
    loss = perceptual_loss(lpips, rendered, target, say, 0)
    loss.backward()
    assert rendered.grad is not None and not rendered.grad[:, 24:].any() and rendered.grad[:, :24].any()
    elsewhere = rendered.detach().clone()
    elsewhere[:, 24:] = 0.5
    assert float(perceptual_loss(lpips, elsewhere, target, say, 0)) == loss.item()
    assert float(perceptual_loss(lpips, rendered, target, 0 * say, 0).detach()) == 0.0


def test_one_crop_whose_place_the_seed_decides(lpips: Lpips) -> None:
    rendered, target = pictures(CROP_PX + 90, CROP_PX + 60)
    say = torch.ones(rendered.shape[:2])
    loss = perceptual_loss(lpips, rendered, target, say, 3)
    loss.backward()
    assert rendered.grad is not None
    rows, columns = (torch.nonzero(rendered.grad.abs().sum(dim=(2, 1 - axis)))[:, 0] for axis in (0, 1))
    assert len(rows) <= CROP_PX and len(columns) <= CROP_PX and min(len(rows), len(columns)) > CROP_PX - 8
    assert float(perceptual_loss(lpips, rendered, target, say, 3)) == loss.item()
    assert float(perceptual_loss(lpips, rendered, target, say, 4)) != loss.item()


def test_small_pictures_are_refused() -> None:
    check_size(35, 200)
    with pytest.raises(InputError, match="35 px") as caught:
        check_size(200, 34)
    assert "--lpips" in caught.value.remedy


class Brighter:
    """A repair that brightens."""

    identity = Identity("Brighter", "MIT; commercial use allowed", "cafe")

    def repair(self, views, seed, check=None):
        return [np.clip(view.render + 0.04, 0, 1).astype(np.float32) for view in views]


def term(lpips: Lpips | None, height: int = 48, width: int = 64) -> tuple[AppearanceTerm, Picture]:
    """A term just after its first refresh, and the render it was shown."""
    camera = Camera(np.array([[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]]), np.eye(4), width, height)
    photo = np.random.default_rng(0).uniform(0.3, 0.7, (height, width, 3)).astype(np.float32)
    view = PseudoView(camera, photo, np.ones((height, width), np.float32), np.full((height, width), 4, np.float32),
                      np.zeros((height, width), bool))
    settings = OptimiseConfig(steps=100, pseudo_views=1)
    made = AppearanceTerm(Brighter(), [photo], [camera], [view], settings, 0, CPU, lpips)
    rendered = torch.from_numpy(np.clip(photo - 0.08, 0, 1)).requires_grad_()
    picture = Picture(rendered, torch.full((height, width), 4.0), torch.ones(height, width))
    made.refresh(50, lambda camera: Picture(rendered.detach(), picture.depth, picture.alpha))
    return made, picture


def test_the_term_has_it_when_weights_are_given_only(lpips: Lpips) -> None:
    without, picture = term(None)
    with_it, _ = term(lpips)
    plain, perceived = (made.pseudo_loss(0, picture, 60) for made in (without, with_it))
    assert plain is not None and perceived is not None and plain.item() > 0
    assert perceived.item() != plain.item()
    perceived.backward()
    assert picture.rgb.grad is not None and torch.isfinite(picture.rgb.grad).all() and picture.rgb.grad.any()
    assert without.report()["loss"] == "L1 + SSIM" and "perceptual_licence" not in without.report()
    report = with_it.report()
    assert report["loss"] == "L1 + SSIM + LPIPS-SqueezeNet" and "BSD" in report["perceptual_licence"]
    assert len(report["perceptual_fingerprint"]) == 64
    with pytest.raises(InputError, match="35 px"):
        term(lpips, height=30)
    term(None, height=30)


def test_a_weight_file_of_another_kind_ends_the_run_at_once(wall_folder, tmp_path: Path, capsys) -> None:
    from interngs.cli import main

    (tmp_path / "nonsense.safetensors").write_bytes(b"nonsense")
    files = [str(tmp_path / "nonsense.safetensors")] * 2
    folder = str(wall_folder())
    for arguments, told in (([*files, "--appearance-prior", "img2img"], "no whole safetensors file"),
                            (files, "no unseen views are repaired")):
        assert main(["reconstruct", folder, "-o", str(tmp_path / "out"), "--lpips", *arguments]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
