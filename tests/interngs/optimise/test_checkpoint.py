# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints: whole or absent, two kept, damage survived."""

import errno
from pathlib import Path

import pytest
import torch

import interngs.optimise.checkpoint as module
from interngs.errors import InternGSError
from interngs.optimise.checkpoint import Checkpoint, CheckpointStore


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"a": torch.full((3,), float(step))}, {"gaussians": step})


def test_the_newest_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.latest() is None
    for step in (10, 20, 30):
        store.save(checkpoint(step))
    assert store.steps() == [20, 30]
    latest = store.latest()
    assert latest is not None
    assert latest.step == 30
    assert torch.equal(latest.tensors["a"], torch.full((3,), 30.0))
    assert latest.facts == {"gaussians": 30}


def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(checkpoint(1))
    damaged = store.save(checkpoint(2)) / "state.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    latest = store.latest()
    assert latest is not None
    assert latest.step == 1


def test_all_damaged_is_a_clear_error(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    (store.save(checkpoint(1)) / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(InternGSError, match="No checkpoint"):
        store.latest()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path)
    store.save(checkpoint(1))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(InternGSError, match="could not be written"):
        store.save(checkpoint(2))
    assert store.steps() == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000001"]


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(checkpoint(1))
    partial = tmp_path / "step-00000009.partial"
    partial.mkdir()
    (partial / "state.json").write_text("{}", encoding="utf-8")
    assert store.steps() == [1]
