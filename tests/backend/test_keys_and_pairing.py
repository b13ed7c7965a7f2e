# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in: nobody without a key off loopback, and nobody whose key is unknown, revoked or wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

from backend.keys import PAIRING_S, KeyFolder
from interngs.errors import InputError, InternGSError
from interngs.link import Link
from interngs.link.address import parse_address
from interngs.link.keys import (
    ClientFiles,
    format_pairing,
    key_pair_of_code,
    new_key_pair,
    new_pairing_code,
    parse_pairing,
    read_private,
)
from interngs.wire import messages as m
from interngs.wire.codec import encode

WAIT_S = 120.0


def run(server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The service's command on this server's folders."""
    server.folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(server.command(*arguments), capture_output=True, text=True, timeout=120, check=False,
                          cwd=Path(__file__).resolve().parents[2])


def pairing_line(server) -> str:
    output = run(server, "keys", "pair", server.address)
    assert output.returncode == 0, output.stderr
    return output.stdout.strip().splitlines()[-1]


@pytest.fixture
def keyed_server(start_server):
    """A server on loopback that asks for keys."""
    return start_server(arguments=("--require-keys",), with_keys=True)


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0", "tcp://192.168.77.1:0"])
def test_open_addresses_are_refused_without_keys(tmp_path, address):
    command = [sys.executable, "-m", "backend", "--listen", address, "--store", str(tmp_path / "store"), "--keys",
               str(tmp_path / "keys")]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False,
                            cwd=Path(__file__).resolve().parents[2])
    assert output.returncode == 2
    assert "no keys" in output.stderr and "keys init" in output.stderr and "Traceback" not in output.stderr


def test_pairing_lets_a_client_in_and_revoking_shuts_it_out(keyed_server, tmp_path, follow):
    server = keyed_server
    line = pairing_line(server)
    link = Link("artist", tmp_path / "client-artist")
    try:
        assert link.pair(line).result(WAIT_S) == server.address
        with pytest.raises(InternGSError) as used:      # the code is good once
            Link("thief", tmp_path / "thief").pair(line).result(WAIT_S)
        assert used.value.code in ("pairing-code", "server-unreachable")
    finally:
        link.close()
    client = follow(server.address, "artist")
    assert client.link.health().result(WAIT_S).sessions == 1
    listed = run(server, "keys", "list").stdout
    assert "artist" in listed
    assert run(server, "keys", "revoke", "artist").returncode == 0
    client.wait_for(lambda c: c.link.state.phase == "refused")
    assert client.link.state.error.code == "key-refused"
    with pytest.raises(InternGSError):
        client.link.health().result(WAIT_S)
    assert run(server, "keys", "revoke", "artist").returncode == 2


def test_unknown_keys_and_no_keys_are_refused_and_say_so(keyed_server, tmp_path, follow):
    server = keyed_server
    server_key = KeyFolder(server.keys).server_key().public
    stranger = tmp_path / "client-stranger"
    ClientFiles(stranger).remember_server(server.address, server_key)
    for name in ("stranger", "keyless"):
        client = follow(server.address, name, wait=False)
        client.wait_for(lambda c: c.link.state.phase == "refused")
        assert client.link.state.error.code == "key-refused" and "Pair" in client.link.state.error.remedy


def test_a_changed_server_key_stops_with_a_warning(keyed_server, tmp_path, follow):
    ClientFiles(tmp_path / "client-careful").remember_server(keyed_server.address, new_key_pair().public)
    client = follow(keyed_server.address, "careful", wait=False)
    client.wait_for(lambda c: c.link.state.phase == "refused", timeout_s=30)
    assert client.link.state.error.code == "server-key-changed"
    client.link.forget_server(keyed_server.address)
    assert ClientFiles(tmp_path / "client-careful").server_key(keyed_server.address) is None


def test_an_unknown_key_gets_no_byte_of_an_answer(keyed_server):
    host, port = parse_address(keyed_server.address)
    pair, context = new_key_pair(), zmq.Context()
    try:
        for curve in (True, False):
            opened = context.socket(zmq.DEALER)
            if curve:
                opened.curve_serverkey = KeyFolder(keyed_server.keys).server_key().public.encode()
                opened.curve_publickey, opened.curve_secretkey = pair.public.encode(), pair.secret.encode()
            opened.connect(f"tcp://{host}:{port}")
            opened.send_multipart(encode(m.Hello(1, 2, "ab" * 16, "x", "0"), "r", 1))
            assert not opened.poll(1500)
            opened.close(0)
    finally:
        context.destroy(linger=0)


def test_a_pairing_key_can_do_nothing_but_pair(keyed_server):
    line = parse_pairing(pairing_line(keyed_server))
    keys = key_pair_of_code(line.code)
    host, port = parse_address(keyed_server.address)
    context = zmq.Context()
    try:
        opened = context.socket(zmq.DEALER)
        opened.curve_serverkey = line.server_key.encode()
        opened.curve_publickey, opened.curve_secretkey = keys.public.encode(), keys.secret.encode()
        opened.connect(f"tcp://{host}:{port}")
        for message in (m.Hello(1, 2, "ab" * 16, "x", "0"), m.ListJobs(), m.Ping(1)):
            opened.send_multipart(encode(message, "r", 1))
            assert opened.poll(int(1000 * WAIT_S))
            assert b"key-refused" in opened.recv_multipart()[0]
    finally:
        context.destroy(linger=0)


def test_clients_with_keys_see_only_their_own_jobs(keyed_server, tmp_path, follow, capture, settings_of):
    for name in ("anna", "ben"):
        link = Link(name, tmp_path / f"client-{name}")
        link.pair(pairing_line(keyed_server)).result(WAIT_S)
        link.close()
    anna, ben = follow(keyed_server.address, "anna"), follow(keyed_server.address, "ben")
    job = anna.link.submit(capture, settings_of()).result(WAIT_S)
    done = anna.wait_until(job.job_id, "done")
    assert ben.link.jobs().result(WAIT_S) == ()
    for call in (lambda: ben.link.attach(job.job_id), lambda: ben.link.cancel(job.job_id),
                 lambda: ben.link.fetch_result(done)):
        with pytest.raises(InternGSError) as refused:
            call().result(WAIT_S)
        assert refused.value.code in ("unknown-job", "blob-missing")
    # Knowing the hashes of anna's photos is not having them.
    assert len(ben.link.preflight(capture, settings_of()).result(WAIT_S).missing) == 3


@pytest.mark.skipif(os.name != "posix", reason="file modes exist only on POSIX")
def test_key_files_are_their_owners_alone(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.make_server_key()
    folder.add_client(new_key_pair().public, "a")
    folder.begin_pairing("tcp://127.0.0.1:1")
    ClientFiles(tmp_path / "client").identity()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
    secret = tmp_path / "keys" / "server.json"
    secret.chmod(0o644)
    with pytest.raises(InternGSError, match="other users"):
        folder.server_key()


def test_pairing_codes_age_and_are_good_once(tmp_path, monkeypatch):
    folder = KeyFolder(tmp_path / "keys")
    folder.make_server_key()
    line = parse_pairing(folder.begin_pairing("tcp://render.studio:47800"))
    assert line.address == "tcp://render.studio:47800" and line.server_key == folder.server_key().public
    public = key_pair_of_code(line.code).public
    assert folder.is_pending(public)
    real = time.time
    for jump_s in (PAIRING_S + 1, -1000.0):         # too old, or a clock that was set back
        fresh = key_pair_of_code(parse_pairing(folder.begin_pairing("tcp://a:1")).code).public
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
            assert not folder.is_pending(fresh)
    client = new_key_pair()
    assert folder.finish_pairing(public, client.public, "desk").name == "desk"
    with pytest.raises(InputError):
        folder.finish_pairing(public, new_key_pair().public, "again")
    assert folder.client(client.public) is not None and folder.client(new_key_pair().public) is None


def test_pairing_lines_survive_copying():
    key, code = new_key_pair().public, new_pairing_code()
    line = format_pairing("studio:5000", key, code)
    assert parse_pairing(f"  {line}\n") == parse_pairing(line)
    assert parse_pairing(line).server_key == key
    assert key_pair_of_code(code.lower().replace("-", " ")) == key_pair_of_code(code)
    assert key_pair_of_code(code) != key_pair_of_code(new_pairing_code())
    for bad in ("", "tcp://a:1", line[:-3], line.replace("/", " "), line.upper()):
        with pytest.raises(InputError):
            parse_pairing(bad)


def test_damaged_key_files_let_nobody_in(tmp_path):
    folder = KeyFolder(tmp_path)
    public = new_key_pair().public
    client = folder.add_client(public, "a")
    path = tmp_path / "clients" / f"{client.key_id}.json"
    path.write_text("{")
    with pytest.raises(InternGSError, match="cannot be read"):
        folder.client(public)
    assert read_private(tmp_path / "none.json") is None


def test_secrets_are_not_shown():
    pair = new_key_pair()
    assert pair.secret not in repr(pair) and pair.secret not in str(pair)
