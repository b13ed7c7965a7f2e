# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers in their own processes, a capture of small photos, and links to them."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.keys import KeyFolder
from interngs.link import CaptureSource, Link, Update, ViewSource
from interngs.link.updates import EventArrived, JobChanged
from interngs.scene.cameras import Camera
from interngs.wire.records import JobEvent, JobInfo

REPOSITORY = Path(__file__).resolve().parents[2]
PIPELINES = Path(__file__).parent / "pipelines"
NODE = {"include_dashboard": False, "object_store_memory": 80_000_000}
sys.path.insert(0, str(PIPELINES))
sys.path.append(str(REPOSITORY / "tools"))

from server_process import ServerProcess  # noqa: E402


def patience() -> float:
    """How much longer things may take than on a quiet machine: the load per core, 1 at least."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 1.0
    return max(1.0, 1.5 * load / (os.cpu_count() or 1))


def settings(steps: int = 40, seed: int = 0, gaussians: int = 500, checkpoint_every: int = 10) -> dict[str, Any]:
    """Settings that the stand-in pipeline understands."""
    return {"preset": "draft", "seed": seed, "seeding": {"max_seeds": gaussians},
            "optimise": {"steps": steps, "checkpoint_every_steps": checkpoint_every}}


def ring_camera(index: int, count: int, width: int, height: int) -> Camera:
    """A camera on an arc around the origin, looking at it."""
    angle = 0.8 * index / max(count - 1, 1)
    centre = np.array([4 * np.sin(angle), 0.0, -4 * np.cos(angle)])
    forward = -centre / np.linalg.norm(centre)
    right = np.cross([0.0, 1.0, 0.0], forward)
    rotation = np.stack([right / np.linalg.norm(right), np.cross(forward, right / np.linalg.norm(right)), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ centre
    return Camera(np.array([[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]), pose, width, height)


def make_capture(folder: Path, views: int = 3, side: int = 48, seed: int = 0) -> CaptureSource:
    """A capture of noise photos; ``seed`` changes their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    sources = []
    for index in range(views):
        path = folder / f"view{index}.png"
        Image.fromarray(random.integers(0, 255, (side, side + 8, 3), dtype=np.uint8)).save(path)
        sources.append(ViewSource(f"view{index}.png", path, ring_camera(index, views, side + 8, side)))
    return CaptureSource(tuple(sources), "made for a test")


class RunningServer(ServerProcess):
    """A server of the stand-in pipeline, and what that noted."""

    @property
    def work_log(self) -> Path:
        return self.folder / "work.log"

    def start(self) -> RunningServer:
        self.pipelines, self.patience = PIPELINES, patience
        self.environment.setdefault("STAND_IN_LOG", str(self.work_log))
        self.options.setdefault("pipeline", "stand_in_pipeline:reconstruct")
        self.options.setdefault("min_free_bytes", 0)
        self.options.setdefault("heartbeat_s", 0.5)
        self.options.setdefault("worker_niceness", 0)    # tests of timing run on busy machines
        super().start()
        return self

    def work(self) -> list[tuple[str, int, str, int, float]]:
        """What the stand-in pipeline noted: (job id, process, what, step, time)."""
        if not self.work_log.exists():
            return []
        return [tuple(json.loads(line)) for line in self.work_log.read_text().splitlines()]


@dataclass(eq=False)
class Follower:
    """A link with everything it was told, for tests that wait for something."""

    link: Link
    updates: list[Update] = field(default_factory=list)

    def wait_for(self, found: Callable[[Follower], Any], timeout_s: float = 20.0) -> Any:
        """Poll until ``found`` gives something true."""
        deadline = time.monotonic() + timeout_s * patience()
        while time.monotonic() < deadline:
            self.updates += self.link.poll()
            if result := found(self):
                return result
            time.sleep(0.01)
        kinds = [type(update).__name__ for update in self.updates[-10:]]
        raise AssertionError(f"not seen in {timeout_s} s; link {self.link.state.phase} {self.link.state.error}, "
                             f"last updates {kinds}, jobs {[(j.state, j.wanted) for j in self.jobs().values()]}")

    def jobs(self) -> dict[str, JobInfo]:
        """The newest record of each job."""
        return {update.job.job_id: update.job for update in self.updates if isinstance(update, JobChanged)}

    def events(self, job_id: str) -> list[JobEvent]:
        return [update.event for update in self.updates if isinstance(update, EventArrived) and update.job_id == job_id]

    def wait_until(self, job_id: str, *states: str, timeout_s: float = 20.0) -> JobInfo:
        """Wait until a job is in one of some states."""
        def found(follower: Follower) -> JobInfo | None:
            job = follower.jobs().get(job_id)
            return job if job is not None and job.state in states else None

        return self.wait_for(found, timeout_s)

    def wait_connected(self, timeout_s: float = 20.0) -> None:
        self.wait_for(lambda follower: follower.link.state.is_up, timeout_s)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster of one machine with two CPUs, in processes of its own; tests may add machines."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("only on Linux: the package Ray is not installed")
    # Before Ray is imported.  The token keeps other programs of this machine out; servers inherit it.
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
                       "RAY_AUTH_TOKEN": secrets.token_hex(24)})
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for attempt in range(4):
        try:
            cluster.add_node(num_cpus=2, **NODE)
            break
        except Exception:    # bare Exception is what Ray raises when the machine is too busy for its 30 s
            if attempt == 3:
                raise
            cluster = Cluster()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def start_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers; all are ended with the test.  The parameter ``ray`` lets their jobs run on a Ray cluster."""
    servers: list[RunningServer] = []
    cluster = request.getfixturevalue("ray_cluster") if getattr(request, "param", "local") == "ray" else None

    def start(name: str = "server", arguments: tuple[str, ...] = (), environment: dict[str, str] | None = None,
              with_keys: bool = False, **options: Any) -> RunningServer:
        if cluster is not None:
            ray = {"address": cluster.address, "jobs": 1, **options.get("ray", {})}
            options = {**options, "executor": "ray", "ray": ray}
        server = RunningServer(tmp_path / name, dict(options), dict(environment or {}), arguments)
        servers.append(server)
        if with_keys:
            KeyFolder(server.keys).make_server_key()
        return server.start()

    yield start
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.stop()


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Follower]]:
    """Connects links; all are closed with the test."""
    followers: list[Follower] = []

    def connect(address: str, name: str = "client", wait: bool = True) -> Follower:
        follower = Follower(Link(name, tmp_path / f"client-{name}"))
        followers.append(follower)
        follower.link.connect(address)
        if wait:
            follower.wait_connected()
        return follower

    yield connect
    for follower in followers:
        assert follower.link.close(5.0)


@pytest.fixture
def capture(tmp_path: Path) -> CaptureSource:
    """Three posed photos."""
    return make_capture(tmp_path / "photos")


@pytest.fixture
def settings_of() -> Callable[..., dict[str, Any]]:
    """Makes settings for the stand-in pipeline."""
    return settings


@pytest.fixture
def make_capture_in() -> Callable[..., CaptureSource]:
    """Makes captures of noise photos."""
    return make_capture


@pytest.fixture
def patience_factor() -> float:
    """How much longer things may take than on a quiet machine."""
    return patience()
