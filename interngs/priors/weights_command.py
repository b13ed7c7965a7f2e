# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs weights``: list, add, download, path and verify model files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.prompt import Confirm
from rich.table import Table

from .catalogue import Model
from .locations import locations, own_folder
from .own_models import describe
from .weights import add, add_own, download, list_models, model_path, verify

ModelName = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
"""A model's name, as 'interngs weights list' shows it."""


@dataclass(frozen=True)
class ListModels:
    """Every known model: size, licence, commercial use, and where it is."""

    def run(self, console: Console) -> None:
        """Print the table."""
        table = Table()
        for heading in ("name", "for", "size", "licence", "commercial use", "here"):
            table.add_column(heading, no_wrap=heading == "name", overflow="fold")
        for state in list_models():
            model = state.model
            table.add_row(
                model.name, model.purpose, f"{model.size_bytes / 1e9:.2f} GB", model.licence,
                "yes" if model.commercial_use else "no", str(state.found.path) if state.found else "no")
        console.print(table)
        console.print("Looked for, in this order:")
        for place in locations():
            console.print(f"  {place.folder}  ({place.words})", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Add:
    """Check a model file or folder that you have, and copy it to where it is looked for."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE_OR_FOLDER")]
    """The released .pth file, or the folder with config.json and model.safetensors."""
    name: str | None = None
    """Which model it is; by default told from the file. With --purpose: what you want to call it."""
    purpose: Literal["depth", "appearance"] | None = None
    """For a model of your own: depth (any depth-estimation model of transformers) or appearance (a Stable Diffusion
    pipeline of diffusers)."""
    licence: str = "not stated"
    """Licence of a model of your own; it is written into the reports of results that the model touched."""
    commercial_use: bool = False
    """Whether that licence allows commercial use."""

    def run(self, console: Console) -> None:
        """Add and say where."""
        if self.purpose is None:
            found = add(self.path, self.name)
        else:
            own = describe(self.path, self.name or self.path.name, self.purpose, self.licence, self.commercial_use)
            found = add_own(self.path, own)
        console.print(f"Added: {found.path}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Download:
    """Fetch a model from the Hugging Face hub; goes on where an earlier try stopped."""

    name: ModelName
    accept_licence: bool = False
    """Accept the licence without being asked, for scripts."""

    def run(self, console: Console) -> None:
        """Ask for the licence once, download, say where."""
        found = download(self.name, lambda model: self._accepts(model, console))
        console.print(f"Ready: {found.path}", highlight=False, soft_wrap=True)

    def _accepts(self, model: Model, console: Console) -> bool:
        console.print(f"{model.title}, {model.size_bytes / 1e9:.2f} GB, to {own_folder()}", highlight=False,
                      soft_wrap=True)
        console.print(f"Licence: {model.terms}. {model.licence_url}", highlight=False, soft_wrap=True)
        if self.accept_licence:
            return True
        # Without a terminal nobody can answer, and silence is no yes.
        return sys.stdin.isatty() and Confirm.ask("Do you accept this licence?", console=console, default=False)


@dataclass(frozen=True)
class ShowPath:
    """Where a model lies on this machine."""

    name: ModelName

    def run(self, console: Console) -> None:
        """Print the path alone, for scripts."""
        console.print(str(model_path(self.name)), highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Verify:
    """Check that a model is whole and unchanged."""

    name: ModelName

    def run(self, console: Console) -> None:
        """Verify and say so."""
        found = verify(self.name)
        console.print(f"Whole and unchanged: {found.path}", highlight=False, soft_wrap=True)


def run(arguments: list[str]) -> None:
    """Parse ``arguments`` and do what they ask.

    Raises:
        InputError, InternGSError: see ``interngs.priors.weights``.
    """
    command = tyro.extras.subcommand_cli_from_dict(
        {"list": ListModels, "add": Add, "download": Download, "path": ShowPath, "verify": Verify},
        prog="interngs weights", description="Files of pretrained models. Nothing is fetched unless you ask for it.",
        args=arguments)
    command.run(Console())
