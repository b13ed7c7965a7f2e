# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the service over loopback: transfer rate, answer times, memory, overhead, many clients.

    python benchmarks/service.py [transfer] [ping] [memory] [overhead] [clients]

Every figure is a ratio or a bound taken in one run, against raw pyzmq or the bare pipeline on the same machine.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from PIL import Image
from raw_pyzmq import compare, cpu_seconds, hash_seconds, raw_pyzmq

from interngs.link import CaptureSource, Link, ViewSource
from interngs.link.downloads import Download
from interngs.link.local_backend import LocalBackend
from interngs.link.updates import JobChanged, PreviewArrived, StateChanged
from interngs.scene.cameras import Camera
from interngs.wire.codec import decode, encode
from interngs.wire.errors import ErrorInfo
from interngs.wire.limits import FETCH_BYTES
from interngs.wire.messages import Hello, Ping, Pong
from interngs.wire.records import JobInfo, PreviewInfo
from interngs.wire.states import ENDED

REPOSITORY = Path(__file__).resolve().parents[1]
PIPELINES = Path(__file__).resolve().parent / "service_pipelines"
sys.path.insert(0, str(PIPELINES))

MILLION = 1_000_000
WAIT_S = 900.0


# ---- a server and its clients ----------------------------------------------------------------------------------------

@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A backend process with the measured pipeline; gives its address."""
    with server_process(folder) as backend:
        yield backend.wait_until_ready(WAIT_S)


@contextmanager
def server_process(folder: Path) -> Iterator[LocalBackend]:
    """The same; gives the process."""
    config = folder / "server.toml"
    config.write_text('pipeline = "measured_pipeline:reconstruct"\nmin_free_bytes = 0\n'
                      "[limits]\nstored_bytes = 100_000_000_000\njobs_waiting = 100\n", encoding="utf-8")
    launcher = folder / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}:{PIPELINES}" exec "{sys.executable}" "$@"\n')
    launcher.chmod(0o755)
    backend = LocalBackend.start(launcher, folder / "store", folder=REPOSITORY, options=("--config", str(config)))
    try:
        yield backend
    finally:
        backend.stop(20.0)


@contextmanager
def client(address: str, folder: Path) -> Iterator[Link]:
    """A connected link."""
    link = Link("benchmark", folder / f"client-{time.monotonic_ns()}")
    try:
        link.connect(address)
        link.health().result(WAIT_S)
        yield link
    finally:
        link.close(10.0)


def capture_of(folder: Path, views: int = 3, width: int = 64, seed: int = 0) -> CaptureSource:
    """Photos of noise; 3 bytes a pixel, since noise does not compress."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    sources = []
    for index in range(views):
        path = folder / f"{index}.png"
        Image.fromarray(random.integers(0, 255, (width, width, 3), np.uint8)).save(path, compress_level=0)
        pose = np.eye(4)
        pose[0, 3] = -0.1 * index
        K = np.array([[width, 0, width / 2], [0, width, width / 2], [0, 0, 1.0]])
        sources.append(ViewSource(path.name, path, Camera(K, pose, width, width)))
    return CaptureSource(tuple(sources))


def settings(steps: int, gaussians: int) -> dict[str, Any]:
    """Settings of the measured pipeline."""
    return {"preset": "draft", "seeding": {"max_seeds": gaussians}, "optimise": {"steps": steps}}


