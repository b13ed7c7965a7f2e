# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes that train one scene together, as ``torchrun`` starts them: one per GPU, each with a number (rank)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


class RankLost(Exception):
    """Another rank has gone; it says why itself."""


PATIENCE = timedelta(days=2)
"""Longest wait of a rank for the others: the first one prepares a large capture alone, which takes its time."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Control values go over gloo (CPU tensors), Gaussians over NCCL where they are on GPUs.
    """

    index: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, on_gpu: bool) -> Ranks:
        """Meet the others; what ``torchrun`` put into the environment says where."""
        local = int(os.environ["LOCAL_RANK"])
        device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def is_first(self) -> bool:
        """Whether this rank prepares, reports and writes for all."""
        return self.index == 0

    def wait(self) -> None:
        """Until every rank has come here."""
        self.largest([0.0])

    def leave(self) -> None:
        """Nothing more is to be said."""
        dist.destroy_process_group()

    def largest(self, values: Sequence[float]) -> list[float]:
        """Each value's maximum over the ranks.

        Raises:
            RankLost: one of them has gone.
        """
        found = torch.tensor(values, dtype=torch.float64)
        try:
            dist.all_reduce(found, dist.ReduceOp.MAX)
        except RuntimeError as error:
            raise RankLost(str(error)) from error
        return [float(value) for value in found.tolist()]

    def sizes(self, own: int) -> list[int]:
        """A count of every rank."""
        found = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(found, torch.tensor([own]))
        return [int(size) for size in found]

    def add_up(self, tensor: Tensor) -> None:
        """Put the sum over the ranks into ``tensor``, in place."""
        dist.all_reduce(tensor)

    def rows_of_all(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """At the first rank the rows [sum of sizes, ...] of all ranks, on the CPU; at the others their own."""
        own = rows.detach().cpu().contiguous()
        if not self.is_first:
            if own.numel():     # gloo sends nothing that is nothing
                dist.send(own, 0)
            return own
        parts = [own]
        for rank in range(1, self.count):
            part = own.new_empty((sizes[rank], *own.shape[1:]))
            if part.numel():
                dist.recv(part, rank)
            parts.append(part)
        return torch.cat(parts)
