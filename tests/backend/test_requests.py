# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server answers to peers that do not use the link: repeats, wrong order, wrong versions, nonsense, floods."""

from __future__ import annotations

import ast
import secrets
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq

from interngs.link.address import parse_address
from interngs.link.sources import prepare
from interngs.wire import messages as m
from interngs.wire.codec import decode, encode, pack
from interngs.wire.limits import CREDIT
from interngs.wire.records import BlobRef, CameraRecord

WAIT_S = 120.0
ID = "ab" * 16


class RawClient:
    """Sockets without a link."""

    def __init__(self, address: str, client_id: str = ID) -> None:
        self.context = zmq.Context()
        self.host, port = parse_address(address)
        self.client_id = client_id
        self.control = self._open(port)
        self.bulk: zmq.Socket | None = None

    def _open(self, port: int) -> zmq.Socket:
        opened = self.context.socket(zmq.DEALER)
        opened.linger = 0
        opened.connect(f"tcp://{self.host}:{port}")
        return opened

    def send(self, message: m.Message, request_id: str = "r", protocol: int = 2) -> None:
        self.control.send_multipart(encode(message, request_id, protocol))

    def receive(self, lane: zmq.Socket | None = None, timeout_s: float = WAIT_S) -> m.Message:
        lane = lane or self.control
        assert lane.poll(int(1000 * timeout_s)), "no answer"
        return decode(lane.recv_multipart()).message

    def ask(self, message: m.Message, request_id: str | None = None, protocol: int = 2) -> m.Message:
        """The answer to a request; pushes are skipped."""
        request_id = request_id or secrets.token_hex(16)
        self.send(message, request_id, protocol)
        while True:
            assert self.control.poll(int(1000 * WAIT_S)), "no answer"
            envelope = decode(self.control.recv_multipart())
            if envelope.request_id == request_id:
                return envelope.message

    def hello(self, **changes) -> m.Message:
        values = {"protocol_min": 1, "protocol_max": 2, "client_id": self.client_id, "client_name": "raw",
                  "version": "0"} | changes
        return self.ask(m.Hello(**values), protocol=1)

    def open_bulk(self, welcome: m.Welcome) -> m.Message:
        self.bulk = self._open(welcome.bulk_port)
        return self.ask_bulk(m.BulkHello(welcome.session))

    def ask_bulk(self, message: m.Message) -> m.Message:
        self.bulk.send_multipart(encode(message, "b"))
        return self.receive(self.bulk)

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def raw():
    """Makes raw clients; all are closed with the test."""
    made: list[RawClient] = []

    def make(server, client_id: str = ID) -> RawClient:
        made.append(RawClient(server.address, client_id))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_a_repeated_submit_is_the_same_job(start_server, raw, capture, settings_of):
    server = start_server()
    record = prepare(capture).record
    submit, request_id = m.Submit(record, settings_of(), "twice"), secrets.token_hex(16)
    first = raw(server)
    first.hello()
    answers = [first.ask(submit, request_id) for _ in range(3)]
    again = raw(server)        # the same client on a new connection
    again.hello()
    answers.append(again.ask(submit, request_id))
    server.kill()
    server.start()
    after = raw(server)
    after.hello()
    answers.append(after.ask(submit, request_id))
    assert len({answer.job.job_id for answer in answers}) == 1
    assert after.ask(m.ListJobs()).total == 1
    # Another client's request with the same id is another request.
    other = raw(server, "cd" * 16)
    other.hello()
    assert other.ask(submit, request_id).job.job_id != answers[0].job.job_id


def test_a_repeated_command_acts_once(start_server, raw, capture, settings_of):
    server = start_server()
    client = raw(server)
    client.hello()
    job = client.ask(m.Submit(prepare(capture).record, settings_of())).job
    request_id = secrets.token_hex(16)
    assert client.ask(m.CommandJob(job.job_id, "cancel"), request_id).job.state == "cancelled"
    assert client.ask(m.CommandJob(job.job_id, "cancel"), request_id).job.state == "cancelled"
    refused = client.ask(m.CommandJob(job.job_id, "cancel"))
    assert isinstance(refused, m.Failure) and refused.code == "illegal-move"


