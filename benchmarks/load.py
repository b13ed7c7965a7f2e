# SPDX-License-Identifier: GPL-3.0-or-later
"""Many clients, each with a tiny job, on two workers: all finish, none twice, and how long each part takes.

    python benchmarks/load.py [--executor ray] [--clients 50] [--workers 2] [--steps 50]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from restartable_server import ServerProcess, noted, tiny_server

from interngs.link import CaptureSource, Link, ViewSource
from interngs.link.updates import JobChanged
from interngs.scene.cameras import Camera
from interngs.wire.records import JobInfo
from interngs.wire.states import ENDED

WAIT_S = 3600.0


def capture_of(folder: Path, seed: int) -> CaptureSource:
    """Three photos of noise, different for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    random, sources = np.random.default_rng(seed), []
    for index in range(3):
        path = folder / f"{index}.png"
        Image.fromarray(random.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
        pose = np.eye(4)
        pose[0, 3] = -0.1 * index
        K = np.array([[64, 0, 32], [0, 64, 32], [0, 0, 1.0]])
        sources.append(ViewSource(path.name, path, Camera(K, pose, 64, 64)))
    return CaptureSource(tuple(sources))


def settings(steps: int, seed: int = 0) -> dict[str, object]:
    """Settings of the tiny pipeline."""
    return {"preset": "draft", "seed": seed, "seeding": {"max_seeds": 1000}, "optimise": {"steps": steps}}


@dataclass(eq=False)
class Client:
    """One client with one job; times in seconds of the monotonic clock."""

    link: Link
    submitted_s: float = 0.0
    future: Future[JobInfo] | None = None
    job: JobInfo | None = None
    at_s: dict[str, float] = field(default_factory=dict)

    def look(self) -> bool:
        """Take news; True when the job has ended."""
        if self.future is not None and self.future.done() and "accepted" not in self.at_s:
            self.at_s["accepted"] = time.monotonic()
            self.job = self.future.result()
        for update in self.link.poll():
            if isinstance(update, JobChanged):
                self.job = update.job
                self.at_s.setdefault(update.job.state, time.monotonic())
        return self.job is not None and self.job.state in ENDED


def run(server: ServerProcess, folder: Path, count: int, steps: int) -> tuple[list[Client], list[float], float]:
    """All clients submit at once; gives them, the seconds of fetching each result, and the whole time."""
    clients = [Client(Link(f"client {number}", folder / f"client-{number}")) for number in range(count)]
    captures = [capture_of(folder / f"photos-{number}", number) for number in range(count)]
    for client in clients:
        client.link.connect(server.address)
    while not all(client.link.state.is_up for client in clients):
        time.sleep(0.05)
    began = time.monotonic()
    for number, (client, capture) in enumerate(zip(clients, captures, strict=True)):
        client.submitted_s = time.monotonic()
        client.future = client.link.submit(capture, settings(steps, number))
    while not all([client.look() for client in clients]) and time.monotonic() - began < WAIT_S:
        time.sleep(0.02)
    whole_s = time.monotonic() - began
    fetched = []
    for client in clients:
        start = time.monotonic()
        assert client.job is not None
        client.link.fetch_result(client.job).result(WAIT_S)
        fetched.append(time.monotonic() - start)
    return clients, fetched, whole_s


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executor", choices=("local", "ray"), default="ray")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = tiny_server(folder / "server", options.executor, options.workers).start()
        try:
            clients, fetched, whole_s = run(server, folder, options.clients, options.steps)
            resident = server.resident_bytes()
            notes = noted(server)
        finally:
            server.stop()
        for client in clients:
            client.link.close()
    states = Counter(client.job.state for client in clients if client.job is not None)
    done = Counter(job for job, what, _ in notes if what == "done")
    assert states == {"done": options.clients}, states
    assert set(done.values()) == {1} and len(done) == options.clients, done
    print(f"{options.clients} clients, {options.workers} workers, executor {options.executor}: all done, none twice, "
          f"{whole_s:.0f} s ({whole_s / options.clients * options.workers:.1f} s of a worker per job of "
          f"{0.01 * options.steps:.1f} s); front process {resident / 1e6:.0f} MB")
    print("| seconds | median | 95 % | most |\n|---|---|---|---|")
    rows = {
        "submit to accepted (on disk)": [c.at_s["accepted"] - c.submitted_s for c in clients],
        "accepted to start": [c.at_s["preparing"] - c.at_s["accepted"] for c in clients],
        "start to done": [c.at_s["done"] - c.at_s["preparing"] for c in clients],
        "fetch the result": fetched,
    }
    for title, values in rows.items():
        print(f"| {title} | {np.median(values):.2f} | {np.percentile(values, 95):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
