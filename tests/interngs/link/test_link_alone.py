# SPDX-License-Identifier: GPL-3.0-or-later
"""The link without a server: nothing waits, errors are said, the end is quick; addresses, client files, sources."""

from __future__ import annotations

import socket
import struct
import threading
import time

import numpy as np
import pytest
import zmq
from PIL import Image

from interngs.errors import InputError, InternGSError
from interngs.link import CaptureSource, Link, ViewSource
from interngs.link.address import format_address, is_loopback, parse_address
from interngs.link.keys import ClientFiles
from interngs.link.sources import prepare
from interngs.scene.capture import CaptureFiles, Distortion, SparsePoints, ViewFile
from interngs.wire.arrays import unpack_arrays
from interngs.wire.errors import ServiceError


@pytest.fixture
def link(tmp_path):
    made = Link("test", tmp_path / "client")
    yield made
    assert made.close(5.0)


def wait_for(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_server_is_lost_and_tried_again(link):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    link.connect(f"127.0.0.1:{port}")
    wait_for(lambda: link.state.phase == "lost")
    assert link.state.error.code == "server-unreachable" and str(port) in link.state.error.cause
    assert 0 <= link.state.retry_in_s <= 1.0 and not link.state.is_up
    waiting = link.jobs()           # held until the server is back
    assert not waiting.done()
    link.disconnect()
    with pytest.raises(InternGSError):
        waiting.result(20)
    wait_for(lambda: link.state.phase == "idle")


def test_a_server_that_says_nothing_is_lost(link):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        link.connect(format_address("127.0.0.1", mute.getsockname()[1]))
        wait_for(lambda: link.state.phase == "lost")


def test_a_server_that_hangs_up_in_every_handshake_is_taken_to_want_keys(link):
    """Its reset may overtake the greeting that names its mechanism, so that the link never sees why."""
    with socket.create_server(("127.0.0.1", 0)) as rude:
        def hang_up() -> None:
            while True:
                try:
                    visitor, _ = rude.accept()
                except OSError:
                    return
                visitor.recv(1)
                visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                visitor.close()

        threading.Thread(target=hang_up, daemon=True).start()
        link.connect(format_address("127.0.0.1", rude.getsockname()[1]))
        wait_for(lambda: link.state.phase == "lost")
        wait_for(lambda: link.state.phase == "refused")
        assert link.state.error.code == "key-refused" and "keys" in link.state.error.cause
        rude.shutdown(socket.SHUT_RDWR)


def test_calls_return_at_once_and_fail_without_a_server(link, tmp_path):
    began = time.monotonic()
    futures = [link.jobs(), link.health(), link.attach("ab" * 16), link.pause("ab" * 16)]
    link.detach("ab" * 16)
    link.connect("tcp://10.255.255.1:5")        # no key for it: refused without a packet
    assert time.monotonic() - began < 0.5
    for future in futures:
        with pytest.raises(InternGSError) as error:
            future.result(20)
        assert error.value.code in ("server-unreachable", "key-refused")
    wait_for(lambda: link.state.phase == "refused")
    assert link.state.error.code == "key-refused"


@pytest.mark.parametrize("address", ["", "tcp://", "ipc:///tmp/x", "host:99999", "a b", "tcp://host:port", "inproc://x"])
def test_addresses_that_are_none_are_refused(link, address):
    with pytest.raises(InputError):
        link.connect(address)


def test_addresses_are_read_in_all_usual_forms():
    assert parse_address("render") == ("render", 47800)
    assert parse_address(" tcp://10.0.0.1:5/ ") == ("10.0.0.1", 5)
    assert parse_address("[::1]:5") == ("[::1]", 5)
    for host, loopback in [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("[::1]", True),
                           ("0.0.0.0", False), ("192.168.1.1", False), ("localhost.evil.org", False), ("*", False)]:
        assert is_loopback(host) == loopback


def test_close_is_quick_in_every_state_and_leaves_no_thread(tmp_path):
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for address in (None, "tcp://127.0.0.1:1", format_address("127.0.0.1", mute.getsockname()[1])):
            link = Link("test", tmp_path / "client")
            if address:
                link.connect(address)
                time.sleep(0.05)
            pending = link.jobs()
            began = time.monotonic()
            assert link.close()
            assert time.monotonic() - began < 2.0
            assert pending.done() and link.state.phase == "closed"
            assert link.close()     # twice is harmless
    wait_for(lambda: threading.active_count() <= before)


def test_a_second_close_and_late_calls_do_not_hang(tmp_path):
    link = Link("test", tmp_path / "client")
    link.close()
    link.connect("tcp://127.0.0.1:1")
    for late in (link.submit(CaptureSource(()), {}), link.jobs(), link.attach("ab" * 16)):
        with pytest.raises(InternGSError) as error:
            late.result(5)
        assert error.value.code == "link-closed"


def test_the_identity_is_made_once(tmp_path):
    first = ClientFiles(tmp_path).identity()
    assert ClientFiles(tmp_path).identity() == first
    assert len(first[0]) == 32
    files = ClientFiles(tmp_path)
    files.remember_server("tcp://a:1", "key")
    assert files.server_key("a:1") == "key" and files.server_key("a:2") is None
    files.remember_server("a:1", None)
    assert files.server_key("a:1") is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    link = Link("test", tmp_path / "file" / "client")
    try:
        link.connect("tcp://127.0.0.1:1")
        wait_for(lambda: link.state.phase == "refused")
        assert link.state.error.code in ("not-writable", "key-file-damaged")
    finally:
        link.close()


@pytest.mark.skipif(not zmq.has("curve"), reason="needs libzmq with CURVE")
def test_pairing_with_nonsense_fails_at_once(link):
    with pytest.raises(InputError):
        link.pair("nonsense").result(20)


# ---- captures as a client holds them ---------------------------------------------------------------------------------

@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (20, 10), (255, 0, 0)).save(path)
    return path


