# SPDX-License-Identifier: GPL-3.0-or-later
"""One rank of the distributed training's test: a few steps on a wall, with the state of all written at the end."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from interngs.optimise.checkpoint import CheckpointStore
from interngs.optimise.distributed import DistributedTrainer, config_of_a_rank
from interngs.optimise.ranks import Ranks

sys.path.insert(0, str(Path(__file__).parent))
import wall


def main(rank: int, count: int, folder: Path, steps: int, resume: bool) -> None:
    """Train; the first rank's checkpoint holds everything."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=count, timeout=timedelta(seconds=100),
                            store=dist.FileStore(str(folder / f"store-{resume}"), count))
    config = config_of_a_rank(wall.config(steps), count)
    ranks = Ranks(rank, count, torch.device("cpu"))
    trainer = DistributedTrainer(*wall.parts(config), config, ranks)
    store = CheckpointStore(folder / "checkpoints")
    if resume:
        trainer.load(store.latest())
        trainer.config = replace(trainer.config, steps=trainer.config.steps + 2)
    events = list(trainer.run(store, lambda: False))
    gaussians = trainer.gaussians()
    assert events[-2].gaussians == (len(gaussians) if rank == 0 else events[-2].gaussians)
    ranks.leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:] == ["resume"])