def wait_for(link: Link, job: JobInfo, *states: str) -> JobInfo:
    """Wait until a job is in one of some states."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = next(entry for entry in link.jobs().result(WAIT_S) if entry.job_id == job.job_id)
        if found.state in states:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"job is {found.state}")


# ---- transfer --------------------------------------------------------------------------------------------------------

def measure_transfer(folder: Path, rounds: int = 9) -> None:
    """One million Gaussians: the SH 3 result and the SH 0 preview, in turn with raw pyzmq; the first round is thrown
    away."""
    with server_process(folder) as backend, client(backend.wait_until_ready(WAIT_S), folder) as link:
        # Steps enough for a preview to be packed beside them.
        job = link.submit(capture_of(folder / "photos"), settings(500, MILLION)).result(WAIT_S)
        done = wait_for(link, job, "done")
        assert done.result is not None
        size, process = done.result.splat.size_bytes, backend.process.pid
        with raw_pyzmq(size, FETCH_BYTES) as raw:
            print(f"result, 1 M Gaussians, SH 3: {size / 1e6:.0f} MB in frames of {FETCH_BYTES >> 20} MiB, {rounds} "
                  f"rounds; SHA-256 alone {min(hash_seconds(size) for _ in range(3)) / size * 1e9:.2f} s a GB")
            compare(raw, size, rounds, {
                "service, the bytes (kept)": lambda: fetch_bytes(link, f"blob:{done.result.splat.sha256}", size),
                "service, fetch_result (kept and hashed)": lambda: link.fetch_result(done).result(WAIT_S)}, process)
            shown = newest_preview(link, job.job_id)
            print(f"preview, 1 M Gaussians, SH 0: {shown.size_bytes / 1e6:.0f} MB")
            compare(raw, shown.size_bytes, 3 * rounds, {
                "service, the bytes (kept)": lambda: fetch_bytes(
                    link, f"preview:{job.job_id}:{shown.number}", shown.size_bytes),
                "service, attach to Gaussians in hand": lambda: attach_and_show(link, job.job_id)}, process)


def newest_preview(link: Link, job_id: str) -> PreviewInfo:
    """The newest preview of a job."""
    link.poll(10_000)
    link.attach(job_id, preview_budget=None).result(WAIT_S)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        for update in link.poll():
            if isinstance(update, PreviewArrived):
                return update.info
        time.sleep(0.01)
    raise TimeoutError("the job has shown no preview")


def fetch_bytes(link: Link, name: str, size: int) -> None:
    """Download an object as the link does, without hashing or unpacking it."""
    ended = threading.Event()
    errors: list[ErrorInfo] = []

    def refused(error: ErrorInfo) -> None:
        errors.append(error)
        ended.set()

    # Past the public calls, which always hash a result and unpack a preview.
    link._engine.post(lambda: link._engine.downloads.add(
        Download(name, size, len, lambda received: ended.set(), refused)))
    ended.wait(WAIT_S)
    assert not errors, errors


def attach_and_show(link: Link, job_id: str) -> None:
    """Attach to a job and wait for its preview's Gaussians."""
    link.detach(job_id)
    link.attach(job_id, preview_budget=None).result(WAIT_S)
    while not any(isinstance(update, PreviewArrived) for update in link.poll()):
        time.sleep(0.0005)


# ---- answers, memory -------------------------------------------------------------------------------------------------

def measure_ping(folder: Path, rounds: int = 5) -> None:
    """Answers to pings while a job trains and 200 MB are uploaded, several times."""
    with server(folder) as address, client(address, folder) as training:
        job = training.submit(capture_of(folder / "photos"), settings(10**6, 100_000)).result(WAIT_S)
        wait_for(training, job, "training")
        host, port = address.removeprefix("tcp://").split(":")
        times: list[float] = []
        began, worst = 0.0, []
        for number in range(rounds):
            large = capture_of(folder / "large", views=12, width=2360, seed=number + 1)        # 12 photos of 16.7 MB
            upload = training.submit(large, settings(1, 1000)).result(WAIT_S)
            began -= time.perf_counter()
            found = raw_pings(host, int(port), lambda sent=upload: wait_state(training, sent, "uploading"))
            began += time.perf_counter()
            times += found
            worst.append(max(found))
            training.discard(upload.job_id).result(WAIT_S)
        training.discard(job.job_id).result(WAIT_S)
    times.sort()
    print(f"ping while training and uploading {rounds} x 200 MB ({200 * rounds / began:.0f} MB/s): {len(times)} pings, "
          f"median {1e3 * statistics.median(times):.1f} ms, 99 % {1e3 * times[int(0.99 * len(times))]:.1f} ms, "
          f"worst of each round {', '.join(f'{1e3 * value:.1f}' for value in worst)} ms")


def wait_state(link: Link, job: JobInfo, state: str) -> bool:
    """Whether a job is in a state now."""
    return any(entry.job_id == job.job_id and entry.state == state for entry in link.jobs().result(WAIT_S))


