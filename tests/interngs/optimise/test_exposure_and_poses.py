# SPDX-License-Identifier: GPL-3.0-or-later
"""Exposure that cannot drift, and camera corrections that stay rigid."""

import torch

from interngs.optimise.exposure import Exposure
from interngs.optimise.pose_refinement import PoseRefinement


def test_exposure_finds_the_gain_between_photographs_and_keeps_their_mean() -> None:
    truth = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))
    photographs = [truth * 1.2, truth / 1.2]
    exposure = Exposure(2, torch.device("cpu"))
    for step in range(600):
        index = step % 2
        (exposure.apply(truth, index) - photographs[index]).abs().mean().backward()
        exposure.step()
    gains = torch.exp(exposure.log_gain.detach() - exposure.log_gain.detach().mean(dim=0))
    assert torch.allclose(gains[0] / gains[1], torch.tensor(1.44), atol=0.06)
    assert torch.allclose(gains.prod(dim=0), torch.ones(3), atol=1e-5)


def test_corrected_poses_stay_rigid_and_the_first_view_stays_put() -> None:
    start = torch.eye(4).repeat(3, 1, 1)
    poses = PoseRefinement(start, scene_scale=2.0, rate=0.1)
    with torch.no_grad():
        poses.turn.copy_(torch.randn(3, 6, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(poses.camera_from_world(0), start[0])
    pose = poses.camera_from_world(2)
    rotation = pose[:3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-5)
    assert torch.allclose(pose[:3, 3], 2.0 * poses.turn[2, 3:], atol=1e-6)


def test_state_goes_through_a_checkpoint() -> None:
    poses = torch.eye(4).repeat(2, 1, 1)
    for build in (lambda: Exposure(2, torch.device("cpu")), lambda: PoseRefinement(poses, 1.0, 1e-2)):
        one, two = build(), build()
        _push(one)
        two.load_state({name: tensor.clone() for name, tensor in one.state().items()})
        _push(one)
        _push(two)
        for name, tensor in one.state().items():
            assert torch.equal(tensor, two.state()[name]), name


def _push(part: Exposure | PoseRefinement) -> None:
    if isinstance(part, Exposure):
        part.apply(torch.ones(2, 2, 3), 1).sum().backward()
        part.step()
    else:
        part.camera_from_world(1).sum().backward()
        part.step(0.5)
