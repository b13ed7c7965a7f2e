# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of worker, server, client and connection at random moments: no job lost, none twice, every client returns."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from interngs.link.address import parse_address
from interngs.wire.states import ENDED

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 exists only on POSIX")
WAIT_S = 120.0
STEPS = 60
OTHER_CLIENT = """
import sys
import time
from pathlib import Path
sys.path[:0] = [sys.argv[4]]
from conftest import make_capture, settings
from interngs.link import Link
link = Link("killed client", Path(sys.argv[2]))
link.connect(sys.argv[1])
number = 0
while True:
    capture = make_capture(Path(sys.argv[3]) / str(number), seed=number + 1000)
    link.submit(capture, settings(steps=5, seed=number), title="of the killed client", preview_budget=None).result(120)
    number += 1
    time.sleep(2.0)     # a neighbour, not a flood: the test waits for its own jobs at the end
"""


class Relay:
    """A TCP relay between a client and a server whose connections can be cut at any moment."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def cut(self) -> None:
        """Close every connection in the middle of whatever it carries."""
        opened, self._open = self._open, []
        for end in opened:
            end.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_random_kills_lose_nothing(start_server, follow, make_capture_in, settings_of, tmp_path, rounds):
    random = np.random.default_rng(rounds)
    server = start_server(environment={"STAND_IN_STEP_S": "0.01"}, tries=1000, cpu_slots=2,
                          limits={"jobs_waiting": 10_000, "jobs_waiting_total": 10_000, "jobs_kept": 10_000})
    _, port = parse_address(server.address)
    relay = Relay(port)
    client = follow(f"tcp://127.0.0.1:{relay.port}")
    other = start_other_client(server.address, tmp_path)
    submitted = []
    try:
        for number in range(rounds):
            capture = make_capture_in(tmp_path / f"photos{number}", seed=number)
            submitted.append(client.link.submit(capture, settings_of(steps=STEPS, seed=number), title=f"job {number}"))
            time.sleep(float(random.uniform(0.0, 0.6)))
            victim = random.choice(["worker", "server", "client", "connection"])
            if victim == "worker":
                kill_a_worker(server, random)
            elif victim == "server":
                server.kill()
                server.start()
            elif victim == "client":
                other.kill()
                other.wait()
                other = start_other_client(server.address, tmp_path)
            else:
                relay.cut()
        jobs = [future.result(WAIT_S) for future in submitted]
        for job in jobs:
            client.wait_until(job.job_id, *ENDED, timeout_s=60)
    finally:
        other.kill()
        other.wait()
        relay.close()
    check_nothing_was_lost(server, client, jobs)


def test_a_link_waits_for_a_dead_server_behind_a_tunnel(start_server, follow):
    """The tunnel takes every connection and hangs up: what a server that wants keys does to one without."""
    server = start_server()
    relay = Relay(parse_address(server.address)[1])
    try:
        client = follow(f"tcp://127.0.0.1:{relay.port}")
        server.kill()
        # In words after the third time, and without giving up.
        client.wait_for(lambda c: c.link.state.phase == "lost" and c.link.state.error.code == "key-refused")
        waiting = client.link.health()
        server.start()
        client.wait_connected()
        assert waiting.result(WAIT_S).sessions == 1
    finally:
        relay.close()


def start_other_client(address: str, folder: Path) -> subprocess.Popen[bytes]:
    photos = folder / "others" / secrets.token_hex(4)
    return subprocess.Popen([sys.executable, "-c", OTHER_CLIENT, address, str(folder / "other-client"), str(photos),
                             str(Path(__file__).parent)], cwd=Path(__file__).resolve().parents[2])


def kill_a_worker(server, random) -> None:
    started = {row[1] for row in server.work() if row[2] == "start"}
    ended = {row[1] for row in server.work() if row[2] in ("done", "stopped")}
    alive = [process for process in started - ended if is_a_worker(process)]
    if alive:
        os.kill(int(random.choice(alive)), signal.SIGKILL)


def is_a_worker(process: int) -> bool:
    try:
        return b"backend.worker" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def check_nothing_was_lost(server, client, jobs) -> None:
    assert len({job.job_id for job in jobs}) == len(jobs)
    final = client.jobs()
    assert {final[job.job_id].state for job in jobs} == {"done"}
    for job in jobs:
        events = client.events(job.job_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
    # No job was ended twice, and no two processes worked on one job at the same time.
    work = server.work()
    for job in jobs:
        rows = [row for row in work if row[0] == job.job_id]
        assert sum(row[2] == "done" and row[3] == STEPS for row in rows) >= 1
        finishers = [row for row in rows if row[2] == "done"]
        starts_after_end = [row for row in rows if row[2] == "start" and row[4] > finishers[-1][4]]
        assert not starts_after_end
    # Whatever lies under a hash has that hash.
    for path in (server.store / "blobs").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert all(final[job.job_id].result is not None and not final[job.job_id].result.partial for job in jobs)
