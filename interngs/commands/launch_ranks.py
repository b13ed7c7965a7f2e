# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs reconstruct --gpus N``: the same command in N processes, started and watched by ``torchrun``."""

from __future__ import annotations

import logging
import os
import sys

import torch
import torch.distributed

from ..config import PipelineConfig
from ..errors import InputError
from ..render.device import choose_device

RANK_MODULE = "interngs.commands.reconstruct_rank"


def check_ranks(count: int, device: str) -> None:
    """Whether ``count`` processes can train together here.

    Raises:
        InputError: a number below 1; no CUDA or gsplat; fewer GPUs than asked for; a PyTorch without ``distributed``.
    """
    if count < 1:
        raise InputError("gpus-out-of-range", f"{count} GPUs cannot train anything.", "Give --gpus 1 or more.")
    if not torch.distributed.is_available():
        raise InputError("no-distributed", "This PyTorch was built without torch.distributed.",
                         "Leave --gpus out, or install a PyTorch with it.")
    if device == "cpu":
        return
    choose_device("cuda")
    if (found := torch.cuda.device_count()) < count:
        raise InputError("too-few-gpus", f"{count} GPUs were asked for, but this machine has {found}.",
                         f"Use --gpus {found} (or fewer), or look at CUDA_VISIBLE_DEVICES.")
    if not torch.distributed.is_nccl_available():
        raise InputError("no-nccl", "This PyTorch has no NCCL, by which GPUs talk to each other.",
                         "Leave --gpus out, or use Linux with a CUDA build of PyTorch.")


def launch_ranks(arguments: list[str], count: int, config: PipelineConfig) -> None:
    """Run ``interngs reconstruct`` with ``arguments`` in ``count`` processes; returns when all are done.

    What they have to say they say themselves, also why they fail.

    Raises:
        InputError: see ``check_ranks``.
        SystemExit: with the exit code of the process that failed first.
        KeyboardInterrupt: stopped by Ctrl-C, after a checkpoint.
    """
    check_ranks(count, config.device)
    # Here and not above: starting takes a second, and ordinary runs do not need it.
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.run import parse_args, run  # noqa: PLC0415

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or count) // count)))
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    logging.getLogger("torch.multiprocessing").setLevel(logging.CRITICAL)
    try:
        run(parse_args(["--standalone", "--nproc-per-node", str(count), "-m", RANK_MODULE, *arguments]))
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        sys.stderr.write(f"interngs: one of the {count} processes failed, so all were ended.\n")
        sys.exit(code if code > 0 else 1)
    except SignalException as error:
        raise KeyboardInterrupt from error