def raw_pings(host: str, port: int, go_on: Any) -> list[float]:
    """Times of pings from a plain socket, one after the other, as long as ``go_on()``."""
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.connect(f"tcp://{host}:{port}")
    peer.send_multipart(encode(Hello(1, 2, "ab" * 16, "ping", "0"), "h", 1))
    peer.recv_multipart()
    times: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while go_on():
            time.sleep(0.3)
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    while not stop.is_set():
        began = time.perf_counter()
        peer.send_multipart(encode(Ping(len(times)), "p"))
        assert isinstance(decode(peer.recv_multipart()).message, Pong)
        times.append(time.perf_counter() - began)
        time.sleep(0.01)
    context.destroy(linger=0)
    return times


def measure_memory(folder: Path) -> None:
    """Resident memory of the front process with ten clients that upload 1 GB together."""
    with server(folder) as address:
        links = [Link(f"client {number}", folder / f"client-{number}") for number in range(10)]
        for link in links:
            link.connect(address)
        start = links[0].health().result(WAIT_S).resident_bytes or 0
        captures = [capture_of(folder / f"photos{number}", views=6, width=2360, seed=number) for number in range(10)]
        futures = [link.submit(capture, settings(1, 1000)) for link, capture in zip(links, captures, strict=True)]
        peak, began = start, time.monotonic()
        jobs: list[JobInfo] = []
        while True:
            peak = max(peak, links[0].health().result(WAIT_S).resident_bytes or 0)
            jobs = [future.result() for future in futures if future.done()]
            states = [entry.state for entry in links[0].jobs().result(WAIT_S)]
            if len(jobs) == 10 and "uploading" not in states:
                break
            time.sleep(0.05)
        seconds = time.monotonic() - began
        total = sum(view.image.stat().st_size for capture in captures for view in capture.views)
        for link in links:
            link.close()
    print(f"front process: {start / 1e6:.0f} MB at start, {peak / 1e6:.0f} MB at most while ten clients upload "
          f"{total / 1e9:.2f} GB in {seconds:.0f} s ({total / seconds / 1e6:.0f} MB/s, hashed on both sides)")


# ---- overhead --------------------------------------------------------------------------------------------------------

BARE = """
import json, sys
sys.path[:0] = [{repository!r}, {pipelines!r}]
from pathlib import Path
from interngs.config import PipelineConfig
from interngs.events import Done
from interngs.scene.capture import Capture
from measured_pipeline import reconstruct
for event in reconstruct(Capture(()), PipelineConfig.from_dict({settings!r}), Path({folder!r})):
    if isinstance(event, Done):
        print(json.dumps([event.report["seconds"], event.report["cpu_seconds"]]))
"""


def measure_overhead(folder: Path, rounds: int = 4, steps: int = 4000) -> None:
    """Time of a training's steps in a worker of the service, previews watched, against the bare pipeline, in turn."""
    chosen = settings(steps, 100_000)
    os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    bare, served, front = [], [], []
    with server_process(folder) as backend, client(backend.wait_until_ready(WAIT_S), folder) as link:

        def run_bare(number: int) -> None:
            code = BARE.format(repository=str(REPOSITORY), pipelines=str(PIPELINES), settings=chosen,
                               folder=str(folder / f"bare{number}"))
            # At the worker's priority, so that both meet the same competition.
            output = subprocess.run(["nice", "-n", "5", sys.executable, "-c", code], capture_output=True, text=True,
                                    check=True)
            bare.append(json.loads(output.stdout))

        def run_served(number: int) -> None:
            job = link.submit(capture_of(folder / "photos"), {**chosen, "seed": number}, preview_budget=None
                              ).result(WAIT_S)
            wait_for(link, job, "training")
            before = cpu_seconds(backend.process.pid)
            done = wait_until_ended(link, job)
            front.append(cpu_seconds(backend.process.pid) - before)
            found = link.fetch_result(done).result(WAIT_S).report
            served.append((found["seconds"], found["cpu_seconds"]))

        for number in range(rounds):
            for run in (run_bare, run_served) if number % 2 else (run_served, run_bare):
                run(number)
    print(f"{rounds} rounds in turn, seconds bare and in the service: "
          + ", ".join(f"{one[0]:.2f} {other[0]:.2f}" for one, other in zip(bare, served, strict=True)))
    (bare_s, bare_cpu_s), (served_s, served_cpu_s) = (np.median(values, axis=0) for values in (bare, served))
    front_s = statistics.median(front)
    print(f"training steps, medians: bare {bare_s:.2f} s, in the service {served_s:.2f} s, overhead "
          f"{100 * (served_s / bare_s - 1):.1f} %; processor time {bare_cpu_s:.2f} s, in the worker {served_cpu_s:.2f} "
          f"s with previews and reports ({100 * (served_cpu_s / bare_cpu_s - 1):.1f} %), and {front_s:.2f} s of the "
          f"front process ({100 * front_s / bare_cpu_s:.1f} %)")