def test_files_are_hashed_and_described(photo, tmp_path):
    np.save(tmp_path / "depth.npy", np.full((10, 20), 2.0))
    first = ViewFile("a", photo, None, Distortion("OPENCV", (0.1, 0, 0, 0)), photo, tmp_path / "depth.npy")
    points = SparsePoints(np.zeros((2, 3)), np.zeros((2, 3), np.uint8))
    files = CaptureFiles((first, ViewFile("b", photo)), "files", points)
    ready = prepare(CaptureSource.of_files(files))
    first, second = ready.record.views
    assert (first.width_px, first.height_px) == (20, 10) and first.image == second.image == first.mask
    assert first.distortion == (0.1, 0.0, 0.0, 0.0) and first.camera is None
    assert len(ready.record.blobs()) == len(ready.blobs) == 3
    depth = ready.blobs[first.depth.sha256].read(0, first.depth.size_bytes)
    np.testing.assert_array_equal(unpack_arrays(depth)[0]["depth"], np.full((10, 20), 2.0, np.float32))
    points = ready.blobs[ready.record.points.sha256].read(0, ready.record.points.size_bytes)
    assert set(unpack_arrays(points)[0]) == {"positions", "colours"}


def test_depth_may_be_an_array_or_a_png(photo, tmp_path):
    Image.fromarray(np.full((10, 20), 1500, np.uint16)).save(tmp_path / "depth.png")
    views = (ViewSource("a", photo, depth=np.ones((10, 20), np.float32)),
             ViewSource("b", photo, depth=tmp_path / "depth.png"))
    ready = prepare(CaptureSource(views))
    kinds = {source.kind for source in ready.blobs.values()}
    assert kinds == {"image", "depth"} and ready.record.views[0].depth != ready.record.views[1].depth
    with pytest.raises(InputError, match="shape"):
        prepare(CaptureSource((ViewSource("a", photo, depth=np.ones(5, np.float32)),)))


def test_hashing_stops_when_the_link_is_closed(photo):
    with pytest.raises(ServiceError) as stopped:
        prepare(CaptureSource((ViewSource("a", photo),)), lambda: True)
    assert stopped.value.code == "link-closed"
