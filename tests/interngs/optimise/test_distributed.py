# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes that train one scene do what one process does with two photographs a step."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from interngs.geometry.seeding import Seeds
from interngs.optimise.checkpoint import Checkpoint, CheckpointStore
from interngs.optimise.distributed import DistributedTrainer, _scale_adam, config_of_a_rank
from interngs.optimise.ranks import Ranks
from interngs.optimise.trainer import Trainer

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).parent))
import wall  # noqa: E402

CPU = torch.device("cpu")


class TwoAtOnce(Trainer):
    """The same in one process: each step takes the mean loss of the views that the ranks would take."""

    views_per_step = 2

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for part in (self.model, self.exposure, self.poses):
            _scale_adam(part.optimiser, 2)
        self.model.scale_rates(math.sqrt(2))
        self.poses.rate *= math.sqrt(2)
        self.alone = [object.__new__(DistributedTrainer) for _ in range(2)]
        for rank, other in enumerate(self.alone):
            other.__dict__.update(self.__dict__, ranks=Ranks(rank, 2, CPU), _batches=[[0, 1, 2], [3]],
                                  _pseudo_by_size=[[0, 1, 2], [3]])

    def _render(self, active, K, pose, width, height):
        self.views_per_step = 1     # one process: nothing is exchanged
        try:
            return super()._render(active, K, pose, width, height)
        finally:
            self.views_per_step = 2

    def _step(self, step):
        active, total, seen = self.model.activated(), 0.0, []
        for other in self.alone:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) & 0x7FFFFFFF)
            torch.randint(1 << 31, (2,), generator=generator)
            index = other._view_at(step)
            loss, rendered = self._training_view_loss(active, index)
            seen.append((rendered, self.views[index].image.shape))
            self._pseudo_number = other._pseudo_number
            if self._pseudo_view_due(step):
                loss = loss + self._pseudo_view_loss(active, generator)
            total = total + loss
        (total / 2).backward()
        for rendered, shape in seen:
            self.density.observe(2 * rendered.meta["means2d"].grad, rendered.meta["radii"], shape[1], shape[0])
        self._update(step, step / self.config.steps)
        return total.detach() / 2


def run_ranks(folder: Path, count: int, steps: int, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).with_name("ranks_train.py"))
    processes = [subprocess.Popen([sys.executable, script, str(rank), str(count), str(folder), str(steps), *arguments],
                                  env=environment) for rank in range(count)]
    assert [process.wait(200) for process in processes] == [0] * count


def both(folder: Path, steps: int) -> tuple[Checkpoint, Checkpoint]:
    """What two ranks end with, and what one process does."""
    run_ranks(folder, 2, steps)
    config = config_of_a_rank(wall.config(steps), 2)
    capture, geometry, seeds, pseudo = wall.parts(config)
    # As the ranks hold them, since of equally deep Gaussians the first is drawn first.
    order = np.concatenate([np.arange(len(seeds.positions))[rank::2] for rank in range(2)])
    seeds = Seeds(seeds.positions[order], seeds.colours[order], seeds.confidence[order], seeds.footprint[order], {})
    alone = TwoAtOnce(capture, geometry, seeds, pseudo, config, CPU)
    list(alone.run(CheckpointStore(folder / "alone"), lambda: False))
    found, expected = (CheckpointStore(folder / name).latest() for name in ("checkpoints", "alone"))
    assert found.step == expected.step == steps // 2
    assert found.facts == {"gaussians": len(expected.tensors["anchors"]), "views_per_step": 2}
    return found, expected


def in_order(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """A tensor's rows ordered by where the Gaussians began: ranks hold them in another order."""
    return tensors[name][torch.from_numpy(np.lexsort(tensors["anchors"].double().numpy().T))]


def test_gradients_of_two_ranks_are_those_of_one_process_with_two_views(tmp_path):
    found, expected = (checkpoint.tensors for checkpoint in both(tmp_path, 2))
    assert torch.equal(in_order(found, "anchors"), in_order(expected, "anchors"))
    for name in ("offsets", "quats", "log_scales", "opacity_logits", "sh0", "sh_rest"):
        # The first moment after one step is the gradient, times 1 - beta.
        mine, theirs = (in_order(tensors, f"adam.{name}.exp_avg") for tensors in (found, expected))
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))
    for name in ("density.gradient_sum", "density.seen"):
        torch.testing.assert_close(in_order(found, name), in_order(expected, name), rtol=1e-3, atol=1e-6)
    for name in ("exposure.adam.0.exp_avg", "exposure.adam.1.exp_avg"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-7)


def test_two_ranks_train_as_one_process_with_two_views_a_step(tmp_path):
    found, expected = both(tmp_path, 12)
    # Adam makes steps of full size even where a gradient is all rounding, so single Gaussians may part.
    for name in ("offsets", "log_scales", "opacity_logits", "sh0"):
        apart = (in_order(found.tensors, name) - in_order(expected.tensors, name)).abs()
        assert float((apart < 1e-3).double().mean()) > 0.8
    torch.testing.assert_close(found.tensors["poses.turn"], expected.tensors["poses.turn"], rtol=0.05, atol=1e-5)

    run_ranks(tmp_path, 2, 12, "resume")
    assert CheckpointStore(tmp_path / "checkpoints").latest().step == 8
    config = wall.config()
    one = Trainer(*wall.parts(config), config, CPU)
    one.load(found)
    assert one.step_number == 12 and len(one.model) == len(found.tensors["anchors"])


@pytest.mark.parametrize(("ranks", "steps"), [(2, 6), (5, 3)])
def test_steps_and_budgets_are_shared(ranks, steps):
    config = config_of_a_rank(wall.config(), ranks)
    assert config.optimise.steps == steps
    assert config.optimise.max_gaussians == 100_000 // ranks


def test_every_view_comes_once_a_round_and_a_step_has_views_of_one_size():
    alone = [object.__new__(DistributedTrainer) for _ in range(2)]
    for rank, trainer in enumerate(alone):
        trainer.ranks, trainer.seed = Ranks(rank, 2, CPU), 4
        trainer._batches = [[0, 1, 4, 5], [2, 3]]
    for round_number in range(4):
        steps = [[trainer._view_at(3 * round_number + step) for trainer in alone] for step in range(3)]
        assert sorted(view for step in steps for view in step) == [0, 1, 2, 3, 4, 5]
        assert all(set(step) <= {2, 3} or not set(step) & {2, 3} for step in steps)
