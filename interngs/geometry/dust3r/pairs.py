# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pairs of views the network is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from ...scene.cameras import Camera

Pair = tuple[int, int]

_GRAPH = re.compile(r"(complete|swin|logwin|oneref)(?:-(\d+))?(-noncyclic)?")
_DEFAULT_WINDOW = 3


def make_pairs(view_count: int, graph: str = "complete", both_ways: bool = True, prefilter: str = "") -> list[Pair]:
    """Pairs (first, second) of ``view_count`` views; never a view with itself, never a pair twice.

    Args:
        graph: ``"complete"``; ``"swin-W"`` (each view with the next W); ``"logwin-W"`` (with those at
            distances 1, 2, 4 .. 2^(W-1)); ``"oneref-R"`` (view R with every other).  ``-noncyclic`` after
            a window stops at the last view instead of going on with the first.
        both_ways: add (second, first) for every (first, second), after all of these.
        prefilter: ``"seqD"`` keeps pairs at most D apart, ``"cycD"`` likewise around the circle of views.

    Raises:
        ValueError: a graph or prefilter of another form.
    """
    # A dictionary drops repeats and keeps the order.
    unique = {(i, j): None for i, j in _graph_pairs(view_count, graph) if i != j}
    pairs = [pair for pair in unique if _passes(pair, view_count, prefilter)]
    if both_ways:
        pairs += [(j, i) for i, j in pairs if (j, i) not in unique]
    return pairs


def pairs_of_neighbours(cameras: Sequence[Camera], neighbours: int) -> list[Pair]:
    """Both orders of every view with its ``neighbours`` nearest views.

    Near is measured by distance, in units of the cameras' own spread, plus the angle between viewing
    directions in radians, since the network matches views that look the same way.
    """
    centres = np.stack([camera.centre for camera in cameras])
    forward = np.stack([camera.forward for camera in cameras])
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    spread = float(np.median(distance[distance > 0])) if (distance > 0).any() else 1.0
    cost = distance / spread + np.arccos(np.clip(forward @ forward.T, -1.0, 1.0))
    np.fill_diagonal(cost, np.inf)
    nearest = np.argsort(cost, axis=1)[:, :neighbours]
    linked = {(min(i, int(j)), max(i, int(j))) for i, row in enumerate(nearest) for j in row if i != j}
    return [pair for i, j in sorted(linked) for pair in ((i, j), (j, i))]


def _graph_pairs(view_count: int, graph: str) -> Iterator[Pair]:
    match = _GRAPH.fullmatch(graph)
    if not match:
        raise ValueError(f"no such pair graph: {graph!r}")
    kind, number, noncyclic = match.groups()
    if kind == "complete":
        yield from ((i, j) for i in range(view_count) for j in range(i))
        return
    if kind == "oneref":
        reference = int(number or 0)
        yield from ((reference, j) for j in range(view_count))
        return
    window = int(number or _DEFAULT_WINDOW)
    steps = [2**k for k in range(window)] if kind == "logwin" else list(range(1, window + 1))
    for i in range(view_count):
        for j in (i + step for step in steps):
            if j < view_count or not noncyclic:
                yield min(i, j % view_count), max(i, j % view_count)


def _passes(pair: Pair, view_count: int, prefilter: str) -> bool:
    if not prefilter:
        return True
    match = re.fullmatch(r"(seq|cyc)(\d+)", prefilter)
    if not match:
        raise ValueError(f"no such pair filter: {prefilter!r}")
    apart = abs(pair[0] - pair[1])
    if match[1] == "cyc":
        apart = min(apart, view_count - apart)
    return apart <= int(match[2])
