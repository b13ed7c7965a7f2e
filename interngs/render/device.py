# SPDX-License-Identifier: GPL-3.0-or-later
"""Which device a job runs on, and why."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch

from ..errors import InputError


def choose_device(requested: Literal["auto", "cpu", "cuda"]) -> tuple[torch.device, str]:
    """The torch device for ``requested`` and a sentence that says why.

    Raises:
        InputError: CUDA was asked for and cannot be used.
    """
    has_cuda = torch.cuda.is_available()
    has_gsplat = importlib.util.find_spec("gsplat") is not None
    if requested == "cuda" and not (has_cuda and has_gsplat):
        missing = "no NVIDIA GPU that this PyTorch can use" if not has_cuda else "the gsplat package is not installed"
        raise InputError("cuda-not-available", f"CUDA was asked for, but there is {missing}." if not has_cuda else
                         f"CUDA was asked for, but {missing}.",
                         "Use --device cpu, or install a CUDA build of PyTorch and 'pip install interngs[cuda]'.")
    if requested != "cpu" and has_cuda and has_gsplat:
        return torch.device("cuda"), f"gsplat on {torch.cuda.get_device_name()}"
    if requested == "cpu":
        return torch.device("cpu"), "CPU kernels, since the device was set to cpu"
    reason = "gsplat is not installed" if has_cuda else "no NVIDIA GPU was found"
    return torch.device("cpu"), f"CPU kernels, since {reason}"
