# SPDX-License-Identifier: GPL-3.0-or-later
"""One of the processes of ``interngs reconstruct --gpus N``; ``torchrun`` starts it (see ``launch_ranks``)."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace

from rich.console import Console

from ..calm_threads import calm_threads
from ..cli import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from ..errors import InputError, InternGSError
from ..optimise.ranks import RankLost, Ranks
from .reconstruct import parse_reconstruct, reconstruct_here

ENDED_SOON_S = 5.0


def main(arguments: list[str]) -> int:
    """Take part; the exit code is that of ``interngs``."""
    # Libraries that print a stack trace at SIGTERM have no say: it is how torchrun ends the others after a failure.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    options = parse_reconstruct(arguments)
    on_gpu = options.config.device != "cpu"
    threads = options.config.threads or int(os.environ.get("OMP_NUM_THREADS", "1"))
    options = replace(options, config=replace(options.config, device="cuda" if on_gpu else "cpu", threads=threads))
    ranks = Ranks.join(on_gpu)
    try:
        if not ranks.is_first:
            # All get a Ctrl-C; while the first one prepares, it alone stops.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ranks.wait()
        reconstruct_here(options, Console(stderr=True, quiet=not ranks.is_first), ranks)
        ranks.leave()
    except InternGSError as error:
        sys.stderr.write(f"interngs: {error.cause}\n{error.remedy}\n")
        return EXIT_BAD_INPUT if isinstance(error, InputError) else EXIT_FAILED
    except RankLost:
        time.sleep(ENDED_SOON_S)    # torchrun ends this one too; the code that it passes on is the other's
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_OK


if __name__ == "__main__":
    calm_threads()
    exit_code = main(sys.argv[1:])
    sys.stderr.flush()
    # A rank whose partners are gone would wait for them while it ends in good order.
    os._exit(exit_code)
