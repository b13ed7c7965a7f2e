# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``interngs``: finds the verb, turns errors into one message and an exit code."""

from __future__ import annotations

import importlib
import logging
import sys

from .calm_threads import calm_threads
from .errors import InputError, InternGSError

VERBS = {
    "reconstruct": (".commands.reconstruct", "run", "photographs to Gaussians"),
    "eval": (".commands.eval", "run", "reconstruct from some views, measure on the others"),
    "demo": (".commands.demo", "run", "reconstruct the example that ships with the project"),
    "render": (".commands.render", "run", "pictures of a splat from a capture's cameras"),
    "info": (".commands.info", "run", "what a capture or a splat file holds"),
    "clean": (".commands.clean", "run", "remove floaters, needles and faint Gaussians from a splat"),
    "convert": (".commands.convert", "run", "a splat file into another format"),
    "weights": (".priors.weights_command", "run", "model files: list, add, download, path, verify"),
    "submit": (".commands.server", "submit", "send a capture to a backend as a job"),
    "jobs": (".commands.server", "jobs", "the jobs on a backend"),
    "watch": (".commands.server", "watch", "follow a job and write its result"),
    "fetch": (".commands.server", "fetch", "the result of a job"),
    "pause": (".commands.server", "pause", "stop a job for now"),
    "resume": (".commands.server", "resume", "go on with a job"),
    "cancel": (".commands.server", "cancel", "end a job, keep what there is"),
    "discard": (".commands.server", "discard", "end a job and forget it"),
    "health": (".commands.server", "health", "devices, disk and queue of a backend"),
    "pair": (".commands.server", "pair", "introduce this computer to a backend"),
}

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 2 for bad input, 1 for other failures, 130 for Ctrl-C."""
    calm_threads()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(_usage())
        return EXIT_OK if arguments else EXIT_BAD_INPUT
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        sys.stderr.write(f"interngs: there is no command {verb!r}.\n{_usage()}")
        return EXIT_BAD_INPUT
    try:
        module, function, _ = VERBS[verb]
        getattr(importlib.import_module(module, __package__), function)(rest)
    except InputError as error:
        sys.stderr.write(f"interngs: {error.cause}\n{error.remedy}\n")
        return EXIT_BAD_INPUT
    except InternGSError as error:
        sys.stderr.write(f"interngs: {error.cause}\n{error.remedy}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("interngs: interrupted.\n")
        return EXIT_INTERRUPTED
    return EXIT_OK


def _usage() -> str:
    lines = [f"  {verb:<12} {text}" for verb, (_, _, text) in VERBS.items()]
    return "usage: interngs COMMAND [options]   (interngs COMMAND --help)\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
