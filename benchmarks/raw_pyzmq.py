# SPDX-License-Identifier: GPL-3.0-or-later
"""What raw pyzmq does with the same bytes: frames from another process, dropped, kept, or kept and hashed."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import zmq
from numpy.typing import NDArray

What = Literal["dropped", "kept", "hashed"]


def _send(endpoint: str, most: int, frame_bytes: int) -> None:
    """Send as many bytes of a run as each word received says, in frames; end at 0."""
    context = zmq.Context()
    data = memoryview(np.random.default_rng(0).integers(0, 256, most, np.uint8))
    peer = context.socket(zmq.DEALER)
    peer.connect(endpoint)
    while size := int(peer.recv()):
        for begin in range(0, size, frame_bytes):
            peer.send(data[begin:min(begin + frame_bytes, size)], copy=False)
    context.destroy(linger=0)


class RawPyzmq:
    """A DEALER that gets bytes from a DEALER of another process over loopback TCP, without copying at either end."""

    def __init__(self, peer: zmq.Socket[bytes], process: int) -> None:
        self._peer = peer
        self.process = process

    def seconds(self, size: int, what: What) -> float:
        """Seconds until ``size`` bytes are there.

        Args:
            what: ``dropped``: each frame is received and forgotten.  ``kept``: copied into one run of memory, as a
                program needs them.  ``hashed``: and a thread beside gives their SHA-256.
        """
        began = time.perf_counter()
        self._peer.send(str(size).encode())
        received = 0
        data = None if what == "dropped" else np.empty(size, np.uint8)
        arrived: queue.SimpleQueue[NDArray[np.uint8] | None] = queue.SimpleQueue()
        digest = hashlib.sha256()
        hashing = threading.Thread(target=_hash, args=(arrived, digest))
        if what == "hashed":
            hashing.start()
        while received < size:
            frame = self._peer.recv(copy=False)
            end = received + len(frame.buffer)
            if data is not None:
                np.copyto(data[received:end], np.frombuffer(frame.buffer, np.uint8))
            if data is not None and what == "hashed":
                arrived.put(data[received:end])
            received = end
        if what == "hashed":
            arrived.put(None)
            hashing.join()
        return time.perf_counter() - began


def _hash(arrived: queue.SimpleQueue[NDArray[np.uint8] | None], digest: hashlib._Hash) -> None:
    while (part := arrived.get()) is not None:
        digest.update(part)


def cpu_seconds(process: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Timed:
    """Seconds, and processor seconds of the two sides, of several rounds of one transfer."""

    title: str
    seconds: list[float] = field(default_factory=list)
    cpu_here_s: list[float] = field(default_factory=list)
    cpu_there_s: list[float] = field(default_factory=list)

    def measure(self, transfer: Callable[[], object], other_process: int) -> None:
        """One more round."""
        here, there, began = time.process_time(), cpu_seconds(other_process), time.perf_counter()
        transfer()
        self.seconds.append(time.perf_counter() - began)
        self.cpu_here_s.append(time.process_time() - here)
        self.cpu_there_s.append(cpu_seconds(other_process) - there)

    def show(self, size: int, raw: Timed) -> None:
        """Print the rates and what they are of raw pyzmq's."""
        median, best = statistics.median(self.seconds), min(self.seconds)
        per_gb = 1e9 / (size * len(self.seconds))
        print(f"  {self.title:42} median {size / median / 1e6:5.0f} MB/s "
              f"({statistics.median(raw.seconds) / median:.2f} of raw), best {size / best / 1e6:5.0f} MB/s "
              f"({min(raw.seconds) / best:.2f}); processor seconds a GB: {sum(self.cpu_here_s) * per_gb:.2f} receiver, "
              f"{sum(self.cpu_there_s) * per_gb:.2f} sender")


def compare(raw: RawPyzmq, size: int, rounds: int, ours: dict[str, Callable[[], object]],
            server_process: int) -> None:
    """Measure raw pyzmq and the service in turn and print the table."""
    theirs: dict[What, Timed] = {"dropped": Timed("raw pyzmq"), "kept": Timed("raw pyzmq, bytes kept"),
                                 "hashed": Timed("raw pyzmq, bytes kept and hashed")}
    mine = {title: Timed(title) for title in ours}
    for number in range(rounds + 1):
        for what, timed in theirs.items():
            timed.measure(partial(raw.seconds, size, what), raw.process)
        for title, transfer in ours.items():
            mine[title].measure(transfer, server_process)
        if number == 0:
            theirs = {what: Timed(timed.title) for what, timed in theirs.items()}
            mine = {title: Timed(title) for title in ours}
    for timed in (*theirs.values(), *mine.values()):
        timed.show(size, theirs["dropped"])


@contextmanager
def raw_pyzmq(most: int, frame_bytes: int) -> Iterator[RawPyzmq]:
    """Raw pyzmq with its other process, for up to ``most`` bytes at a time."""
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    port = peer.bind_to_random_port("tcp://127.0.0.1")
    process = multiprocessing.get_context("spawn").Process(
        target=_send, args=(f"tcp://127.0.0.1:{port}", most, frame_bytes))
    process.start()
    try:
        yield RawPyzmq(peer, process.pid or 0)
        peer.send(b"0")
        process.join()
    finally:
        context.destroy(linger=0)


def hash_seconds(size: int) -> float:
    """Seconds that SHA-256 of ``size`` bytes takes by itself."""
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    began = time.perf_counter()
    hashlib.sha256(data).digest()
    return time.perf_counter() - began
