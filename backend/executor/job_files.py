# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job where all machines of a cluster reach them: a shared folder or any fsspec URL.

Under ``<root>/<job id>``: ``inputs``, ``results`` and ``parts`` hold bytes by their SHA-256; ``state.json`` names the
parts of the newest checkpoint by their paths in the job's folder, and is replaced whole, so a reader sees one or the
one before, never a mixture.  ``owner`` names the one task that may write.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import fsspec

from interngs.errors import InternGSError
from interngs.wire.records import check_id, check_sha256

from ..blobs import hash_file

STATE = ("work", "latest", "latest.json")
"""What of a job's folder a resumed run needs."""
Shelf = Literal["inputs", "parts", "results"]


class JobFiles:
    """One job's files under a root."""

    def __init__(self, root: str, job_id: str) -> None:
        """``root``: folder or fsspec URL.

        Raises:
            InternGSError: ``files-unreachable``: no such kind of URL, or its package is missing.
        """
        self._fs, path = _open(root)
        self._folder = f"{str(path).rstrip('/')}/{check_id(job_id)}"
        self._is_local = "file" in ((self._fs.protocol,) if isinstance(self._fs.protocol, str) else self._fs.protocol)
        self._hashes: dict[tuple[str, int, int], str] = {}

    # ---- bytes -------------------------------------------------------------------------------------------------------

    def put(self, shelf: Shelf, source: Path, sha256: str) -> None:
        """Bring a file of known hash here, unless it is."""
        target = f"{self._folder}/{shelf}/{check_sha256(sha256)}"
        if not self._fs.exists(target):
            self._write(target, source)

    def get(self, shelf: Shelf, sha256: str, target: Path) -> None:
        """Bring bytes from here to a path; checked against their hash.

        Raises:
            InternGSError: ``files-damaged``.
            OSError: it is not there.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        try:
            self._fs.get_file(f"{self._folder}/{shelf}/{check_sha256(sha256)}", str(partial))
            if hash_file(partial).sha256 != sha256:
                raise InternGSError("files-damaged", "A file of the job was damaged where the cluster keeps its files.",
                                    "Check the disk of ray.files, and resume the job.")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    # ---- the state of a run ------------------------------------------------------------------------------------------

    def claim(self, token: str) -> None:
        """From now on only the holder of ``token`` may write the state."""
        self._write_text("owner", token)

    def is_owned_by(self, token: str) -> bool:
        """Whether nobody claimed these files since."""
        return self._read_text("owner") == token

    def has_state(self) -> bool:
        """Whether there is a state to resume from."""
        return self._read_text("state.json") is not None

    def save_state(self, folder: Path) -> None:
        """Keep the state in a job's folder: new parts first, then the list, then unneeded parts go."""
        listed = {}
        for name in STATE:
            place = folder / name
            paths = sorted(place.rglob("*")) if place.is_dir() else [place] if place.is_file() else []
            for path in paths:
                if path.is_file() and not path.name.endswith(".partial"):
                    sha256 = self._hash(path)
                    self.put("parts", path, sha256)
                    listed[path.relative_to(folder).as_posix()] = sha256
        before = self._listed()
        self._write_text("state.json", json.dumps(listed))
        for sha256 in set(before.values()) - set(listed.values()):
            self._remove(f"{self._folder}/parts/{sha256}")

    def load_state(self, folder: Path, only: tuple[str, ...] = STATE) -> bool:
        """Bring the kept state (or some of it) into a job's folder; False when there is none."""
        listed = self._listed()
        for name, sha256 in listed.items():
            path = PurePosixPath(name)
            # The list is ours; still nothing of it may lead out of the folder.
            if path.parts[0] in only and ".." not in path.parts and not path.is_absolute():
                self.get("parts", sha256, folder / path)
        return bool(listed)

    def remove(self) -> None:
        """Remove everything of the job."""
        if self._fs.exists(self._folder):
            self._fs.rm(self._folder, recursive=True)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _hash(self, path: Path) -> str:
        facts = path.stat()
        key = (str(path), facts.st_size, facts.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = hash_file(path).sha256
        return self._hashes[key]

    def _listed(self) -> dict[str, str]:
        text = self._read_text("state.json")
        found: dict[str, str] = json.loads(text) if text else {}
        return found

    def _write(self, target: str, source: Path) -> None:
        """Whole or not at all: object stores do so by themselves, folders by a rename."""
        if not self._is_local:
            self._fs.put_file(str(source), target)
            return
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = f"{target}.{secrets.token_hex(4)}.partial"
        self._fs.put_file(str(source), partial)
        Path(partial).replace(path)

    def _write_text(self, name: str, text: str) -> None:
        target = f"{self._folder}/{name}"
        if not self._is_local:
            self._fs.pipe_file(target, text.encode())
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        partial = Path(f"{target}.{secrets.token_hex(4)}.partial")
        partial.write_text(text, "utf-8")
        partial.replace(target)

    def _read_text(self, name: str) -> str | None:
        try:
            data: Any = self._fs.cat_file(f"{self._folder}/{name}")
        except FileNotFoundError:
            return None
        return bytes(data).decode()

    def _remove(self, path: str) -> None:
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return


def remove_others(root: str, keep: Iterable[str]) -> list[str]:
    """Remove the files of all jobs under a root but those to keep; gives their ids."""
    fs, path = _open(root)
    if not fs.exists(path):
        return []
    found = {str(entry).rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False)}
    others = sorted(found - set(keep))
    for job_id in others:
        fs.rm(f"{str(path).rstrip('/')}/{job_id}", recursive=True)
    return others


def _open(root: str) -> tuple[Any, str]:
    try:
        fs, path = fsspec.core.url_to_fs(root)
    except (ImportError, ValueError) as error:
        raise InternGSError("files-unreachable", f"Job files at {root} cannot be reached: {error}.",
                            "Correct ray.files, or install the package of that kind of URL.") from error
    return fs, str(path)
