# SPDX-License-Identifier: GPL-3.0-or-later
"""What the preview packs and how it sorts, by closed forms."""

import threading
import time

import numpy as np
import pytest


@pytest.fixture(scope="module")
def packing(addon_module):
    return addon_module("blender_addon.draw.packing")


@pytest.fixture(scope="module")
def sort(addon_module):
    return addon_module("blender_addon.draw.sort")


def test_covariance_is_rotation_times_squared_scales(packing):
    random = np.random.default_rng(0)
    quats = random.normal(size=(50, 4)).astype(np.float32)
    scale = random.uniform(0.1, 2.0, (50, 3)).astype(np.float32)
    packed = packing.covariances(scale, quats)
    for quat, size, six in zip(quats / np.linalg.norm(quats, axis=1, keepdims=True), scale, packed, strict=True):
        w, x, y, z = quat
        # columns: the images of the axes under q v q*
        rotation = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                             [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                             [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])
        whole = rotation @ np.diag(size ** 2) @ rotation.T
        assert np.allclose(six, whole[np.triu_indices(3)], rtol=1e-4, atol=1e-5)


def test_a_quarter_turn_swaps_the_axes(packing):
    half = np.sqrt(0.5)
    six = packing.covariances(np.float32([[1, 2, 3]]), np.float32([[half, 0, 0, half]]))[0]
    assert np.allclose(six, [4, 0, 0, 1, 0, 9], atol=1e-5)


def test_floats_sort_exactly(sort):
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(size=4000) * 10.0 ** random.integers(-20, 20, 4000), [0.0, -0.0, 1.0, 1.0]])
    values = values.astype(np.float32)
    order = sort.ascending(values)
    assert sorted(order) == list(range(len(values)))
    assert (np.diff(values[order]) >= 0).all()
    assert np.array_equal(sort.ascending(np.float32([2, 1, 2, 1])), [1, 3, 0, 2])


@pytest.mark.parametrize("counts", [(0,), (1,), (5000,), (700, 0, 300)])
def test_order_is_far_to_near_over_all_objects(sort, counts):
    random = np.random.default_rng(sum(counts))
    positions = [random.normal(size=(count, 3)).astype(np.float32) for count in counts]
    rows = random.normal(size=(len(counts), 4)).astype(np.float32)
    made = sort.back_to_front(positions, rows, [True] * len(counts))
    assert made.texels.shape[1] == 4096 and made.count == sum(counts)
    order = made.texels.reshape(-1)[:made.count].astype(int)
    assert sorted(order) == list(range(sum(counts)))
    z = np.concatenate([position @ row[:3] + row[3] for position, row in zip(positions, rows, strict=True)])[order]
    assert (np.diff(z) >= 0).all()
    if made.count > 1:
        assert made.near < made.far <= -z[0] + 1e-6 and made.near >= -z[-1] - 1e-6


def test_hidden_objects_are_left_out_and_the_numbers_stay(sort):
    positions = [np.float32([[0, 0, -1], [0, 0, -2]]), np.float32([[0, 0, -3]]), np.float32([[0, 0, -4], [0, 0, 5]])]
    rows = np.tile(np.float32([0, 0, 1, 0]), (3, 1))
    made = sort.back_to_front(positions, rows, [True, False, True])
    assert made.texels.reshape(-1)[:made.count].tolist() == [3, 1, 0, 4]


def test_texels_of_two_objects(packing):
    base = np.float32([[0.2, 0.0, -5.0, 0.7]])
    one = packing.pack(np.float32([[1, 2, 3]]), np.float32([[1, 1, 1]]), np.float32([[1, 0, 0, 0]]), base)
    texels, harmonics = packing.join([one, one])
    assert texels.shape == (1, 4096, 4) and harmonics is None
    assert np.allclose(texels[0, 0], [1, 2, 3, 0.7])
    assert np.allclose(texels[0, 1], [1, 0, 0, 1]) and np.allclose(texels[0, 2, :2], [0, 1])
    assert np.allclose([*texels[0, 2, 2:], texels[0, 3, 0]], 0.5 + 0.28209479 * base[0, :3])
    assert texels[0, 3, 1] == 0 and texels[0, 7, 1] == 1


def unpacked(codes, step):
    whole = codes.astype(np.int64)
    assert np.array_equal(whole, codes), "codes must be exact in float32"
    return (np.stack([whole % 256, whole // 256 % 256, whole // 65536], axis=-1) - 128) * step[:, None, None]


def test_harmonics_are_kept_to_half_a_step(packing):
    random = np.random.default_rng(3)
    bands = [random.normal(size=(500, 3)).astype(np.float32) * 10.0 ** random.integers(-4, 2, (500, 1))
             for _ in range(8)]
    codes, step = packing.pack_harmonics(bands)
    values = np.stack(bands, axis=1)
    assert np.allclose(step, np.abs(values).max(axis=(1, 2)) / 127)
    assert (np.abs(unpacked(codes, step) - values) <= 0.501 * step[:, None, None]).all()


def test_coefficients_that_an_object_lacks_add_nothing(packing):
    attributes = [np.float32([[0, 0, 0]]), np.float32([[1, 1, 1]]), np.float32([[1, 0, 0, 0]]),
                  np.float32([[0, 0, 0, 1]])]
    bands = [np.float32([[1, -1, 0.5]])] * 3
    with_some, without = packing.pack(*attributes, bands), packing.pack(*attributes)
    _, harmonics = packing.join([without, with_some])
    codes = harmonics.reshape(-1, 16)[:2]
    assert with_some.texels[0, packing.SH_STEP] > 0 and without.texels[0, packing.SH_STEP] == 0
    values = unpacked(codes[1:, :15], with_some.texels[:, packing.SH_STEP])[0]
    assert np.allclose(values[:3], [1, -1, 0.5], atol=0.004) and not values[3:].any()


def test_the_worker_does_the_newest_only_and_hands_errors_over(addon_module):
    worker = addon_module("blender_addon.session.worker").NewestWorker()
    gate, done = threading.Event(), []
    worker.put("first", gate.wait)
    for number in range(10):
        worker.put("sort", lambda number=number: done.append(number) or number)
    gate.set()
    until = time.monotonic() + 5
    while worker.is_busy:
        assert time.monotonic() < until
        time.sleep(0.005)
    assert done == [9] and worker.take("sort") == 9 and worker.take("sort") is None
    worker.put("bad", lambda: 1 / 0)
    while worker.is_busy:
        time.sleep(0.005)
    with pytest.raises(ZeroDivisionError):
        worker.take("bad")
    worker.close()
    assert not worker._thread.is_alive()
