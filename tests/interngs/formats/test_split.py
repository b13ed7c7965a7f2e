# SPDX-License-Identifier: GPL-3.0-or-later
"""Training and held-out views: the protocol's rule, split.json, separate test files, broken splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interngs.errors import InputError
from interngs.formats.split import find_split, protocol_split
from interngs.formats.transforms_json import write_transforms_json


def test_protocol_as_published() -> None:
    split = protocol_split(20, 3)
    assert (split.train, split.held_out) == ((1, 10, 19), (0, 8, 16))
    assert protocol_split(20, 6).train == (1, 4, 7, 12, 15, 19)
    assert protocol_split(20, 9).train == (1, 3, 5, 7, 10, 12, 14, 17, 19)
    assert protocol_split(20, 17).train == tuple(i for i in range(20) if i % 8)
    for wanted in (0, -1, 18):
        with pytest.raises(InputError, match="17 can be had"):
            protocol_split(20, wanted)


@pytest.fixture
def scene(tmp_path, write_photos, ring_of_cameras) -> Path:
    names = write_photos(tmp_path, [f"images/{i:02d}.png" for i in range(10)])
    write_transforms_json(tmp_path / "transforms.json", dict(zip(names, ring_of_cameras(10), strict=True)))
    return tmp_path


def _write_split(folder: Path, **content: object) -> None:
    (folder / "split.json").write_text(json.dumps(content))


def test_split_file_decides_for_what_it_lists(scene) -> None:
    _write_split(scene, cameras="transforms.json", rule="mine", splits={"2": {"train": [9, 3], "test": [4]}})
    split = find_split(scene, 2)
    assert (split.train, split.held_out, split.rule) == ((9, 3), (4,), "split.json: mine")
    assert find_split(scene / "transforms.json", 2).train == (9, 3)
    assert find_split(scene, 3) == protocol_split(10, 3)
    assert "LLFF" in find_split(scene, 3).rule
    (scene / "transforms.json").rename(scene / "other.json")
    _write_split(scene, cameras="elsewhere.json", splits={"2": {"train": [9, 3], "test": [4]}})
    with pytest.raises(InputError, match=r"elsewhere\.json"):
        find_split(scene, 2)


def test_without_split_file(scene) -> None:
    assert find_split(str(scene), 4) == protocol_split(10, 4)


@pytest.mark.parametrize("entry", [
    {"train": [0, 99], "test": [1]}, {"train": [0, 1], "test": [1]}, {"train": [0, 0], "test": [1]},
    {"train": [0, -1], "test": [1]}, {"train": [0, "1"], "test": [2]}, {"train": [0, 1]}, [],
    {"train": [0, True], "test": []},
])
def test_broken_split_files(scene, entry) -> None:
    _write_split(scene, cameras="transforms.json", splits={"2": entry})
    with pytest.raises(InputError) as caught:
        find_split(scene, 2)
    assert caught.value.code == "split-broken"


def test_separate_test_file(tmp_path, write_photos, ring_of_cameras) -> None:
    cameras = ring_of_cameras(14)
    names = write_photos(tmp_path, [*(f"train/{i}.png" for i in range(9)), *(f"test/{i}.png" for i in range(5))])
    write_transforms_json(tmp_path / "transforms_train.json", dict(zip(names[:9], cameras[:9], strict=True)))
    write_transforms_json(tmp_path / "transforms_test.json", dict(zip(names[9:], cameras[9:], strict=True)))
    split = find_split(tmp_path, 3)
    assert (split.train, split.held_out) == ((0, 4, 8), (9, 10, 11, 12, 13))
    _write_split(tmp_path, cameras={"train": "transforms_train.json", "test": "transforms_test.json"},
                 splits={"2": {"train": [7, 1], "test": [0, 4]}, "1": {"train": [9], "test": [0]}})
    split = find_split(tmp_path, 2)
    assert (split.train, split.held_out) == ((7, 1), (9, 13))
    with pytest.raises(InputError):
        find_split(tmp_path, 1)
