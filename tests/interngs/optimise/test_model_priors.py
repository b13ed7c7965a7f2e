# SPDX-License-Identifier: GPL-3.0-or-later
"""What pretrained models bring into a run: schedules, gates, resume, the report; with stand-ins for the models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from interngs.config import OptimiseConfig, PipelineConfig, SeedingConfig, validate_config
from interngs.errors import InputError, InternGSError
from interngs.evaluate.metrics import psnr
from interngs.events import Done, Log
from interngs.geometry.given_depth import GivenDepth
from interngs.optimise.appearance_gate import admitted
from interngs.optimise.depth_prior import DepthPriorTerm, _rounds
from interngs.optimise.model_priors import ModelPriors
from interngs.optimise.prior_term import Picture
from interngs.optimise.pseudo_views import PseudoView, prepare_pseudo_views
from interngs.pipeline import reconstruct
from interngs.priors.contracts import Identity, Unseen
from interngs.render.view import ViewRenderer
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture
from interngs.stopping import never

CPU = torch.device("cpu")
FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")
STEPS = 60


class WallDepth:
    """Knows the wall of these tests by the size of a picture only: inverse depth falls from left to right."""

    identity = Identity("Wall depth", "MIT; commercial use allowed", "f00d")

    def __init__(self, sign: float = 1.0) -> None:
        self.sign, self.looked_at = sign, []

    def inverse_depth(self, images: Sequence[NDArray], check=never) -> list[NDArray]:
        self.looked_at.append(len(images))
        return [np.tile(-self.sign * np.linspace(0, 1, image.shape[1], dtype=np.float32), (image.shape[0], 1))
                for image in images]


class Repair:
    """A stand-in for a diffusion model; ``change`` makes the repaired picture."""

    identity = Identity("Stand-in", "MIT; commercial use allowed", "beef")

    def __init__(self, change) -> None:
        self.change, self.calls = change, []

    def repair(self, views: Sequence[Unseen], seed: int, check=never) -> list[NDArray]:
        self.calls.append((len(views), seed))
        repaired = []
        for view in views:
            check()
            repaired.append(self.change(view).astype(np.float32))
        return repaired


def settings(**changes: object) -> PipelineConfig:
    optimise = OptimiseConfig(steps=STEPS, pseudo_views=6, opacity_fade=0.1, depth_prior_rounds=2, depth_prior_views=3,
                              appearance_views=4, preview_every_s=1e9, checkpoint_every_s=1e9)
    return PipelineConfig(seeding=SeedingConfig(initial_opacity=0.6), device="cpu",
                          optimise=replace(optimise, **changes))  # type: ignore[arg-type]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    """Puts stand-ins in the place of models."""
    def put(depth=None, appearance=None) -> None:
        monkeypatch.setattr(ModelPriors, "choose", classmethod(
            lambda cls, config, device: cls(depth, "a test", appearance, "a test")))
    return put


def finish(capture: Capture, config: PipelineConfig, folder: Path, **options) -> tuple[Done, list[str]]:
    events = list(reconstruct(capture, config, folder, **options))
    assert isinstance(events[-1], Done)
    json.dumps(events[-1].report, allow_nan=False)
    return events[-1], [event.message for event in events if isinstance(event, Log)]


def same(a: Done, b: Done) -> bool:
    return all(np.array_equal(getattr(a.gaussians, name), getattr(b.gaussians, name)) for name in FIELDS)


def test_the_report_says_what_took_part_and_under_which_licence(wall_capture: Capture, tmp_path: Path, use) -> None:
    depth, appearance = WallDepth(), Repair(lambda view: view.render)
    use(depth, appearance)
    done, told = finish(wall_capture, settings(), tmp_path)
    report = done.report["priors"]
    assert report["depth"]["model"] == "Wall depth" and report["appearance"]["model"] == "Stand-in"
    assert all("MIT" in report[purpose]["licence"] and report[purpose]["reason"] == "a test" for purpose in report)
    assert all(view["correlation"] > 0.95 and view["say"] > 0.8 for view in report["depth"]["views"])
    assert len(report["depth"]["say_at_pseudo_views"]) == 2 and len(report["appearance"]["admitted_share"]) == 2
    # The photographs once, then three pseudo views in each of two rounds; four repaired at a half and three quarters.
    assert depth.looked_at == [3, 3, 3] and appearance.calls == [(4, STEPS // 2), (4, 3 * STEPS // 4)]
    assert any("Wall depth looks at 3 views" in line for line in told) and any("repairs 4" in line for line in told)
    again = WallDepth()
    use(again)
    finish(wall_capture, settings(), tmp_path)
    assert again.looked_at == [3, 3], "the photographs' depth lies on the disk"


def test_without_models_the_report_says_why(wall_capture: Capture, tmp_path: Path, monkeypatch) -> None:
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "XDG_CACHE_HOME", "HF_HOME", "INTERNGS_WEIGHTS"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    done, _ = finish(wall_capture, settings(), tmp_path / "work")
    report = done.report["priors"]
    assert report["depth"] == {
        "reason": "the weights of Depth Anything V2 Small are not on this machine", "model": None}
    assert report["appearance"] == {"reason": "it was not asked for", "model": None}
    for changes, code in (({"depth_prior": "depth-anything-v2-small"}, "weights-missing"),
                          ({"appearance_prior": "controlnet-tile"}, "weights-missing"),
                          ({"depth_prior": "no-such-model"}, "model-unknown"),
                          ({"depth_prior": "stable-diffusion-1-5"}, "model-purpose"),
                          ({"depth_prior": "../somewhere"}, "config-out-of-range")):
        with pytest.raises(InputError) as caught:
            list(reconstruct(wall_capture, replace(settings(), **changes), tmp_path / "work"))
        assert caught.value.code == code
    validate_config(replace(settings(), depth_prior="none"))


def test_a_right_depth_is_heard_and_a_wrong_one_changes_nothing(wall_capture: Capture, tmp_path: Path, use) -> None:
    use()
    without, _ = finish(wall_capture, settings(), tmp_path / "without")
    use(WallDepth())
    right, told = finish(wall_capture, settings(), tmp_path / "right")
    assert not same(without, right) and not any("no say" in line for line in told)
    use(WallDepth(sign=-1.0))
    wrong, told = finish(wall_capture, settings(), tmp_path / "wrong")
    assert same(without, wrong)
    assert any("agrees with the geometry at no photograph" in line for line in told)
    assert all(view["say"] == 0 and view["correlation"] < 0 for view in wrong.report["priors"]["depth"]["views"])


@pytest.mark.parametrize("stop_at", [20, 37, 50])
def test_a_resumed_run_is_the_uninterrupted_one(wall_capture: Capture, tmp_path: Path, use, stop_at: int) -> None:
    def models() -> None:
        use(WallDepth(), Repair(lambda view: np.clip(view.render * 0.9 + 0.05, 0, 1)))

    models()
    whole, _ = finish(wall_capture, settings(), tmp_path / "whole")
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > stop_at

    stopped, _ = finish(wall_capture, settings(), tmp_path / "work", should_stop=should_stop)
    assert not stopped.report["complete"]
    models()
    resumed, _ = finish(wall_capture, settings(), tmp_path / "work", resume=True)
    assert same(whole, resumed)
    assert resumed.report["priors"] == whole.report["priors"]


@pytest.mark.parametrize("purpose", ["depth", "appearance"])
def test_a_stop_is_heard_between_two_calls_of_a_network(wall_capture: Capture, tmp_path: Path, use,
                                                        purpose: str) -> None:
    """And the resumed run does that round from its start, so it equals an uninterrupted one."""
    calls = []

    class SlowDepth(WallDepth):
        def inverse_depth(self, images, check=never):
            results = []
            for image in images:
                check()
                calls.append("depth")
                results += super().inverse_depth([image])
            return results

    def repaired(view: Unseen) -> NDArray:
        calls.append("appearance")
        return np.clip(view.render * 0.9 + 0.05, 0, 1)

    def models() -> None:
        calls.clear()
        use(SlowDepth(), Repair(repaired))

    # Depth: three photographs, then three renders in each of two rounds.  Appearance: four renders, twice.
    enough = {"depth": 5, "appearance": 2}[purpose]
    models()
    whole, _ = finish(wall_capture, settings(), tmp_path / "whole")
    assert calls.count("depth") == 9 and calls.count("appearance") == 8
    models()
    stopped, _ = finish(wall_capture, settings(), tmp_path / "work",
                        should_stop=lambda: calls.count(purpose) >= enough)
    assert calls.count(purpose) == enough
    assert stopped.report["steps"] == {"depth": 12, "appearance": STEPS // 2}[purpose]
    models()
    resumed, _ = finish(wall_capture, settings(), tmp_path / "work", resume=True)
    assert same(whole, resumed) and resumed.report["priors"] == whole.report["priors"]


def test_a_stop_while_photographs_are_looked_at_leaves_no_result(wall_capture: Capture, tmp_path: Path, use) -> None:
    looked = []

    class SlowDepth(WallDepth):
        def inverse_depth(self, images, check=never):
            for image in images:
                check()
                looked.append(image)
            return super().inverse_depth(images)

    use(SlowDepth())
    events = list(reconstruct(wall_capture, settings(), tmp_path, should_stop=lambda: len(looked) >= 2))
    assert len(looked) == 2 and not any(isinstance(event, Done) for event in events)


@pytest.mark.parametrize("purpose", ["depth", "appearance"])
def test_a_model_that_fails_ends_the_run_and_it_can_go_on_without(wall_capture: Capture, tmp_path: Path, use,
                                                                  purpose: str) -> None:
    """Nothing takes a model's place in silence: the error says how to do without, and the work so far is kept."""
    class Failing(WallDepth):
        def inverse_depth(self, images, check=never):
            if len(self.looked_at) == 1:
                raise InternGSError("out-of-memory", "There is not enough memory.", "Switch it off.")
            return super().inverse_depth(images)

    def fail(view: Unseen) -> NDArray:
        raise InternGSError("prior-no-picture", "It gave back no picture.", "Switch it off.")

    use(*((Failing(), None) if purpose == "depth" else (None, Repair(fail))))
    with pytest.raises(InternGSError):
        finish(wall_capture, settings(checkpoint_every_steps=5), tmp_path)
    use()
    done, told = finish(wall_capture, settings(), tmp_path, resume=True)
    assert done.report["complete"] and done.report["priors"][purpose]["model"] is None
    step = {"depth": 10, "appearance": STEPS // 2}[purpose]
    assert f"Resumed at step {step}." in told


def test_a_round_is_done_once(wall_capture: Capture) -> None:
    """A run that is resumed at the step of a round does not do the round again."""
    made = term(wall_capture)
    assert made.due(200) is None, "no pseudo views"
    geometry = GivenDepth().estimate(wall_capture, lambda done, total: None)
    pseudo = prepare_pseudo_views(wall_capture, geometry, 3, 0)
    config, depth = settings(steps=1000, depth_prior_rounds=3), WallDepth()
    made, resumed = (DepthPriorTerm(depth, depth.inverse_depth, wall_capture.views, geometry, pseudo, config.optimise,
                                    0, CPU) for _ in range(2))

    def render(camera: Camera) -> Picture:
        return Picture(torch.zeros(36, 48, 3), torch.ones(36, 48), torch.ones(36, 48))

    assert made.due(200) is not None and made.due(201) is None
    made.refresh(200, render)
    assert made.due(200) is None and made.due(450) is not None
    resumed.load_state(made.state())
    assert resumed.due(200) is None and resumed.due(450) is not None


def between(capture: Capture, x: float) -> tuple[Camera, NDArray]:
    """A camera nobody took and what the wall of the test looks like from it."""
    first = capture.views[0].posed_camera
    pose = np.eye(4)
    pose[0, 3] = -x
    camera = Camera(first.K, pose, first.width_px, first.height_px)
    depth = (4.0 + 0.3 * x) / (1.0 - 0.3 * camera.pixel_rays()[..., 0])
    points = camera.unproject(depth)
    return camera, 0.5 + 0.2 * np.stack([np.sin(4 * points[..., 0]), np.cos(5 * points[..., 1]),
                                         np.sin(3 * points[..., 0] + 4 * points[..., 1])], axis=-1)


def held_out_psnr(capture: Capture, done: Done) -> float:
    renderer = ViewRenderer(done.gaussians, CPU)
    views = [between(capture, x) for x in (0.15, 0.45, 0.7)]
    return float(np.mean([psnr(renderer.render(camera).rgb, truth) for camera, truth in views]))


NOISE = np.random.default_rng(0).uniform(size=(36, 48, 3))


@pytest.mark.parametrize(("name", "change"), [
    ("identity", lambda view: view.render),
    ("noise", lambda view: NOISE),
    ("black", lambda view: np.zeros_like(view.render)),
    ("tinted", lambda view: np.clip(view.render * [1.3, 1.0, 0.7], 0, 1)),
    ("shifted", lambda view: np.roll(view.render, 5, axis=1)),
])
def test_held_out_quality_does_not_fall(wall_capture: Capture, tmp_path: Path, use, name: str, change) -> None:
    """A neutral model must not cost quality, nor may one that makes things up, since photographs see nearly all."""
    use()
    without = held_out_psnr(wall_capture, finish(wall_capture, settings(), tmp_path / "without")[0])
    use(appearance=Repair(change))
    done, _ = finish(wall_capture, settings(), tmp_path / "with")
    assert without > 20
    assert held_out_psnr(wall_capture, done) > without - 0.05
    shares = done.report["priors"]["appearance"]["admitted_share"]
    assert (min(shares) > 0.5) if name == "identity" else (max(shares) < 0.3)


def pseudo_view(height: int = 24, width: int = 32) -> PseudoView:
    camera = Camera(np.array([[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1]]), np.eye(4), width, height)
    picture = np.random.default_rng(1).uniform(0.3, 0.7, (height, width, 3)).astype(np.float32)
    weight = np.ones((height, width), np.float32)
    weight[:, 24:] = 0
    return PseudoView(camera, picture, weight, np.where(weight > 0, 4, 0).astype(np.float32), weight == 0)


def test_the_gate_pixel_by_pixel() -> None:
    view = pseudo_view()
    alpha, depth = np.ones((24, 32), np.float32), np.full((24, 32), 4.0, np.float32)
    good = view.image
    blurred = np.full_like(good, good.mean())
    say = admitted(good, blurred, depth, alpha, view)
    assert say[:, :24].min() > 0.9 and np.allclose(say[:, 27:], 0.5)
    # Off the surface, or not solid: nothing is known to be shown there.
    assert admitted(good, blurred, depth * 1.1, alpha, view)[:, :24].max() == 0
    assert admitted(good, blurred, depth, alpha * 0.4, view).max() == 0
    # Brighter than the photographs by a quarter: refused where they look, and too new elsewhere.
    assert admitted(good + 0.25, good, depth, alpha, view).max() < 0.01
    # A small step away from the photographs where the render was right is refused too.
    assert admitted(good + 0.04, good, depth, alpha, view)[:, :20].max() == 0
    assert admitted(good + 0.04, good + 0.08, depth, alpha, view)[:, :20].min() > 0.5


def term(capture: Capture, **changes: object) -> DepthPriorTerm:
    config, depth = settings(steps=1000, depth_prior_rounds=3, **changes), WallDepth()
    geometry = GivenDepth().estimate(capture, lambda done, total: None)
    return DepthPriorTerm(depth, depth.inverse_depth, capture.views, geometry, [], config.optimise, 0, CPU)


def test_masked_pixels_are_left_alone(wall_capture: Capture) -> None:
    mask = np.ones((36, 48), np.float32)
    mask[:, :20] = 0
    masked = replace(wall_capture, views=tuple(replace(view, mask=mask) for view in wall_capture.views))
    depth = (torch.rand(36, 48, generator=torch.Generator().manual_seed(0)) + 3).requires_grad_()
    loss = term(masked).training_loss(0, Picture(torch.zeros(36, 48, 3), depth, torch.ones(36, 48)), 0)
    assert loss is not None
    loss.backward()
    assert not depth.grad[:, :20].any() and depth.grad[:, 20:].any()


def test_schedule_of_the_depth_term(wall_capture: Capture) -> None:
    depth = torch.rand(36, 48, generator=torch.Generator().manual_seed(0)) + 3
    picture = Picture(torch.zeros(36, 48, 3), depth, torch.ones(36, 48))
    losses = [float(term(wall_capture, depth_prior_patch_weight=0.0).training_loss(0, picture, step))
              for step in (0, 949, 975, 999)]
    assert losses[0] == losses[1] > losses[2] > losses[3] > 0
    assert losses[3] / losses[0] == pytest.approx(0.02, abs=0.025)
    assert term(wall_capture, depth_prior_weight=0.0, depth_prior_patch_weight=0.0).training_loss(0, picture, 0) is None
    patches = term(wall_capture, depth_prior_weight=0.0)
    assert float(patches.training_loss(0, picture, 0)) > 0
    assert float(patches.training_loss(0, picture, 1)) != float(patches.training_loss(0, picture, 0))
    assert float(patches.training_loss(0, picture, 1)) == float(patches.training_loss(0, picture, 1))
    assert _rounds(settings(steps=1000, depth_prior_rounds=3).optimise) == [200, 450, 700]
    assert _rounds(settings(depth_prior_pseudo_weight=0.0).optimise) == []