def test_hello_comes_first(start_server, raw):
    client = raw(start_server())
    for message in (m.Ping(1), m.ListJobs(), m.GetHealth()):
        answer = client.ask(message)
        assert isinstance(answer, m.Failure) and answer.code == "hello-first"
    assert isinstance(client.hello(), m.Welcome)
    assert client.ask(m.Ping(7)) == m.Pong(7)


@pytest.mark.parametrize(("changes", "code"), [
    ({"protocol_min": 3, "protocol_max": 5}, "protocol-unsupported"),
    ({"protocol_min": 0, "protocol_max": 0}, "protocol-unsupported"),
    ({"requires": ("telepathy",)}, "capability-missing"),
    ({"client_id": "../../x"}, "bad-message"),
])
def test_a_hello_that_cannot_be_is_refused(start_server, raw, changes, code):
    answer = raw(start_server()).hello(**changes)
    assert isinstance(answer, m.Failure) and answer.code == code and answer.remedy


def test_an_older_client_is_spoken_to_in_its_own_words(start_server, raw):
    client = raw(start_server())
    welcome = client.hello(protocol_max=1)
    assert isinstance(welcome, m.Welcome) and welcome.server.protocol == 1
    client.send(m.ListJobs(), "jobs", protocol=1)
    assert client.control.poll(int(1000 * WAIT_S))
    assert decode(client.control.recv_multipart()).protocol == 1


def test_what_belongs_to_someone_else_does_not_exist(start_server, raw, capture, settings_of):
    client = raw(start_server())
    client.hello()
    for message in (m.Attach("ee" * 16), m.GetInputs("ee" * 16), m.CommandJob("ee" * 16, "cancel")):
        answer = client.ask(message)
        assert isinstance(answer, m.Failure) and answer.code == "unknown-job"
    for hostile in ("../../../etc/passwd", "", "ee" * 15 + "/.", "EE" * 16):
        assert client.ask(m.Attach(hostile)).code == "unknown-job"


def test_nonsense_is_answered_and_then_ignored(start_server, raw, follow):
    server = start_server()
    client = raw(server)
    client.hello()
    bad = pack({"p": 2, "t": "nothing", "r": "x", "b": {}, "f": []})
    for _ in range(7):
        client.control.send(bad)
        assert client.receive().code == "bad-message"
    client.control.send(b"\xc1 no msgpack")       # the eighth: nothing more from now on
    client.send(m.Ping(1))
    assert not client.control.poll(1000)
    assert follow(server.address).link.health().result(WAIT_S).accepts_work


def test_frames_beyond_the_limit_end_the_connection(start_server, raw, follow):
    server = start_server()
    client = raw(server)
    client.hello()
    client.control.send(bytes(300 << 10))
    # The connection is closed, and the one that takes its place has no session.
    while not client.control.poll(200):
        client.send(m.ListJobs())
    answer = client.receive()
    assert isinstance(answer, m.Failure) and answer.code == "hello-first"
    assert follow(server.address).link.health().result(WAIT_S).accepts_work


def test_a_flood_is_slowed_down(start_server, raw):
    client = raw(start_server(limits={"messages_per_s": 5.0, "message_burst": 20}))
    client.hello()
    for number in range(200):
        client.send(m.Ping(number), f"r{number}")
    answers = [client.receive() for _ in range(200)]
    slowed = [answer for answer in answers if isinstance(answer, m.Failure)]
    assert {answer.code for answer in slowed} == {"too-fast"} and len(slowed) > 100
    assert isinstance(answers[0], m.Pong)


def test_there_is_a_last_seat(start_server, raw):
    server = start_server(limits={"sessions": 2})
    clients = [raw(server, secrets.token_hex(16)) for _ in range(2)]
    assert all(isinstance(client.hello(), m.Welcome) for client in clients)
    late = raw(server, secrets.token_hex(16))
    late.send(m.Hello(1, 2, ID, "late", "0"), "r", 1)
    assert late.receive().code == "too-many-sessions"


def test_bytes_that_are_no_zeromq_do_no_harm(start_server, follow):
    server = start_server()
    host, port = parse_address(server.address)
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03", b""):
        with socket.create_connection((host, port)) as opened:
            opened.sendall(data)
    assert follow(server.address).link.health().result(WAIT_S).accepts_work


