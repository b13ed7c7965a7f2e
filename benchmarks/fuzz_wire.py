# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutated frames against the decoder and against a running server: no crash, no growth.

    python benchmarks/fuzz_wire.py [--frames 2000000] [--sent 100000] [--seed 0]

Frames of every message (the golden ones) and array containers are flipped, cut, spliced and lengthened.  Whatever the
decoder does, it may only give a message or raise WireError; afterwards the server must still answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zmq

from interngs.link import Link
from interngs.link.local_backend import LocalBackend
from interngs.wire.arrays import pack_arrays, unpack_arrays
from interngs.wire.codec import decode, encode
from interngs.wire.errors import WireError
from interngs.wire.messages import Hello

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = REPOSITORY / "tests" / "interngs" / "wire" / "golden"
_MANY = b"\xff\xff\xff\xff"
TOKENS = (b"\xc0", b"\xc1", b"\xdd" + _MANY, b"\xdf" + _MANY, b"\xdb" + _MANY, b"\xc6" + _MANY,
          b"\xc9" + _MANY + b"\x01", b"\x91" * 200,
          b"\x81\xa1p" * 50, b"\xcb\x7f\xf8" + b"\x00" * 6, b"\xd9\xff", b"\xcf" + b"\xff" * 8,
          b"\xd3\x80" + b"\x00" * 7, b"\xa1\xff", b"")
"""What msgpack has to offer against a decoder: huge counts, deep nests, NaN, integers at their ends."""
PEER_FRAMES = 6
"""Frames that one connection sends: fewer than make the server deaf to it."""


def originals() -> list[list[bytes]]:
    """The frames of every message of every protocol number."""
    found = []
    for path in sorted(GOLDEN.glob("protocol-*.json")):
        found += [[bytes.fromhex(frame) for frame in frames] for frames in json.loads(path.read_text("utf-8")).values()]
    return found


def mutated(chance: random.Random, frames: list[bytes], others: list[list[bytes]]) -> list[bytes]:
    """``frames`` with one to four changes."""
    frames = list(frames)
    for _ in range(chance.randint(1, 4)):
        index = chance.randrange(len(frames)) if chance.random() < 0.2 else 0
        data = bytearray(frames[index])
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1 and data:
            data[place % len(data)] = chance.randrange(256)
        elif kind == 2:
            del data[place:place + chance.randint(1, 16)]
        elif kind == 3:
            data[place:place] = chance.choice(TOKENS)
        elif kind == 4:
            other = chance.choice(others)[0]
            cut = chance.randrange(len(other))
            data[place:] = other[cut:]
        elif kind == 5:
            data[place:place + 4] = chance.choice(TOKENS)
        else:
            frames.insert(index, chance.choice(others)[-1])
        frames[index] = bytes(data)
    return frames


def resident_bytes(process: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fuzz_decoder(count: int, seed: int) -> None:
    """Mutated messages and array containers against the decoders in this process."""
    chance, whole = random.Random(seed), originals()
    container = bytes(pack_arrays({"positions": np.zeros((20, 3), "<f4"), "colours": np.zeros((20, 3), np.uint8)}, {}))
    accepted = refused = 0
    slowest_s = 0.0
    start_bytes = 0
    for number in range(count):
        if number == count // 10:
            start_bytes = resident_bytes(os.getpid())
        frames = mutated(chance, chance.choice(whole) if number % 8 else [container], whole)
        began = time.perf_counter()
        try:
            decode(frames) if number % 8 else unpack_arrays(frames[0])
            accepted += 1
        except WireError:
            refused += 1
        slowest_s = max(slowest_s, time.perf_counter() - began)
    grown = resident_bytes(os.getpid()) - start_bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"decoder: {count} mutated frames, {accepted} decoded, {refused} refused, no other outcome; "
          f"slowest {1e3 * slowest_s:.1f} ms; memory {grown / 1e6:+.1f} MB over the last nine tenths, "
          f"{peak / 1e6:.0f} MB at most")


def connections(address: str, count: int) -> Iterator[zmq.Socket[bytes]]:
    """Fresh connections, one after the other."""
    context = zmq.Context()
    for _ in range(count):
        peer = context.socket(zmq.DEALER)
        peer.linger = 200
        peer.connect(address)
        yield peer
        peer.close()
    context.destroy(linger=200)


def fuzz_server(count: int, seed: int) -> None:
    """Mutated messages and raw bytes to a server's control lane; every other connection says hello first."""
    chance, whole = random.Random(seed), originals()
    hello = encode(Hello(1, 2, "ab" * 16, "fuzz", "0"), "h", 1)
    with tempfile.TemporaryDirectory() as folder:
        backend = LocalBackend.start(Path(sys.executable), Path(folder) / "store", folder=REPOSITORY)
        try:
            address = backend.wait_until_ready()
            host, port = address.removeprefix("tcp://").split(":")
            sent = start_bytes = 0
            for number, peer in enumerate(connections(address, count // PEER_FRAMES)):
                if number % 2:
                    peer.send_multipart(hello)
                for _ in range(PEER_FRAMES):
                    peer.send_multipart(mutated(chance, chance.choice(whole), whole))
                    sent += 1
                if number % 50 == 0:        # not even ZMTP
                    with socket.create_connection((host, int(port))) as plain:
                        plain.sendall(chance.randbytes(chance.randint(1, 2000)))
                if number == count // PEER_FRAMES // 10:
                    start_bytes = resident_bytes(backend.process.pid)
            time.sleep(15.0)
            link = Link("fuzz", Path(folder) / "client")
            link.connect(address)
            sessions = link.health().result(30.0).sessions
            link.close()
            grown = resident_bytes(backend.process.pid) - start_bytes
            print(f"server: {sent} mutated messages over {count // PEER_FRAMES} connections; it runs and answers, "
                  f"{sessions} session(s) left; memory {grown / 1e6:+.1f} MB over the last nine tenths")
            assert backend.is_running
        finally:
            backend.stop(20.0)


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--sent", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fuzz_decoder(options.frames, options.seed)
    fuzz_server(options.sent, options.seed)


if __name__ == "__main__":
    main()
