# SPDX-License-Identifier: GPL-3.0-or-later
"""Pair graphs against the official lists, without their self-pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from interngs.geometry.dust3r.pairs import make_pairs, pairs_of_neighbours
from interngs.scene.cameras import Camera


def test_pairs_equal_the_official_lists(golden: Path) -> None:
    for key, listed in json.loads((golden / "make_pairs.json").read_text()).items():
        count, graph, symmetrize, *prefilter = key.split()
        pairs = make_pairs(int(count[2:]), graph, symmetrize == "symmetrize=True",
                           prefilter[0].partition("=")[2] if prefilter else "")
        expected = list(dict.fromkeys((i, j) for i, j in listed if i != j))
        if "win" in graph:  # the official order comes out of a set
            assert set(pairs) == set(expected), key
        else:
            assert pairs == expected, key
        assert len(set(pairs)) == len(pairs) and all(i != j for i, j in pairs), key


@pytest.mark.parametrize(("graph", "prefilter"), [("ring", ""), ("swin-", ""), ("complete", "near2")])
def test_unknown_graphs_are_refused(graph: str, prefilter: str) -> None:
    with pytest.raises(ValueError):
        make_pairs(4, graph, prefilter=prefilter)


def test_neighbours_on_a_ring() -> None:
    cameras = []
    for angle in np.arange(8) * np.pi / 4:
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = [0, 0, 2]
        cameras.append(Camera(np.eye(3), pose, 10, 10))
    pairs = pairs_of_neighbours(cameras, 2)
    assert set(pairs) == {(i, (i + step) % 8) for i in range(8) for step in (1, 7)}
    assert len(pairs_of_neighbours(cameras, 20)) == 8 * 7
