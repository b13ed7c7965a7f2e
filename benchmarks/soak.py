# SPDX-License-Identifier: GPL-3.0-or-later
"""A day of random submits, commands, kills and restarts in minutes: no job lost, no growing memory or number of files.

    python benchmarks/soak.py [--minutes 10] [--executor local] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from load import capture_of, settings
from restartable_server import noted, tiny_server

from interngs.errors import InternGSError
from interngs.link import Link
from interngs.wire.records import JobInfo
from interngs.wire.states import ENDED

WAIT_S = 120.0
ACTIONS = {"submit": 40, "cancel": 8, "pause": 8, "resume": 10, "discard": 10, "fetch": 10, "kill worker": 5,
           "kill server": 2, "restart server": 2, "new client": 5}
STEPS = (20, 400)
WAITING_MOST = 20
"""No more jobs are sent while so many wait: a long queue would only make the end late."""


class Soak:
    """One client after another against one server, and what must be true of its jobs."""

    def __init__(self, folder: Path, executor: str, seed: int) -> None:
        self.chance, self.folder, self.executor = random.Random(seed), folder, executor
        self.server = tiny_server(folder / "server", executor, 2).start()
        self.did: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self.discarded: set[str] = set()
        self.link = self._new_link()
        self.memory: list[int] = []

    def _new_link(self) -> Link:
        link = Link("soak", self.folder / "client")     # the same person each time
        link.connect(self.server.address)
        return link

    def jobs(self) -> list[JobInfo]:
        """All jobs of the server."""
        return list(self.link.jobs().result(WAIT_S))

    def act(self) -> None:
        """One random action."""
        name = self.chance.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        try:
            getattr(self, "_" + name.replace(" ", "_"))()
            self.did[name] += 1
        except InternGSError as error:
            self.did[f"{name}: {error.code}"] += 1      # the job moved on meanwhile
        self.link.poll(10_000)

    def _submit(self) -> None:
        if sum(job.state in ("uploading", "queued") for job in self.jobs()) >= WAITING_MOST:
            time.sleep(0.5)
            return
        number = self.did["submit"]
        capture = capture_of(self.folder / "photos" / str(number % 20), number % 20)
        steps = self.chance.choice(STEPS)
        self.accepted.add(self.link.submit(capture, settings(steps, number)).result(WAIT_S).job_id)

    def _any(self) -> str | None:
        jobs = self.jobs()
        return self.chance.choice(jobs).job_id if jobs else None

    def _cancel(self) -> None:
        if (job_id := self._any()) is not None:
            self.link.cancel(job_id).result(WAIT_S)

    def _pause(self) -> None:
        if (job_id := self._any()) is not None:
            self.link.pause(job_id).result(WAIT_S)

    def _resume(self) -> None:
        if (job_id := self._any()) is not None:
            self.link.resume(job_id).result(WAIT_S)

    def _discard(self) -> None:
        if (job_id := self._any()) is not None:
            self.link.discard(job_id).result(WAIT_S)
            self.discarded.add(job_id)

    def _fetch(self) -> None:
        with_result = [job for job in self.jobs() if job.result is not None]
        if with_result:
            self.link.fetch_result(self.chance.choice(with_result)).result(WAIT_S)

    def _kill_worker(self) -> None:
        assert self.server.process is not None
        workers = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat")
                   if _parent_of(path) == self.server.process.pid]
        if workers and self.executor == "local":
            os.kill(self.chance.choice(workers), signal.SIGKILL)

    def _kill_server(self) -> None:
        self.server.kill()
        self.server.start()

    def _restart_server(self) -> None:
        self.memory.append(self.server.resident_bytes())
        self.server.stop()
        self.server.start()

    def _new_client(self) -> None:
        self.link.close()
        self.link = self._new_link()

    def drain(self) -> list[JobInfo]:
        """Resume what is paused and wait for all to end."""
        for job in self.jobs():
            if job.state == "paused":
                self.link.resume(job.job_id).result(WAIT_S)
        deadline = time.monotonic() + 600.0
        while any(job.state not in ENDED for job in self.jobs()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return self.jobs()


def _parent_of(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def count_files(folder: Path) -> int:
    """Files below a folder."""
    return sum(1 for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Run and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(Path(name), options.executor, options.seed)
        end = time.monotonic() + 60.0 * options.minutes
        while time.monotonic() < end:
            soak.act()
            time.sleep(soak.chance.uniform(0.0, 0.5))
        jobs = soak.drain()
        soak.memory.append(soak.server.resident_bytes())
        before = count_files(soak.server.store)
        found, states = {job.job_id for job in jobs}, Counter(job.state for job in jobs)
        lost = soak.accepted - soak.discarded - found
        done = Counter(job for job, what, _ in noted(soak.server) if what == "done")
        for job in jobs:
            soak.link.discard(job.job_id).result(WAIT_S)
        time.sleep(5.0)
        left = sorted(path.name for path in soak.server.store.rglob("*") if path.is_file())
        soak.link.close()
        soak.server.stop()
    print(f"{options.minutes:g} minutes, executor {options.executor}: {sum(soak.did.values())} actions: "
          + ", ".join(f"{count} x {name}" for name, count in sorted(soak.did.items())))
    print(f"{len(soak.accepted)} jobs accepted, {len(soak.discarded)} discarded, {len(lost)} lost; at the end "
          + ", ".join(f"{count} {state}" for state, count in states.items()))
    memory = ", ".join(f"{size / 1e6:.0f}" for size in soak.memory)
    print(f"pipelines that reached their end: {len(done)} jobs, most often {max(done.values(), default=0)} times; "
          f"front process {memory} MB before each restart and at the end; files {before} with {len(jobs)} jobs, "
          f"{len(left)} after all were discarded: {', '.join(left)}")
    assert not lost and set(states) <= {"done", "cancelled"}


if __name__ == "__main__":
    main()
