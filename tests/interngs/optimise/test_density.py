# SPDX-License-Identifier: GPL-3.0-or-later
"""What density control gathers: the same from packed renders, and over several views at once."""

from __future__ import annotations

import torch

from interngs.config import OptimiseConfig
from interngs.optimise.density import DensityControl
from interngs.render.rasterize import rasterize

CPU = torch.device("cpu")


def gathered(packed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    count = 60
    means = (torch.randn(count, 3, generator=g) * 2 + torch.tensor([0.0, 0, 4])).requires_grad_()
    viewmats = torch.eye(4).repeat(2, 1, 1)
    viewmats[1, 0, 3] = 0.5
    render, _, meta = rasterize(
        means, torch.randn(count, 4, generator=g), 0.1 + 0.1 * torch.rand(count, 3, generator=g),
        torch.full((count,), 0.5), torch.rand(count, 3, generator=g), viewmats,
        torch.tensor([[20.0, 0, 12], [0, 20, 9], [0, 0, 1]]).repeat(2, 1, 1), 24, 18, packed=packed)
    meta["means2d"].retain_grad()
    render.square().sum().backward()
    density = DensityControl(OptimiseConfig(), count, CPU)
    density.observe(meta["means2d"].grad, meta["radii"], 24, 18, meta["gaussian_ids"])
    return density.gradient_sum, density.seen


def test_packed_renders_say_the_same():
    (packed_sum, packed_seen), (whole_sum, whole_seen) = gathered(True), gathered(False)
    torch.testing.assert_close(packed_sum, whole_sum)
    assert torch.equal(packed_seen, whole_seen)
    assert int((whole_seen == 2).sum()) > 0 and int((whole_seen == 0).sum()) > 0


def test_changes_come_as_often_per_view_whatever_a_step_looks_at():
    assert [step for step in range(1, 301) if DensityControl(OptimiseConfig(), 1, CPU).due(step)] == [100, 200, 300]
    four = DensityControl(OptimiseConfig(), 1, CPU, views_per_step=4)
    assert [step for step in range(1, 101) if four.due(step)] == [25, 50, 75, 100]


def test_keeping_some_keeps_what_was_gathered_of_them():
    density = DensityControl(OptimiseConfig(), 3, CPU)
    density.gradient_sum, density.seen = torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])
    density.keep(torch.tensor([True, False, True]))
    assert density.gradient_sum.tolist() == [1, 3] and density.seen.tolist() == [4, 6]
