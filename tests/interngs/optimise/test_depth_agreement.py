# SPDX-License-Identifier: GPL-3.0-or-later
"""What a predicted depth map is allowed to say, given stereo depth to check it against."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from interngs.optimise.depth_agreement import check_agreement

Y, X = np.mgrid[:60, :80]
STEREO = (0.2 + 0.1 * np.sin(X / 15) + 0.1 * np.cos(Y / 11)).astype(np.float32)
TRUST = np.ones_like(STEREO)
NOISE = np.random.default_rng(0).normal(size=STEREO.shape).astype(np.float32)


def check(predicted: NDArray, trust: NDArray = TRUST):
    return check_agreement(np.asarray(predicted, np.float32), STEREO, np.asarray(trust, np.float32))


def test_a_right_prediction_counts_whole_whatever_its_scale() -> None:
    agreement = check(40 * STEREO - 3)
    assert agreement.correlation == pytest.approx(1, abs=1e-4)
    assert agreement.strength == 1 and agreement.weight.min() > 0.99
    assert check(40 * STEREO + 0.5 * NOISE).weight.mean() > 0.9


@pytest.mark.parametrize("predicted", [-STEREO, NOISE, 1 / STEREO, np.zeros_like(STEREO)])
def test_a_wrong_prediction_has_no_say(predicted: NDArray) -> None:
    agreement = check(predicted)
    assert agreement.strength == 0 and not agreement.weight.any()


def test_the_part_that_is_wrong_is_silenced() -> None:
    predicted = STEREO.copy()
    predicted[:, 64:] = STEREO[:, 64:] + 0.15
    agreement = check(predicted)
    assert agreement.strength > 0
    assert agreement.weight[:, :50].mean() > 0.9
    assert agreement.weight[:, 70:].mean() < 0.5 * agreement.weight[:, :50].mean()


def test_where_nothing_can_be_checked_the_neighbours_speak() -> None:
    trust = TRUST.copy()
    trust[20:30, 20:30] = 0
    trust[:, 60:] = 0
    hole = STEREO.copy()
    hole[20:30, 20:30] = 100
    assert check_agreement(40 * STEREO, hole, trust.astype(np.float32)).weight[20:30, 20:30].min() > 0.9
    unsure = check(np.where(X < 45, STEREO, STEREO + 0.1), trust)
    assert unsure.weight[:, 10:20].mean() > unsure.weight[:, 62].mean()


def test_no_evidence_no_say() -> None:
    agreement = check(STEREO, np.zeros_like(STEREO))
    assert agreement.correlation is None and agreement.strength == 0 and not agreement.weight.any()
    assert check(STEREO, np.full_like(STEREO, 1e-3)).strength == 1


def test_a_half_right_prediction_has_half_a_say() -> None:
    strengths = [check(STEREO + amount * NOISE).strength for amount in (0.02, 0.04, 0.06, 0.3)]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] == 1 and 0.4 < strengths[2] < 0.6 and strengths[3] == 0


def test_a_weak_prediction_has_none() -> None:
    # Its errors are those of the parts that stereo cannot check, too.  Such networks made splats worse.
    agreement = check(STEREO + 0.09 * NOISE)
    assert agreement.correlation == pytest.approx(0.74, abs=0.005)
    assert agreement.strength == 0
