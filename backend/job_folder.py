# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of one job: its newest Gaussians, its result, its previews; written whole, read by both processes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from interngs.storage import atomic_write
from interngs.wire.codec import Buffer
from interngs.wire.limits import PREVIEWS_KEPT
from interngs.wire.records import BlobRef

from .blobs import hash_file
from .channel import Finished


class JobFolder:
    """Names and writers of a job's files.

    ``work/``: the pipeline's own (checkpoints).  ``previews/<number>``.  ``latest`` and ``latest.json``: the newest
    Gaussians that were saved.  ``result`` and ``report``: on their way to the blobs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def work(self) -> Path:
        """The pipeline's folder."""
        return self.folder / "work"

    def preview(self, number: int) -> Path:
        """The file of a preview."""
        return self.folder / "previews" / str(int(number))

    def newest_preview(self) -> int:
        """The highest number of a preview on disk; 0 for none."""
        return max((int(path.name) for path in (self.folder / "previews").glob("[0-9]*") if path.name.isdecimal()),
                   default=0)

    def write_preview(self, number: int, parts: Iterable[Buffer]) -> None:
        """Write a preview and remove old ones.  Not flushed: after a power cut the next one takes its place."""
        path = self.preview(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(4)}.partial")
        try:
            with temporary.open("xb") as opened:
                opened.writelines(parts)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        for old in path.parent.iterdir():
            if not old.name.isdecimal() or int(old.name) <= number - PREVIEWS_KEPT:
                _unlink_if_free(old)

    def write_latest(self, parts: Iterable[Buffer], facts: dict[str, int]) -> None:
        """Save Gaussians (with ``step``, ``gaussians`` and ``sh_degree``) for the case that the run is lost."""
        # The facts first: they are only believed when the Gaussians lie beside them.
        self._latest_facts.unlink(missing_ok=True)
        atomic_write(self.folder / "latest", _writer(parts))
        atomic_write(self._latest_facts, json.dumps(facts).encode())

    @property
    def _latest_facts(self) -> Path:
        return self.folder / "latest.json"

    def adopt_latest(self) -> Finished:
        """The newest Gaussians that a run saved become its partial result."""
        latest = self.folder / "latest"
        try:
            facts = json.loads(self._latest_facts.read_text("utf-8"))
            splat = hash_file(latest)
            latest.replace(self.folder / "result")
        except FileNotFoundError:
            return Finished(False, None, None, 0, 0, 0, self.size_bytes())
        self._latest_facts.unlink(missing_ok=True)
        return Finished(False, splat, None, int(facts["gaussians"]), int(facts["sh_degree"]), int(facts["step"]),
                        self.size_bytes())

    def remove_work(self) -> None:
        """Remove what only a resumed run would need."""
        for name in ("work", "inputs"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("latest", "latest.json"):
            (self.folder / name).unlink(missing_ok=True)

    def write_hashed(self, name: str, parts: Iterable[Buffer]) -> BlobRef:
        """Write ``result`` or ``report``, flushed; gives its hash and size."""
        digest, size = hashlib.sha256(), 0

        def hashed() -> Iterable[Buffer]:
            nonlocal size
            for part in parts:
                digest.update(part)
                size += len(part)
                yield part

        atomic_write(self.folder / name, _writer(hashed()))
        return BlobRef(digest.hexdigest(), size)

    def size_bytes(self) -> int:
        """Bytes of all its files; files that vanish meanwhile count as nothing."""
        total = 0
        for parent, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += (Path(parent) / name).stat().st_size
                except FileNotFoundError:
                    continue
        return total


def _writer(parts: Iterable[Buffer]) -> Any:
    return lambda opened: opened.writelines(parts)


def _unlink_if_free(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return      # Windows, while a client downloads it: the next preview tries again
