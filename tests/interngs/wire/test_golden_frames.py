# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames as they were written when a protocol number was released: they must decode as long as it is spoken.

``golden/protocol-N.json`` holds, for each message, its frames in hex.  A file is written once, when its number is
released, by ``python tests/interngs/wire/test_golden_frames.py N``; afterwards only fields with defaults may be added.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgpack
import numpy as np
import pytest

from interngs.wire import messages as m
from interngs.wire.adapt import to_current, to_older
from interngs.wire.codec import decode, encode, pack
from interngs.wire.errors import WireError
from interngs.wire.records import ProgressInfo
from interngs.wire.typed import to_plain
from interngs.wire.version import PROTOCOL, PROTOCOL_MIN, agree

GOLDEN = Path(__file__).parent / "golden"
SPOKEN = range(PROTOCOL_MIN, PROTOCOL + 1)


def golden(protocol: int) -> dict[str, list[str]]:
    """The frames in hex of each message of a protocol number."""
    return json.loads((GOLDEN / f"protocol-{protocol}.json").read_text("utf-8"))


def test_two_protocol_numbers_are_spoken():
    assert PROTOCOL_MIN == PROTOCOL - 1
    assert agree(1, 2) == agree(2, 9) == 2 and agree(1, 1) == 1
    assert agree(3, 9) is None and agree(0, 0) is None


@pytest.mark.parametrize("protocol", SPOKEN)
def test_golden_frames_decode_to_what_was_written(protocol, all_messages):
    frames = golden(protocol)
    assert set(frames) == set(m.TYPES)
    for message in all_messages:
        envelope = decode([bytes.fromhex(frame) for frame in frames[m.NAMES[type(message)]]])
        assert envelope.protocol == protocol and envelope.request_id == "golden"
        # What a peer of that number does not know is missing, and nothing else is.
        name, whole = m.NAMES[type(message)], to_plain(message)
        known = to_current(name, to_older(name, whole, protocol), protocol)
        assert (type(envelope.message), to_plain(envelope.message)) == (type(message), _filled(known, whole))
        for field, value in vars(message).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(envelope.message, field), value)


def _filled(known, whole):
    """``known`` with the defaults of the fields that an older peer cannot say (None and 0)."""
    if isinstance(whole, dict):
        return {key: _filled(known[key], value) if key in known else {"priority": 0}.get(key)
                for key, value in whole.items()}
    if isinstance(whole, list):
        return [_filled(one, other) for one, other in zip(known, whole, strict=True)]
    return known


@pytest.mark.parametrize("protocol", SPOKEN)
def test_messages_are_still_written_as_they_were(protocol, all_messages):
    frames = golden(protocol)
    for message in all_messages:
        written = [bytes(frame) for frame in encode(message, "golden", protocol)]
        before = [bytes.fromhex(frame) for frame in frames[m.NAMES[type(message)]]]
        assert _subset(msgpack.unpackb(before[0]), msgpack.unpackb(written[0])), type(message).__name__
        assert written[1:] == before[1:]


def _subset(old, new) -> bool:
    """Whether everything of ``old`` is in ``new``: fields may be added."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and _subset(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(_subset, old, new))
    return old == new


def test_protocol_1_knows_progress_by_its_old_name():
    push = m.ProgressPush("c3" * 16, ProgressInfo("optimise", 1, 2, psnr_db=20.0, seconds_left=5.0))
    body = msgpack.unpackb(encode(push, "", 1)[0])["b"]["progress"]
    assert body["psnr"] == 20.0 and "psnr_db" not in body and "seconds_left" not in body
    back = decode([bytes(frame) for frame in encode(push, "", 1)]).message
    assert back.progress.psnr_db == 20.0 and back.progress.seconds_left is None


@pytest.mark.parametrize("body", [
    {"job_id": "c3" * 16, "progress": []}, {"job_id": "c3" * 16}, {"progress": {"psnr": {}}}, {"job": 5}, {"jobs": [5]},
    {"jobs": {}}, {"job": {"progress": []}},
])
@pytest.mark.parametrize("name", ["progress", "job", "job-list", "accepted", "submit"])
def test_adapting_takes_any_body(name, body):
    to_older(name, body, 1)
    to_current(name, body, 1)
    with pytest.raises(WireError):
        decode([pack({"p": 1, "t": name, "r": "", "b": body, "f": []})])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import examples

    number = int(sys.argv[1])
    path = GOLDEN / f"protocol-{number}.json"
    path.parent.mkdir(exist_ok=True)
    written = {m.NAMES[type(message)]: [bytes(frame).hex() for frame in encode(message, "golden", number)]
               for message in examples()}
    path.write_text(json.dumps(written, indent=1), encoding="utf-8")