def wait_until_ended(link: Link, job: JobInfo) -> JobInfo:
    """Take what a client is told until its job has ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for update in link.poll(10_000):
            if isinstance(update, JobChanged) and update.job.job_id == job.job_id and update.job.state in ENDED:
                return update.job
        time.sleep(0.05)
    raise TimeoutError("the job has not ended")


# ---- many clients ----------------------------------------------------------------------------------------------------

def _idle_clients(address: str, folder: str, count: int, watched: str, watching: int, seconds: float,
                  results: Any) -> None:
    """``count`` links in one process, of which ``watching`` watch a job; reports how many were ever slow or lost."""
    links = []
    for number in range(count):
        link = Link(f"idle {number}", Path(folder) / f"idle-{os.getpid()}-{number}")
        link.connect(address)
        links.append(link)
        time.sleep(0.01)
    deadline = time.monotonic() + 60
    while not all(link.state.is_up for link in links) and time.monotonic() < deadline:
        time.sleep(0.1)
    for link in links:
        link.poll(10_000)
    for link in links[:watching]:
        link.attach(watched, preview_budget=None)
    slow = lost = previews = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for link in links:
            for update in link.poll(1000):
                if isinstance(update, StateChanged):
                    slow += update.state.phase == "slow"
                    lost += update.state.phase == "lost"
                previews += isinstance(update, PreviewArrived)
        time.sleep(0.05)
    up = sum(link.state.is_up for link in links)
    trips = [link.state.round_trip_s for link in links if link.state.round_trip_s is not None]
    for link in links:
        link.close()
    results.put((up, slow, lost, previews, max(trips)))


def measure_clients(folder: Path, seconds: float = 30.0) -> None:
    """200 connected clients, 20 of them watching a job."""
    spawn = multiprocessing.get_context("spawn")
    with server(folder) as address, client(address, folder) as link:
        job = link.submit(capture_of(folder / "photos"), settings(10**6, 20_000)).result(WAIT_S)
        wait_for(link, job, "training")
        results = spawn.Queue()
        arguments = (address, str(folder), 50, job.job_id, 5, seconds, results)
        processes = [spawn.Process(target=_idle_clients, args=arguments) for _ in range(4)]
        for process in processes:
            process.start()
        found = [results.get(timeout=WAIT_S) for _ in processes]
        for process in processes:
            process.join()
        health = link.health().result(WAIT_S)
        link.discard(job.job_id).result(WAIT_S)
    up, slow, lost, previews = (sum(row[i] for row in found) for i in range(4))
    print(f"200 clients, 20 watching, {seconds:.0f} s: {up} up at the end, {slow} late and {lost} missed heartbeats, "
          f"{previews} previews, slowest heartbeat {1e3 * max(row[4] for row in found):.0f} ms; front process "
          f"{(health.resident_bytes or 0) / 1e6:.0f} MB")


MEASUREMENTS = {"transfer": measure_transfer, "ping": measure_ping, "memory": measure_memory,
                "overhead": measure_overhead, "clients": measure_clients}


def main() -> None:
    """Run the measurements named on the command line, or all."""
    for name in sys.argv[1:] or MEASUREMENTS:
        with tempfile.TemporaryDirectory() as folder:
            MEASUREMENTS[name](Path(folder))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
