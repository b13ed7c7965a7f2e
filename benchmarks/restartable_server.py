# SPDX-License-Identifier: GPL-3.0-or-later
"""A server for load and soak runs that can be killed and started again on its store and port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PIPELINES = Path(__file__).resolve().parent / "service_pipelines"
START_S = 180.0


@dataclass(eq=False)
class Server:
    """A server process that runs the tiny pipeline, on this machine or on a Ray cluster of this machine."""

    folder: Path
    executor: str
    workers: int
    process: subprocess.Popen[bytes] | None = None
    address: str = "tcp://127.0.0.1:0"

    @property
    def store(self) -> Path:
        """The folder of jobs and blobs."""
        return self.folder / "store"

    @property
    def log(self) -> Path:
        """Where the pipeline notes starts and ends."""
        return self.folder / "tiny.log"

    def start(self) -> Server:
        """Start it and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ready, config = self.folder / "ready.json", self.folder / "server.toml"
        ready.unlink(missing_ok=True)
        paths = os.pathsep.join([str(REPOSITORY), str(PIPELINES)])
        config.write_text(
            f'pipeline = "tiny_pipeline:reconstruct"\nexecutor = "{self.executor}"\ncpu_slots = {self.workers}\n'
            f"min_free_bytes = 0\ntries = 1000\n[ray]\njobs = {self.workers}\n"
            f"environment = {{ PYTHONPATH = {json.dumps(paths)}, TINY_LOG = {json.dumps(str(self.log))} }}\n"
            "[limits]\njobs_waiting = 10000\njobs_waiting_total = 10000\njobs_kept = 10000\n", encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": paths, "TINY_LOG": str(self.log)}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend", "--config", str(config), "--store", str(self.store), "--listen",
                 self.address, "--ready-file", str(ready)], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.05)
        self.address = json.loads(ready.read_text())["address"]
        return self

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in good order."""
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(60.0)
        except subprocess.TimeoutExpired:
            self.kill()

    def resident_bytes(self) -> int:
        """Resident memory of the front process."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def noted(self) -> list[tuple[str, str, int]]:
        """What the pipeline noted: (job id, ``start``, ``stopped`` or ``done``, step)."""
        if not self.log.exists():
            return []
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [(job, what, int(step)) for job, what, step in rows]
