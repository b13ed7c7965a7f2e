# SPDX-License-Identifier: GPL-3.0-or-later
"""One of the processes of ``interngs reconstruct --gpus N``; ``torchrun`` starts it (see ``launch_ranks``)."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from rich.console import Console

from ..calm_threads import calm_threads
from ..errors import InternGSError
from ..optimise.ranks import Ranks
from .reconstruct import parse_reconstruct, reconstruct_here


def main(arguments: list[str]) -> int:
    """Take part; the exit code is that of ``interngs``."""
    options = parse_reconstruct(arguments)
    on_gpu = options.config.device != "cpu"
    threads = options.config.threads or int(os.environ.get("OMP_NUM_THREADS", "1"))
    options = replace(options, config=replace(options.config, device="cuda" if on_gpu else "cpu", threads=threads))
    ranks = Ranks.join(on_gpu)
    try:
        if not ranks.is_first:
            ranks.wait()
        reconstruct_here(options, Console(stderr=True, quiet=not ranks.is_first), ranks)
        ranks.leave()
    except InternGSError as error:
        sys.stderr.write(f"interngs: {error.cause}\n{error.remedy}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    calm_threads()
    exit_code = main(sys.argv[1:])
    sys.stderr.flush()
    # A rank whose partners are gone would wait for them while it ends in good order.
    os._exit(exit_code)
