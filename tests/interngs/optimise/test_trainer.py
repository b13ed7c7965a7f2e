# SPDX-License-Identifier: GPL-3.0-or-later
"""The optimisation loop: it learns, stops and resumes exactly, and is the same twice."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from interngs.config import OptimiseConfig, PipelineConfig, SeedingConfig
from interngs.events import CheckpointSaved, Progress
from interngs.geometry.prior import Geometry, ViewGeometry
from interngs.geometry.seeding import select_seeds
from interngs.optimise.checkpoint import CheckpointStore
from interngs.optimise.pseudo_views import prepare_pseudo_views
from interngs.optimise.trainer import Trainer, default_sh_degree
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View
from interngs.scene.gaussians import Gaussians

WIDTH, HEIGHT, FOCAL_PX = 32, 24, 40.0
CPU = torch.device("cpu")
FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def camera(x: float) -> Camera:
    pose = np.eye(4)
    pose[0, 3] = -x
    return Camera(np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1.0]]), pose, WIDTH, HEIGHT)


def scene(gains: tuple[float, ...] = (1.0, 1.0, 1.0)) -> tuple[Capture, Geometry]:
    """A slanted textured wall seen by three cameras; ``gains`` are the photographs' exposures."""
    views, shapes = [], []
    for x, gain in zip((0.0, 0.4, 0.8), gains, strict=True):
        cam = camera(x)
        rays = cam.pixel_rays()
        depth = (4.0 + 0.3 * x) / (1.0 - 0.3 * rays[..., 0])  # the plane z = 4 + 0.3 X
        points = cam.unproject(depth)
        colour = 0.4 + 0.2 * np.stack([np.sin(4 * points[..., 0]), np.cos(5 * points[..., 1]),
                                       np.sin(3 * points[..., 0] + 4 * points[..., 1])], axis=-1)
        views.append(View(f"wall{x}", (gain * colour).astype(np.float32), cam))
        shapes.append(ViewGeometry(cam, depth.astype(np.float32), np.full(depth.shape, 6.0, np.float32)))
    return Capture(tuple(views)), Geometry(tuple(shapes), "test")


def config(**changes: object) -> PipelineConfig:
    optimise = OptimiseConfig(steps=60, pseudo_views=4, grow_from=0.0, opacity_fade=0.1, preview_every_s=1e9,
                              checkpoint_every_s=1e9)
    return PipelineConfig(seeding=SeedingConfig(initial_opacity=0.6),
                          optimise=replace(optimise, **changes))  # type: ignore[arg-type]


def trainer(settings: PipelineConfig, data: tuple[Capture, Geometry] | None = None) -> Trainer:
    capture, geometry = data or scene()
    pseudo = prepare_pseudo_views(capture, geometry, settings.optimise.pseudo_views, settings.seed)
    return Trainer(capture, geometry, select_seeds(capture, geometry, settings.seeding), pseudo, settings, CPU)


def finish(run: Trainer, checkpoints: CheckpointStore | None = None,
           should_stop: Callable[[], bool] = lambda: False) -> Gaussians:
    for _ in run.run(checkpoints, should_stop):
        pass
    return run.gaussians()


def assert_equal(a: Gaussians, b: Gaussians) -> None:
    for name in FIELDS:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_it_learns_the_photographs() -> None:
    run = trainer(config())
    progress = [event for event in run.run(None, lambda: False) if isinstance(event, Progress)]
    assert progress[-1].step == 60
    assert progress[-1].psnr_db is not None
    assert progress[-1].psnr_db > 30
    assert progress[-1].seconds_left == 0


def test_same_seed_same_result_and_another_seed_another() -> None:
    first, again, other = (finish(trainer(settings)) for settings in
                           (config(), config(), replace(config(), seed=1)))
    assert_equal(first, again)
    assert not np.array_equal(first.means, other.means)


@pytest.mark.parametrize("refine_poses", [False, True])
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path: Path, refine_poses: bool) -> None:
    settings = config(refine_poses=refine_poses)
    whole = finish(trainer(settings))
    store = CheckpointStore(tmp_path)
    asked = iter([False] * 23 + [True])
    stopped = trainer(settings)
    finish(stopped, store, lambda: next(asked))
    assert stopped.step_number == 23
    resumed = trainer(settings)
    checkpoint = store.latest()
    assert checkpoint is not None
    resumed.load(checkpoint)
    assert_equal(finish(resumed, store), whole)


def test_a_run_killed_between_checkpoints_resumes_to_the_same_bits(tmp_path: Path) -> None:
    settings = config(checkpoint_every_steps=20)
    whole = finish(trainer(settings))
    store = CheckpointStore(tmp_path)
    for event in (killed := trainer(settings)).run(store, lambda: False):
        if isinstance(event, CheckpointSaved) and event.step == 40:
            break
    killed._step(killed.step_number)  # work after the checkpoint that is lost
    resumed = trainer(settings)
    checkpoint = store.latest()
    assert checkpoint is not None
    assert checkpoint.step == 40
    resumed.load(checkpoint)
    assert_equal(finish(resumed), whole)


