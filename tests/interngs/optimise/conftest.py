# SPDX-License-Identifier: GPL-3.0-or-later
"""One thread for these tiny scenes: handing work between threads would take longer than the work."""

from collections.abc import Iterator

import pytest
import torch

from interngs.render.cpu.library import set_threads, threads


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    kernel_threads, torch_threads = threads(), torch.get_num_threads()
    set_threads(1)
    torch.set_num_threads(1)
    yield
    set_threads(kernel_threads)
    torch.set_num_threads(torch_threads)
