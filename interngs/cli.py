# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``interngs``: finds the verb, turns errors into one message and an exit code."""

from __future__ import annotations

import importlib
import logging
import sys

from .errors import InputError, InternGSError

VERBS = {
    "reconstruct": (".commands.reconstruct", "photographs to Gaussians"),
    "eval": (".commands.eval", "reconstruct from some views, measure on the others"),
    "demo": (".commands.demo", "reconstruct the example that ships with the project"),
    "render": (".commands.render", "pictures of a splat from a capture's cameras"),
    "info": (".commands.info", "what a capture or a splat file holds"),
    "clean": (".commands.clean", "remove floaters, needles and faint Gaussians from a splat"),
    "weights": (".priors.weights_command", "model files: list, add, download, path, verify"),
}

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 2 for bad input, 1 for other failures, 130 for Ctrl-C."""
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
        module = importlib.import_module(VERBS[verb][0], __package__)
        module.run(rest)
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
    lines = [f"  {verb:<12} {text}" for verb, (_, text) in VERBS.items()]
    return "usage: interngs COMMAND [options]   (interngs COMMAND --help)\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
