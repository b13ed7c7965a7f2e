# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running reconstruction says: one frozen record per kind of event.  numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .scene.gaussians import Gaussians


@dataclass(frozen=True)
class Stage:
    """A stage began: ``"load" | "geometry" | "seeding" | "optimise" | "clean" | "evaluate"``."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Progress:
    """Steps done within a stage.

    ``fraction`` is of the stage; ``seconds_left`` of the whole job, ``None`` while unknown.
    ``psnr_db`` is a running mean over training views.
    """

    stage: str
    step: int
    total_steps: int
    loss: float | None = None
    psnr_db: float | None = None
    gaussians: int | None = None
    seconds_left: float | None = None

    @property
    def fraction(self) -> float:
        """Share of the stage that is done, 0..1."""
        return self.step / max(self.total_steps, 1)


@dataclass(frozen=True)
class Log:
    """A line for people; ``level`` is ``"info"`` or ``"warning"``."""

    message: str
    level: str = "info"


@dataclass(frozen=True, eq=False)
class Preview:
    """The current Gaussians, to be looked at."""

    step: int
    gaussians: Gaussians


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint that a later run can resume from is complete on disk."""

    path: Path
    step: int


@dataclass(frozen=True, eq=False)
class Done:
    """The end of a run: the cleaned Gaussians and the report (JSON-ready)."""

    gaussians: Gaussians
    report: dict[str, Any] = field(default_factory=dict)


Event = Stage | Progress | Log | Preview | CheckpointSaved | Done