def test_the_bulk_lane_wants_a_session(start_server, raw):
    client = raw(start_server())
    welcome = client.hello()
    client.open_bulk(welcome)
    client.bulk.close(0)
    client.bulk = client._open(welcome.bulk_port)
    for message in (m.BulkHello("00" * 16), m.Fetch("blob:" + "a1" * 32, 0, 10),
                    m.UploadOpen(BlobRef("a1" * 32, 5), "image")):
        assert client.ask_bulk(message).code == "hello-first"
    assert isinstance(client.ask_bulk(m.BulkHello(welcome.session)), m.BulkReady)


@pytest.mark.parametrize("name", [
    "blob:" + "a1" * 32, "blob:../../store.sqlite3", "blob:", "preview:" + "ee" * 16 + ":1", "preview:../..:1",
    "preview:" + "ee" * 16 + ":../../latest", "file:/etc/passwd", "", "blob:" + "A1" * 32,
])
def test_names_reach_nothing_but_what_is_owned(start_server, raw, name):
    client = raw(start_server())
    client.open_bulk(client.hello())
    answer = client.ask_bulk(m.Fetch(name, 0, 10))
    assert isinstance(answer, m.Failure) and answer.code in ("blob-missing", "unknown-job", "bad-message")


def test_uploads_nobody_asked_for_are_refused(start_server, raw):
    client = raw(start_server())
    client.open_bulk(client.hello())
    answer = client.ask_bulk(m.UploadOpen(BlobRef("a1" * 32, 5), "image"))
    assert isinstance(answer, m.Failure) and answer.code == "blob-unwanted"
    # A chunk of nothing: the server has none of it.
    state = client.ask_bulk(m.UploadChunk("a1" * 32, 0, np.zeros(5, np.uint8)))
    assert state == m.UploadState("a1" * 32, 0, False)


def test_ranges_beyond_the_credit_are_refused(start_server, raw):
    client = raw(start_server())
    client.open_bulk(client.hello())
    for _ in range(3 * CREDIT):
        client.bulk.send_multipart(encode(m.Fetch("blob:" + "a1" * 32, 0, 10), "b"))
    codes = {client.receive(client.bulk).code for _ in range(3 * CREDIT)}
    assert codes <= {"blob-missing", "upload-credit"}


def test_the_server_decides_on_devices(start_server, raw, capture, settings_of):
    client = raw(start_server())
    client.hello()
    record = prepare(capture).record
    for settings in ({"device": "cuda"}, {"threads": 64}, {"preset": "x"}, {"nothing": 1}, {"optimise": {"steps": 0}},
                     {"optimise": {"steps": "many"}}):
        answer = client.ask(m.Submit(record, settings))
        assert isinstance(answer, m.Failure) and answer.remedy, settings


def test_impossible_captures_are_refused_before_anything_is_sent(start_server, raw, capture, settings_of):
    client = raw(start_server())
    client.hello()
    record = prepare(capture).record
    view = record.views[0]
    bent = CameraRecord(view.camera.K, tuple([2.0] * 16), view.width_px, view.height_px)
    for views, code in [((view,), "too-few-views"), ((view, view), "view-twice"),
                        ((replace(view, camera=bent), record.views[1]), "pose-not-rigid"),
                        ((replace(view, camera=None), record.views[1]), "pose-missing"),
                        ((replace(view, width_px=100_000, height_px=100_000), record.views[1]), "image-too-large"),
                        ((replace(view, image=BlobRef(view.image.sha256, 1 << 40)), record.views[1]),
                         "limit-exceeded")]:
        bad = replace(record, views=views)
        answer = client.ask(m.Submit(bad, settings_of()))
        assert isinstance(answer, m.Failure) and answer.code == code
        report = client.ask(m.PreflightCapture(bad, settings_of())).report
        assert not report.ok and code in {finding.code for finding in report.findings}
    assert client.ask(m.ListJobs()).total == 0


def test_a_clock_that_jumps_changes_nothing_that_waits():
    # Time-outs count on the monotonic clock alone: no module of the service or the link compares wall-clock times,
    # but for ages of stored things (answers, partial uploads, pairing codes), which are bounded on both sides.
    root = Path(__file__).resolve().parents[2]
    users = set()
    for path in [*(root / "backend").rglob("*.py"), *(root / "interngs" / "link").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "time"
                    and isinstance(node.func.value, ast.Name) and node.func.value.id == "time"):
                users.add(path.name)
    assert users <= {"store.py", "keys.py", "jobs.py", "lifecycle.py"}
