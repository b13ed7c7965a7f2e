# SPDX-License-Identifier: GPL-3.0-or-later
"""Time and memory of one DUSt3R pair at full size, against its matrix work alone.

    python benchmarks/dust3r.py [--head dpt|linear] [--rounds 2] [--threads 2] [--json FILE]

The network has the released sizes (ViT-L encoder, base decoder, 512x384 images) and made-up weights.  The
yardstick is every linear layer, convolution and fused attention of the same pass, run one after the other on
tensors of the same shapes and with the same weights, and nothing else: no normalisation, no activation, no
rotation, no resizing.  Both are timed in turns; the ratio is of the best rounds, in wall time and in processor
time (which other work on the machine disturbs less).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from interngs.geometry.dust3r.blocks import CrossAttention, SelfAttention
from interngs.geometry.dust3r.configuration import NetworkConfig
from interngs.geometry.dust3r.network import Dust3rNetwork

HEIGHT, WIDTH = 384, 512


def peak_memory_gb() -> float | None:
    """Largest resident memory of this process so far, where the system tells."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415  (POSIX only)

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def make_network(head: str) -> Dust3rNetwork:
    """The released network with weights of about the released magnitude."""
    with torch.device("meta"):
        network = Dust3rNetwork(NetworkConfig(head="dpt" if head == "dpt" else "linear"))
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            fan_in = parameter[0].numel()
            parameter.uniform_(-1, 1, generator=generator).mul_((3.0 / fan_in) ** 0.5)
        else:
            parameter.zero_()
    return network


def matrix_work(network: Dust3rNetwork, images: list[Tensor]) -> list[Callable[[], Tensor]]:
    """One call per linear layer, convolution and attention of a pass, ready to run alone."""
    calls: list[Callable[[], Tensor]] = []
    shared: dict[tuple[int, ...], Tensor] = {}

    def tensor(shape: tuple[int, ...]) -> Tensor:
        if shape not in shared:
            shared[shape] = torch.randn(shape)
        return shared[shape]

    def record(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        shape = tuple(inputs[0].shape)
        if isinstance(module, SelfAttention | CrossAttention):
            tokens, other = shape[1], inputs[1].shape[1] if isinstance(module, CrossAttention) else shape[1]
            width = shape[2] // module.heads
            query, key = tensor((shape[0], module.heads, tokens, width)), tensor((shape[0], module.heads, other, width))
            calls.append(partial(functional.scaled_dot_product_attention, query, key, key))
        else:
            calls.append(partial(module.forward, tensor(shape)))

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, SelfAttention, CrossAttention)
    handles = [module.register_forward_hook(record) for module in network.modules() if isinstance(module, kinds)]
    network(*images)
    for handle in handles:
        handle.remove()
    return calls


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, processor seconds) of one run."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", choices=("dpt", "linear"), default="dpt")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = make_network(arguments.head)
    images = [torch.rand(1, 3, HEIGHT, WIDTH) * 2 - 1 for _ in range(2)]
    with torch.inference_mode():
        calls = matrix_work(network, images)
        memory_gb = peak_memory_gb()
        passes, alone = [], []
        for _ in range(arguments.rounds):
            alone.append(timed(lambda: [call() for call in calls]))
            passes.append(timed(lambda: network(*images)))
    best_pass, best_alone = ([min(column) for column in zip(*runs, strict=True)] for runs in (passes, alone))
    result = {
        "head": arguments.head, "threads": arguments.threads, "rounds": arguments.rounds,
        "pair_s": best_pass[0], "pair_processor_s": best_pass[1],
        "matrix_work_s": best_alone[0], "matrix_work_processor_s": best_alone[1],
        "ratio_wall": best_pass[0] / best_alone[0], "ratio_processor": best_pass[1] / best_alone[1],
        "peak_memory_gb": memory_gb}
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
