# SPDX-License-Identifier: GPL-3.0-or-later
"""Command-line options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from ..config import PRESETS, PipelineConfig, preset_config
from ..errors import InputError

T = TypeVar("T")

CapturePath = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CAPTURE")]
"""A capture: a folder or a pose file."""
SplatPath = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SPLAT")]
"""A splat file."""
OutputFolder = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
OutputFile = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
Settings = tyro.conf.OmitArgPrefixes[PipelineConfig]
"""Every setting of a run as a flag; the defaults shown are the preset's."""


def parse(defaults: T, arguments: list[str], verb: str) -> T:
    """Parse ``arguments`` over ``defaults`` (a dataclass; ``tyro.MISSING`` marks what must be given)."""
    return tyro.cli(type(defaults), args=arguments, default=defaults, prog=f"interngs {verb}",
                    description=type(defaults).__doc__)


def preset_in(arguments: list[str]) -> PipelineConfig:
    """The settings of the preset that ``arguments`` name (``draft`` when none)."""
    name = "draft"
    for index, argument in enumerate(arguments):
        if argument == "--preset" and index + 1 < len(arguments):
            name = arguments[index + 1]
        elif argument.startswith("--preset="):
            name = argument.partition("=")[2]
    if name not in PRESETS:
        raise InputError("unknown-preset", f"There is no preset {name!r}.", f"Use {', '.join(PRESETS)}.")
    return preset_config(name)