def test_unequal_exposure_is_not_baked_in() -> None:
    data = scene(gains=(1.15, 1.0, 1 / 1.15))
    true_colour = scene()[0].views[1].image.mean()
    run = trainer(config(steps=300), data)
    finish(run)
    assert run.exposure is not None
    gain = torch.exp(run.exposure.log_gain.detach() - run.exposure.log_gain.detach().mean(dim=0)).mean(dim=1)
    assert gain[0] > 1.05 > 0.98 > gain[2]
    with torch.no_grad():
        view = run.views[1]
        rendered = run._render(run.model.activated(), view.K, view.camera_from_world, WIDTH, HEIGHT)
    assert abs(float(rendered.rgb.mean()) - true_colour) < 0.02


def test_a_background_that_is_transparent_becomes_empty() -> None:
    """The wall ends at X = -0.6: left of it the photographs are transparent."""
    capture, geometry = scene()
    covered = [(shape.pointmap()[..., 0] > -0.6).astype(np.float32) for shape in geometry.views]
    views = tuple(replace(view, mask=alpha, alpha=alpha) for view, alpha in zip(capture.views, covered, strict=True))
    settings = replace(config(steps=90, warp_weight=0.0), seeding=SeedingConfig(initial_opacity=0.1))
    run = trainer(settings, (Capture(views), geometry))
    finish(run)
    with torch.no_grad():
        view = run.views[0]
        alpha = run._render(run.model.activated(), view.K, view.camera_from_world, WIDTH, HEIGHT).alpha.numpy()
    inside, outside = (cv2.erode(region, np.ones((5, 5))) > 0 for region in (covered[0], 1 - covered[0]))
    assert alpha[inside].mean() > 0.7
    assert alpha[outside].mean() < 0.25


def test_a_camera_that_is_off_finds_its_place_before_fixed_gaussians() -> None:
    """A turn can stand in for a small shift, so the error is measured where the wall's points land."""
    trained = trainer(config(warp_weight=0.0))
    finish(trained)
    capture, geometry = scene()
    wrong = camera(0.4)
    wrong.camera_from_world[0, 3] += 0.05
    shapes = list(geometry.views)
    shapes[1] = ViewGeometry(wrong, shapes[1].depth, shapes[1].confidence)
    still = config(refine_poses=True, pose_rate=2e-2, mean_rate=0.0, quat_rate=0.0, scale_rate=0.0, opacity_rate=0.0,
                   colour_rate=0.0, opacity_fade=0.0, exposure=False, warp_weight=0.0, dropout=0.0, steps=90)
    run = trainer(still, (capture, Geometry(tuple(shapes), "test")))
    run.model.load_state(trained.model.state())
    finish(run)
    wall = geometry.views[1].pointmap().reshape(-1, 3)
    truth, _ = camera(0.4).project(wall)
    refined, _ = Camera(wrong.K, run.cameras_from_world()[1], WIDTH, HEIGHT).project(wall)
    start, _ = wrong.project(wall)
    assert np.abs(start - truth).mean() > 0.2
    assert np.abs(refined - truth).mean() < 0.4 * np.abs(start - truth).mean()


def test_surfaces_close_before_what_lies_behind() -> None:
    """A black picture is also had by leaving it transparent; only the alpha term makes it solid."""
    capture, geometry = scene()
    black = Capture(tuple(replace(view, image=np.zeros_like(view.image)) for view in capture.views))

    def mean_alpha(weight: float) -> float:
        run = trainer(config(alpha_weight=weight, opacity_fade=1.0), (black, geometry))
        finish(run)
        view = run.views[1]
        rendered = run._render(run.model.activated(), view.K, view.camera_from_world, WIDTH, HEIGHT)
        return float(rendered.alpha[4:-4, 4:-4].mean())

    assert mean_alpha(0.05) > 0.98 > 0.9 > mean_alpha(0.0)


def test_warped_photographs_lose_their_weight_over_the_run() -> None:
    run = trainer(config(alpha_weight=0.0, warp_fade=0.75))
    losses = []
    for step in (0, 30, 60):
        run.step_number = step
        losses.append(run._pseudo_view_loss(run.model.activated(), torch.Generator().manual_seed(0)).item())
    assert losses[0] > 0
    assert losses[1] == pytest.approx(0.625 * losses[0]) and losses[2] == pytest.approx(0.25 * losses[0])


def test_sh_degree_follows_the_number_of_views() -> None:
    assert [default_sh_degree(n) for n in (1, 3, 5, 6, 11, 12, 50)] == [1, 1, 1, 2, 2, 3, 3]
