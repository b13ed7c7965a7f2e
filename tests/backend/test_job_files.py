# SPDX-License-Identifier: GPL-3.0-or-later
"""Job files on a shared folder and behind an fsspec URL: whole states, checked bytes, one owner."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path

import pytest

pytest.importorskip("fsspec", reason="only on Linux: fsspec is not installed")

from backend.executor.job_files import JobFiles, remove_others
from interngs.errors import InternGSError

JOB, OTHER = "0a" * 16, "0b" * 16


@pytest.fixture(params=["folder", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "shared") if request.param == "folder" else f"memory://{secrets.token_hex(4)}"


def write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_bytes_come_back_and_are_checked(root, tmp_path):
    files = JobFiles(root, JOB)
    sha256 = write(tmp_path / "photo", b"photo")
    files.put("inputs", tmp_path / "photo", sha256)
    files.get("inputs", sha256, tmp_path / "there" / "photo")
    assert (tmp_path / "there" / "photo").read_bytes() == b"photo"
    files._fs.pipe_file(f"{files._folder}/inputs/{sha256}", b"other")
    with pytest.raises(InternGSError) as damaged:
        files.get("inputs", sha256, tmp_path / "there" / "again")
    assert damaged.value.code == "files-damaged"
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["photo"]


def test_a_state_is_the_newest_and_leaves_nothing_older(root, tmp_path):
    files, folder = JobFiles(root, JOB), tmp_path / "job"
    assert not files.has_state() and not files.load_state(tmp_path / "empty")
    write(folder / "work" / "geometry.npz", b"geometry")
    write(folder / "work" / "checkpoints" / "step-1" / "state", b"one")
    write(folder / "previews" / "1", b"not part of it")
    files.save_state(folder)
    (folder / "work" / "checkpoints" / "step-1" / "state").unlink()
    write(folder / "work" / "checkpoints" / "step-2" / "state", b"two")
    write(folder / "latest", b"latest")
    JobFiles(root, JOB).save_state(folder)
    loaded = tmp_path / "loaded"
    assert JobFiles(root, JOB).load_state(loaded)
    found = {path.relative_to(loaded).as_posix(): path.read_bytes() for path in loaded.rglob("*") if path.is_file()}
    assert found == {"work/geometry.npz": b"geometry", "work/checkpoints/step-2/state": b"two", "latest": b"latest"}
    parts = [str(path) for path in files._fs.find(f"{files._folder}/parts")]
    assert len(parts) == 3
    assert JobFiles(root, JOB).load_state(tmp_path / "some", ("latest",))
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["latest"]


def test_a_list_that_leads_outside_is_not_followed(root, tmp_path):
    files = JobFiles(root, JOB)
    sha256 = write(tmp_path / "x", b"x")
    files.put("parts", tmp_path / "x", sha256)
    files._write_text("state.json", json.dumps({"../escaped": sha256, "work/../../escaped": sha256}))
    files.load_state(tmp_path / "in" / "folder")
    assert not list(tmp_path.rglob("escaped"))


def test_the_last_to_claim_owns(root):
    one, two = JobFiles(root, JOB), JobFiles(root, JOB)
    one.claim("first")
    assert one.is_owned_by("first")
    two.claim("second")
    assert not one.is_owned_by("first") and two.is_owned_by("second")


def test_what_is_not_needed_goes(root, tmp_path):
    for job_id in (JOB, OTHER):
        files = JobFiles(root, job_id)
        files.put("inputs", tmp_path / "x", write(tmp_path / "x", b"x"))
    assert remove_others(root, [JOB]) == [OTHER]
    assert JobFiles(root, JOB)._fs.exists(JobFiles(root, JOB)._folder)
    JobFiles(root, JOB).remove()
    JobFiles(root, JOB).remove()
    assert remove_others(root, []) == []


def test_an_unknown_kind_of_url_is_a_clear_error():
    with pytest.raises(InternGSError) as refused:
        JobFiles("nonsense://bucket", JOB)
    assert refused.value.code == "files-unreachable" and "nonsense" in refused.value.cause
