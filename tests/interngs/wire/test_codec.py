# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to frames and back, and the refusal of everything malformed."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interngs.wire import messages as m
from interngs.wire.codec import decode, encode, pack, request_id_of, unpack
from interngs.wire.errors import CODES, WireError
from interngs.wire.limits import CONTROL_FRAME_BYTES, HEADER_ITEMS, RAW_FRAMES
from interngs.wire.records import BlobRef, ProgressInfo
from interngs.wire.typed import to_plain

SHA = "a1" * 32


def frames_of(message, request_id="id", protocol=2) -> list[bytes]:
    return [bytes(frame) for frame in encode(message, request_id, protocol)]


def changed(frames: list[bytes], **changes) -> list[bytes]:
    return [pack({**msgpack.unpackb(frames[0]), **changes}), *frames[1:]]


def same(one, other) -> bool:
    """Equality that looks into arrays."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if is_dataclass(one):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return one == other


def test_every_message_comes_back_as_it_was(message):
    envelope = decode(frames_of(message))
    assert same(envelope.message, message)
    assert envelope.request_id == "id" and envelope.protocol == 2


def test_there_is_an_example_of_every_message(all_messages):
    assert {type(message) for message in all_messages} == set(m.TYPES.values())


def test_arrays_are_not_copied():
    payload = np.arange(1000, dtype=np.uint8)
    encoded = encode(m.UploadChunk(SHA, 0, payload))
    assert np.shares_memory(np.frombuffer(encoded[1], np.uint8), payload)
    frame = bytes(encoded[1])
    decoded = decode([bytes(encoded[0]), frame]).message
    assert np.shares_memory(decoded.payload, np.frombuffer(frame, np.uint8))


def test_unknown_fields_are_ignored(message):
    frames = frames_of(message)
    body = {**msgpack.unpackb(frames[0])["b"], "of_the_future": {"deep": [1, 2, {"x": None}]}}
    assert same(decode(changed(frames, b=body)).message, message)


def test_every_required_field_is_required(message):
    frames = frames_of(message)
    body = msgpack.unpackb(frames[0])["b"]
    optional = {f.name for f in fields(message) if f.default is not MISSING or f.default_factory is not MISSING}
    for name in body:
        shorter = {key: value for key, value in body.items() if key != name}
        if name in optional:
            decode(changed(frames, b=shorter))
        else:
            with pytest.raises(WireError, match=f"lacks {name}"):
                decode(changed(frames, b=shorter))


@pytest.mark.parametrize("wrong", [[], {}, "text", b"bytes", 1.5, True, -1, None, [[1]], {"a": 1}])
def test_wrong_types_are_refused_or_right(message, wrong):
    frames = frames_of(message)
    body = msgpack.unpackb(frames[0])["b"]
    for name, value in body.items():
        try:
            decoded = decode(changed(frames, b={**body, name: wrong})).message
        except WireError:
            continue
        # What was accepted has the type that the field asks for.
        accepted = to_plain(getattr(decoded, name))
        assert isinstance(accepted, (type(value), type(wrong), type(None))) and not (
            isinstance(wrong, bool) and not isinstance(value, bool) and accepted is True), name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_must_be_finite(value):
    frames = frames_of(m.ProgressPush("c3" * 16, ProgressInfo("optimise", 1, 2, 0.5)))
    body = msgpack.unpackb(frames[0])["b"]
    body["progress"]["loss"] = value
    with pytest.raises(WireError, match="not finite"):
        decode(changed(frames, b=body))
    body["progress"]["loss"] = 3
    assert decode(changed(frames, b=body)).message.progress.loss == 3.0


@pytest.mark.parametrize("changes", [
    {"p": 0}, {"p": 3}, {"p": "2"}, {"p": True}, {"p": None}, {"t": "nothing"}, {"t": 5}, {"t": None}, {"r": 5},
    {"r": "x" * 65}, {"b": None}, {"b": []}, {"f": None}, {"f": {}}, {"f": [["x"]]}, {"f": [["x", "|u1", [0]]]},
])
def test_broken_envelopes_are_refused(changes):
    with pytest.raises(WireError):
        decode(changed(frames_of(m.Ping(1)), **changes))


@pytest.mark.parametrize("entry", [
    ["payload", "|u1", [11]], ["payload", "|u1", [9]], ["payload", "<f4", [10]], ["payload", "|O", [10]],
    ["payload", ">f4", [10]], ["payload", "|V1", [10]], ["payload", "<f4", [-1]], ["payload", "|u1", []],
    ["payload", "|u1", [True]], ["payload", "|u1", [10.0]], ["payload", "|u1", [1] * 5 + [10]],
    ["payload", "|u1", [2**62, 2**62]], ["payload", "|u1", [0, 2**63]], [5, "|u1", [10]], ["payload", None, [10]],
    ["payload", "|u1", "10"], ["payload", "|u1"], "payload",
])
def test_arrays_that_do_not_fit_their_frame_are_refused(entry):
    frames = frames_of(m.UploadChunk(SHA, 0, np.arange(10, dtype=np.uint8)))
    with pytest.raises(WireError):
        decode(changed(frames, f=[entry]))


def test_frames_and_table_must_agree():
    frames = frames_of(m.UploadChunk(SHA, 0, np.arange(10, dtype=np.uint8)))
    for bad in ([], frames[:1], [*frames, b"more"], [frames[0]] * (RAW_FRAMES + 2)):
        with pytest.raises(WireError):
            decode(bad)


def test_an_array_needs_no_field_in_the_body():
    frames = frames_of(m.Ping(1))
    with pytest.raises(WireError):     # an array in place of a number
        decode([pack({**msgpack.unpackb(frames[0]), "f": [["nonce", "|u1", [3]]]}), b"abc"])


@pytest.mark.parametrize("data", [
    b"", b"\xc1", b"\x81", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc7\x05\x01hello", b"\xd4\x01x", b"\x82\x01\x02\x03\x04", b"\xa2\xff\xfe", b"\x80\x80",
    b"\x91" * 5000, b"\x81\xa1a" * 5000, pack([0] * (HEADER_ITEMS + 1)), b"\xc4\xff", bytes(CONTROL_FRAME_BYTES + 1),
])
def test_bad_msgpack_is_refused(data):
    with pytest.raises(WireError):
        unpack(data)


def test_the_request_id_of_a_malformed_message_is_found():
    frames = frames_of(m.Ping(1), "the id")
    assert request_id_of(changed(frames, t="nothing")) == "the id"
    assert request_id_of([b"\xc1"]) == request_id_of([]) == request_id_of([pack([1])]) == ""


@pytest.mark.parametrize("hostile", ["../../etc/passwd", "a" * 63, "A1" * 32, "a1" * 32 + "\n", "", "/" * 64])
def test_hashes_that_are_none_are_refused(hostile):
    frames = frames_of(m.UploadOpen(BlobRef(SHA, 5), "image"))
    body = {"blob": {"sha256": hostile, "size_bytes": 5}, "kind": "image"}
    with pytest.raises(WireError):
        decode(changed(frames, b=body))


def test_codes_are_kebab_case_and_explained():
    for code, meaning in CODES.items():
        assert code == code.lower() and "_" not in code and " " not in code and meaning


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats() | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5), max_leaves=20)


@given(plain)
@settings(max_examples=60)
def test_any_plain_value_decodes_or_is_refused(value):
    try:
        decode([pack(value)])
    except WireError:
        return


@given(st.data())
@settings(max_examples=60)
def test_any_body_decodes_or_is_refused(data):
    name = data.draw(st.sampled_from(sorted(m.TYPES)))
    names = [f.name for f in fields(m.TYPES[name])]
    body = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), plain, max_size=6))
    header = {"p": data.draw(st.sampled_from([1, 2])), "t": name, "r": "x", "b": body, "f": []}
    try:
        message = decode([pack(header)]).message
    except WireError:
        return
    assert same(decode(frames_of(message)).message, message)


def test_mutated_frames_decode_or_are_refused(all_messages):
    """Random bytes changed, cut out, doubled: never anything but a message or a refusal."""
    random = np.random.default_rng(7)
    originals = [frames_of(message) for message in all_messages]
    accepted = 0
    for _ in range(4000):
        frames = [bytearray(frame) for frame in originals[random.integers(len(originals))]]
        for _ in range(random.integers(1, 4)):
            frame = frames[random.integers(len(frames))]
            place = int(random.integers(max(1, len(frame))))
            kind = random.integers(4)
            if kind == 0 and frame:
                frame[place] = random.integers(256)
            elif kind == 1:
                del frame[place:place + int(random.integers(1, 9))]
            elif kind == 2:
                frame[place:place] = random.bytes(int(random.integers(1, 9)))
            else:
                frame[place:place] = frame[place:place + 16]
        try:
            decode([bytes(frame) for frame in frames])
            accepted += 1
        except WireError:
            continue
    assert 0 < accepted < 4000
