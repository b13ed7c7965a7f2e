# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints on disk: safetensors and JSON, whole or not there at all, the last two kept."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import InternGSError

FORMAT_VERSION = 1
KEPT = 2
_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after ``step`` steps."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one job, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint; an older one with the same step is replaced.

        Raises:
            InternGSError: the disk is full or not writable; earlier checkpoints stay intact.
        """
        final = self.folder / f"step-{checkpoint.step:08d}"
        partial = self.folder / f"{final.name}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
            save_file(contiguous, partial / "state.safetensors")
            facts = {"format_version": FORMAT_VERSION, "step": checkpoint.step, "facts": checkpoint.facts}
            (partial / "state.json").write_text(json.dumps(facts), encoding="utf-8")
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise InternGSError("checkpoint-not-written",
                                f"A checkpoint could not be written to {self.folder}: {error}.",
                                "Free some disk space; the run can be resumed from the checkpoint before.") from error
        for old in self.steps()[:-KEPT]:
            shutil.rmtree(self.folder / f"step-{old:08d}", ignore_errors=True)
        return final

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir() if entry.is_dir())
        return sorted(int(match.group(1)) for match in matches if match)

    def clear(self) -> None:
        """Forget all checkpoints, for a run that starts anew in the same folder."""
        for step in self.steps():
            shutil.rmtree(self.folder / f"step-{step:08d}", ignore_errors=True)

    def latest(self) -> Checkpoint | None:
        """The newest readable checkpoint, or ``None`` when there is none.

        Raises:
            InternGSError: checkpoints are there but none can be read.
        """
        steps = self.steps()
        errors: list[str] = []
        for step in reversed(steps):
            folder = self.folder / f"step-{step:08d}"
            try:
                record = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                if record["format_version"] != FORMAT_VERSION:
                    raise ValueError(f"format version {record['format_version']}, expected {FORMAT_VERSION}")
                return Checkpoint(record["step"], load_file(folder / "state.safetensors"), record["facts"])
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                errors.append(f"{folder.name}: {error}")
        if errors:
            raise InternGSError("checkpoint-unreadable",
                                f"No checkpoint in {self.folder} can be read ({'; '.join(errors)}).",
                                "Start the reconstruction anew without --resume.")
        return None
