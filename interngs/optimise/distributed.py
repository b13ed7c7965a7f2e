# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes optimise one scene: each holds a share of the Gaussians and looks at a photograph of its own.

gsplat's own multi-GPU mode (on the CPU its reference over gloo): a step renders as many photographs as there are ranks,
gradients flow to the Gaussians wherever they live, and every rank runs Adam on its share.  A step so sees a batch of B
photographs; as in gsplat's trainer there are B times fewer steps, and Adam is scaled by the square-root rule (Malladi
et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms"): rates times sqrt(B), epsilon divided by
it, 1 - beta times B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import PipelineConfig
from ..events import Event, Progress
from ..geometry.prior import Geometry
from ..geometry.seeding import Seeds
from ..scene.capture import Capture
from ..scene.gaussians import Gaussians
from .checkpoint import Checkpoint, CheckpointStore
from .model import Activated
from .prior_term import PriorTerm
from .pseudo_views import PseudoView
from .ranks import Ranks
from .trainer import Trainer


def config_of_a_rank(config: PipelineConfig, ranks: int) -> PipelineConfig:
    """The settings with steps that look at ``ranks`` photographs each, and a rank's share of the Gaussians."""
    optimise = config.optimise
    return replace(config, optimise=replace(
        optimise, steps=math.ceil(optimise.steps / ranks), max_gaussians=max(1, optimise.max_gaussians // ranks),
        checkpoint_every_steps=max(1, optimise.checkpoint_every_steps // ranks)))


class DistributedTrainer(Trainer):
    """One rank's part of the training; all ranks make and call it alike.

    The first rank's checkpoints and Gaussians are those of all ranks, in the form of an ordinary run: it can be resumed
    with another number of ranks.
    """

    def __init__(self, capture: Capture, geometry: Geometry, seeds: Seeds, pseudo: list[PseudoView],
                 config: PipelineConfig, ranks: Ranks, prior_terms: Sequence[PriorTerm] = ()) -> None:
        """As ``Trainer``; ``config`` as ``config_of_a_rank`` gives it, ``seeds`` those of all ranks."""
        self.ranks = ranks
        self.views_per_step = ranks.count
        super().__init__(capture, geometry, seeds, pseudo, config, ranks.device, prior_terms)
        self._keep_share()
        for optimiser in self._optimisers():
            _scale_adam(optimiser, ranks.count)
        self.model.scale_rates(math.sqrt(ranks.count))
        if self.poses is not None:
            self.poses.rate *= math.sqrt(ranks.count)
        self._batches = _batches_by_size([(camera.width_px, camera.height_px) for camera in self.views.cameras])
        self._pseudo_by_size = _batches_by_size([(view.camera.width_px, view.camera.height_px) for view in pseudo])
        self._clock_s, self._stop = 0.0, False

    def run(self, checkpoints: CheckpointStore | None, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """See ``Trainer``; all ranks stop at the same step, whichever is asked to."""
        def agreed() -> bool:
            self._clock_s, wanted = self.ranks.largest([super(DistributedTrainer, self)._now(), float(should_stop())])
            return wanted > 0

        agreed()
        yield from super().run(checkpoints, agreed)

    def _now(self) -> float:
        """The same at all ranks, so that all see the same previews and checkpoints as due."""
        return self._clock_s

    def gaussians(self) -> Gaussians:
        """At the first rank a copy of all Gaussians, at the others of their own; all ranks must call it."""
        own = self.model.to_gaussians()
        sizes = self.ranks.sizes(len(own))
        arrays = (own.means, own.quats, own.log_scales, own.opacity_logits, own.sh)
        return Gaussians(*(self.ranks.rows_of_all(torch.from_numpy(array), sizes).numpy() for array in arrays))

    def save(self, checkpoints: CheckpointStore) -> Path:
        """The first rank writes the state of all; all ranks must call it."""
        tensors = self._state()
        facts = {"gaussians": len(tensors["anchors"]), "views_per_step": self.views_per_step}
        path = checkpoints.folder
        if self.ranks.is_first:
            path = checkpoints.save(Checkpoint(self.step_number, tensors, facts))
        self.ranks.wait()
        return path

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of any number of ranks."""
        super().load(checkpoint)
        self._keep_share()

    def _state(self) -> dict[str, Tensor]:
        """That of an ordinary run, at the first rank."""
        rows = self.model.state() | self.density.state()
        sizes = self.ranks.sizes(len(self.model))
        gathered = {name: tensor if name.endswith(".step") else self.ranks.rows_of_all(tensor, sizes)
                    for name, tensor in rows.items()}
        return {name: gathered.get(name, tensor) for name, tensor in super()._state().items()}

    def _keep_share(self) -> None:
        """Of all Gaussians every so manyth, so that all ranks have as many in every part of the scene."""
        own = torch.arange(len(self.model), device=self.device) % self.ranks.count == self.ranks.index
        self.density.keep(own)
        self.model.keep(own)

    def _with_dropout(self, active: Activated, progress: float, generator: torch.Generator) -> Activated:
        # Shares are interleaved: drawn alike, neighbours would be left out together.
        seeds = torch.randint(1 << 31, (self.ranks.count,), generator=generator)
        own = torch.Generator().manual_seed(int(seeds[self.ranks.index]))
        return super()._with_dropout(active, progress, own)

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        parts = [part.optimiser for part in (self.exposure, self.poses) if part is not None]
        return [self.model.optimiser, *parts]

    def _update(self, step: int, progress: float) -> None:
        """What all ranks share is stepped with the gradients of all."""
        for part in (self.exposure, self.poses):
            for parameter in [] if part is None else part.optimiser.param_groups[0]["params"]:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                self.ranks.add_up(parameter.grad)
        super()._update(step, progress)

    def _camera_from_world(self, index: int) -> Tensor:
        pose = super()._camera_from_world(index)
        if self.poses is None:
            return pose
        # The first view stays where it is; yet the ranks must agree on whether poses have gradients.
        return pose + 0.0 * self.poses.turn.sum()

    def _view_at(self, step: int) -> int:
        """Every view once per round; those of a step have one size, which gsplat asks for."""
        batches = _rounds(self._batches, self.ranks.count)
        generator = np.random.default_rng((self.seed * 7919 + step // len(batches)) & 0x7FFFFFFF)
        batch = generator.permutation(len(batches))[step % len(batches)]
        size, part = batches[batch]
        order = generator.permutation(self._batches[size])
        return int(order[(part * self.ranks.count + self.ranks.index) % len(order)])

    def _pseudo_number(self, generator: torch.Generator) -> int:
        first = super()._pseudo_number(generator)
        alike = next(numbers for numbers in self._pseudo_by_size if first in numbers)
        return alike[(alike.index(first) + self.ranks.index) % len(alike)]

    def _progress(self, loss: float, first_step: int, elapsed_s: float) -> Progress:
        own = super()._progress(loss, first_step, elapsed_s)
        return replace(own, gaussians=sum(self.ranks.sizes(len(self.model))))


def _scale_adam(optimiser: torch.optim.Optimizer, batch: int) -> None:
    """The square-root rule for a batch of so many photographs (rates of scheduled groups are set elsewhere)."""
    for group in optimiser.param_groups:
        group["lr"] *= math.sqrt(batch)
        group["eps"] /= math.sqrt(batch)
        group["betas"] = tuple(max(0.0, 1 - batch * (1 - beta)) for beta in group["betas"])


def _batches_by_size(sizes_px: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Numbers of the images of each size, the sizes in order of first appearance."""
    found: dict[tuple[int, int], list[int]] = {}
    for number, size in enumerate(sizes_px):
        found.setdefault(size, []).append(number)
    return list(found.values())


def _rounds(groups: Sequence[Sequence[int]], ranks: int) -> list[tuple[int, int]]:
    """The steps of a round as (group, part of it): each group in parts of ``ranks``, the last one filled up."""
    return [(number, part) for number, group in enumerate(groups) for part in range(math.ceil(len(group) / ranks))]
