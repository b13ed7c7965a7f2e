# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers that stop reading, and readers that vanish with data unread: bounded memory, nothing lost for the others."""

from __future__ import annotations

import secrets
import socket
import threading
import time

import pytest
import zmq

from interngs.link.address import parse_address
from interngs.link.updates import EventArrived
from interngs.wire import messages as m
from interngs.wire.codec import decode, encode
from interngs.wire.limits import CREDIT, EVENT_WINDOW, FETCH_BYTES, FETCH_WHOLE_BYTES

WAIT_S = 120.0


class StallingRelay:
    """A TCP relay that can stop passing on what the server says, so that the server's own buffers fill."""

    def __init__(self, target_port: int) -> None:
        self.target_port, self.flowing = target_port, threading.Event()
        self.flowing.set()
        self._listener = socket.socket()
        # Small buffers, so that a stall is felt soon.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self._opened: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                return
            self._opened += [near, far]
            threading.Thread(target=self._pump, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, self.flowing), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, gate: threading.Event | None) -> None:
        try:
            while data := source.recv(65536):
                if gate is not None:
                    gate.wait()
                sink.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        self.flowing.set()
        for end in (self._listener, *self._opened):
            end.close()


@pytest.fixture
def stalling(request):
    """Makes relays to a port; all are closed with the test."""
    relays: list[StallingRelay] = []

    def make(port: int) -> StallingRelay:
        relays.append(StallingRelay(port))
        return relays[-1]

    yield make
    for relay in relays:
        relay.close()


def test_a_bulk_reader_that_stops_holds_little_and_hurts_nobody(start_server, follow, capture, settings_of, stalling):
    server = start_server(heartbeat_s=5.0)
    client = follow(server.address)
    job = client.link.submit(capture, settings_of(steps=2, gaussians=200_000)).result(WAIT_S)      # 20 MB of result
    done = client.wait_until(job.job_id, "done", timeout_s=60)
    before = client.link.health().result(WAIT_S).resident_bytes
    context = zmq.Context()
    host, port = parse_address(server.address)
    relays, lanes = [], []
    try:
        for _ in range(8):
            control = context.socket(zmq.DEALER)
            control.connect(f"tcp://{host}:{port}")
            control.send_multipart(encode(m.Hello(1, 2, secrets.token_hex(16), "slow", "0"), "r", 1))
            welcome = decode(control.recv_multipart()).message
            relay = stalling(welcome.bulk_port)
            bulk = context.socket(zmq.DEALER)
            bulk.rcvhwm = 1
            bulk.connect(f"tcp://127.0.0.1:{relay.port}")
            bulk.send_multipart(encode(m.BulkHello(welcome.session), "r"))
            assert isinstance(decode(bulk.recv_multipart()).message, m.BulkReady)
            relay.flowing.clear()
            for number in range(CREDIT):
                bulk.send_multipart(encode(m.Fetch(f"blob:{done.result.splat.sha256}", number * FETCH_WHOLE_BYTES,
                                                   FETCH_BYTES), f"r{number}"))
            relays.append(relay)
            lanes.append((control, bulk))
        time.sleep(1.0)
        began = time.monotonic()
        assert len(client.link.fetch_result(done).result(WAIT_S).gaussians) == 200_000
        assert time.monotonic() - began < 20.0      # the stalled ones are closed only after 30 s
        held = client.link.health().result(WAIT_S).resident_bytes - before
        assert held < 60e6          # eight readers that asked for 256 MB
        # One of them comes to life again: everything it asked for is there, in order.
        relays[-1].flowing.set()
        chunks = [decode(lanes[-1][1].recv_multipart()).message for _ in range(CREDIT)]
        assert [chunk.offset for chunk in chunks] == [number * FETCH_WHOLE_BYTES for number in range(CREDIT)]
        # The last to ask got only the first part of its long ranges, since the others held the memory.
        assert len(chunks[0].payload) == FETCH_WHOLE_BYTES
    finally:
        context.destroy(linger=0)


def test_a_reader_that_vanishes_leaves_the_job_alone(start_server, follow, capture, settings_of):
    server = start_server(environment={"STAND_IN_STEP_S": "0.01"})
    client = follow(server.address, "gone")
    job = client.link.submit(capture, settings_of(steps=200), preview_budget=None).result(WAIT_S)
    client.wait_until(job.job_id, "training")
    # Its sockets close with everything unread.
    client.link._engine.post(client.link._engine._drop_connection)
    client.link._engine.stop()
    after = follow(server.address, "after")
    after.link.attach(job.job_id).result(WAIT_S)
    done = after.wait_until(job.job_id, "done", timeout_s=60)
    after.wait_for(lambda c: len(c.events(job.job_id)) == done.last_seq)
    after.wait_for(lambda c: c.link.health().result(WAIT_S).sessions == 1)


def test_events_wait_for_a_program_that_does_not_take_them(start_server, follow, capture, settings_of, monkeypatch):
    monkeypatch.setattr("interngs.link.mailbox.QUEUE_ROOM", 10)
    server = start_server(environment={"STAND_IN_STEP_S": "0.001"})
    client = follow(server.address)
    # 300 checkpoints make 300 events; the program looks away until the job is over.
    job = client.link.submit(capture, settings_of(steps=300, checkpoint_every=1)).result(WAIT_S)
    watcher = follow(server.address, "watcher")
    watcher.link.attach(job.job_id, after_seq=10**6).result(WAIT_S)
    done = watcher.wait_until(job.job_id, "done", timeout_s=60)
    waiting = client.link._mailbox._queued
    assert 10 <= waiting <= EVENT_WINDOW + 10
    client.wait_for(lambda c: len(c.events(job.job_id)) == done.last_seq)
    assert [event.seq for event in client.events(job.job_id)] == list(range(1, done.last_seq + 1))
    assert not [update for update in watcher.updates if isinstance(update, EventArrived)
                and update.event.seq > done.last_seq]
