# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview's quantisation within its documented bounds, and its prefixes as fair subsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interngs.scene.gaussians import Gaussians
from interngs.wire.errors import WireError
from interngs.wire.limits import PREVIEW_BLOCK
from interngs.wire.previews import (
    BYTES_PER_GAUSSIAN,
    HEADER_BYTES,
    LOG_SCALE_RANGE,
    preview_order,
    preview_parts,
    read_preview,
    read_preview_header,
)


def some(count: int, seed: int = 0, extent: float = 3.0, offset: float = 0.0) -> Gaussians:
    random = np.random.default_rng(seed)
    quats = random.normal(size=(count, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    return Gaussians((random.normal(size=(count, 3)) * extent + offset).astype(np.float32), quats.astype(np.float32),
                     random.uniform(-12, 2, (count, 3)).astype(np.float32),
                     random.uniform(-9, 9, count).astype(np.float32),
                     random.normal(size=(count, 4, 3)).astype(np.float32))


def packed(gaussians: Gaussians, step: int = 5) -> bytes:
    return b"".join(bytes(part) for part in preview_parts(gaussians, step))


@given(st.integers(1, 500), st.integers(0, 99), st.floats(1e-3, 1e4), st.floats(-1e3, 1e3))
@settings(max_examples=30)
def test_errors_stay_within_the_documented_bounds(count, seed, extent, offset):
    original = some(count, seed, extent, offset)
    back = read_preview(packed(original))
    original = original.select(preview_order(original))
    box = original.means.max(axis=0) - original.means.min(axis=0)
    rounding = 2e-7 * np.abs(original.means).max()
    assert (np.abs(back.means - original.means) <= box / 2**25 * 1.001 + rounding).all()
    scale_range = original.log_scales.max() - original.log_scales.min()
    assert np.abs(back.log_scales - original.log_scales).max() <= scale_range / 510 * 1.001 + 2e-6
    assert np.abs(back.opacities - original.opacities).max() <= 1.001 / 510
    assert np.abs(back.base_colours - original.base_colours.clip(0, 1)).max() <= 1.001 / 510
    turn = np.degrees(2 * np.arccos(np.abs((back.quats * original.quats).sum(axis=1)).clip(0, 1)))
    assert turn.max() <= 0.25
    assert np.isfinite(back.opacity_logits).all()


def test_a_preview_has_twenty_bytes_a_gaussian():
    data = packed(some(1000), step=77)
    header = read_preview_header(data)
    assert len(data) == HEADER_BYTES + 1000 * BYTES_PER_GAUSSIAN == header.size_bytes
    assert header.gaussians == 1000 and header.step == 77 and header.skipped == 0


def test_gaussians_that_are_not_finite_are_left_out_and_counted():
    original = some(10)
    original.means[1, 0] = np.nan
    original.opacity_logits[2] = np.inf
    original.sh[3, 0, 1] = -np.inf
    data = packed(original)
    assert read_preview_header(data).skipped == 3 and len(read_preview(data)) == 7
    assert len(read_preview(packed(original.select(np.array([1]))))) == 0


def test_scales_beyond_the_range_are_clipped():
    original = some(3)
    original.log_scales[:] = [[-100, 0, 50]] * 3
    back = read_preview(packed(original))
    np.testing.assert_allclose(back.log_scales[:, 0], LOG_SCALE_RANGE[0], atol=1e-5)
    np.testing.assert_allclose(back.log_scales[:, 2], LOG_SCALE_RANGE[1], atol=1e-5)


def test_one_gaussian_and_degenerate_boxes():
    original = some(4)
    original.means[:] = 2.5
    original.log_scales[:] = -3.0
    back = read_preview(packed(original))
    np.testing.assert_array_equal(back.means, np.float32(2.5))
    np.testing.assert_allclose(back.log_scales, -3.0)
    original.quats[:] = 0.0
    np.testing.assert_allclose(read_preview(packed(original)).quats, [[1, 0, 0, 0]] * 4, atol=2e-3)


def test_prefixes_of_whole_blocks_are_readable_and_the_same():
    original = some(PREVIEW_BLOCK * 2 + 100)
    data = packed(original)
    header = read_preview_header(data)
    assert header.prefix(None) == (len(original), len(data))
    assert header.prefix(10) == (PREVIEW_BLOCK, HEADER_BYTES + PREVIEW_BLOCK * BYTES_PER_GAUSSIAN)
    assert header.prefix(PREVIEW_BLOCK + 1)[0] == 2 * PREVIEW_BLOCK
    assert header.prefix(10**9) == (len(original), len(data))
    count, size = header.prefix(10)
    prefix, whole = read_preview(data[:size]), read_preview(data)
    np.testing.assert_array_equal(prefix.means, whole.means[:count])
    np.testing.assert_array_equal(prefix.quats, whole.quats[:count])


def test_large_and_opaque_gaussians_come_first_and_the_order_is_steady():
    random = np.random.default_rng(3)
    count = 20_000
    original = some(count)
    original.log_scales[:] = random.uniform(-6, -2, (count, 1))
    original.opacity_logits[:] = random.uniform(-4, 4, count)
    order = preview_order(original)
    assert sorted(order.tolist()) == list(range(count))
    weight = original.opacities * np.exp(2 * original.log_scales[:, 0])
    first, last = weight[order[:2000]].mean(), weight[order[-2000:]].mean()
    assert first > 20 * last
    # Successive steps of a training show nearly the same subset: no flicker.
    moved = Gaussians(original.means, original.quats, original.log_scales + np.float32(0.01), original.opacity_logits,
                      original.sh)
    assert len(set(order[:2000]) & set(preview_order(moved)[:2000])) > 1950


@pytest.mark.parametrize("cut", [0, 8, HEADER_BYTES - 1, HEADER_BYTES + 1, HEADER_BYTES + 19, HEADER_BYTES + 20])
def test_previews_cut_elsewhere_are_refused(cut):
    with pytest.raises(WireError):
        read_preview(packed(some(50))[:cut])


@pytest.mark.parametrize(("old", "new"), [
    (b"IGSPRE01", b"IGSPRE99"), (b"\xa9gaussians2", b"\xa9gaussians\x01"), (b"\xa9gaussians", b"\xa9gaussianz"),
    (b"\xa8mean_low", b"\xa8mean_xxx"),
])
def test_malformed_headers_are_refused(old, new):
    data = packed(some(50))
    assert old in data
    with pytest.raises(WireError):
        read_preview(data.replace(old, new, 1))


def test_headers_with_infinite_boxes_are_refused():
    data = bytearray(packed(some(50)))
    place = data.index(b"mean_low") + len(b"mean_low") + 2
    data[place:place + 8] = np.array([np.inf], ">f8").tobytes()
    with pytest.raises(WireError, match="finite"):
        read_preview(bytes(data))
