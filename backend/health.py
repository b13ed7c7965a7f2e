# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the machine: GPUs by nvidia-smi, memory, disk; without torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import threading
from pathlib import Path

from interngs.priors.weights import list_models
from interngs.wire.records import DeviceInfo, PriorInfo

from .config import ServerConfig
from .executor.local import Slot

_QUERY = ["nvidia-smi", "--query-gpu=index,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
_REFRESH_S = 5.0
_MEBIBYTE = 1 << 20


class Devices:
    """The devices that jobs can run on; free GPU memory is kept fresh by a thread."""

    def __init__(self, config: ServerConfig) -> None:
        """Look once; ``start`` keeps looking.

        ``config.device`` ``cuda`` without a usable GPU leaves no slots: the server says so and refuses to start.
        """
        self._config = config
        wanted = config.device in ("auto", "cuda")
        self._cluster: DeviceInfo | None = None
        self._gpus = query_gpus() if wanted and importlib.util.find_spec("gsplat") is not None else {}
        self._stop = threading.Event()

    def start(self) -> None:
        """Keep free memory fresh."""
        if self._gpus:
            threading.Thread(target=self._refresh, name="devices", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def _refresh(self) -> None:
        while not self._stop.wait(_REFRESH_S):
            self._gpus = query_gpus() or self._gpus

    def slots(self) -> list[Slot]:
        """A slot per GPU, else the CPU's."""
        threads = self._config.threads
        cores = os.cpu_count() or 1
        if self._gpus:
            return [Slot(index, threads or max(1, cores // len(self._gpus)), "cuda") for index in self._gpus]
        if self._config.device == "cuda":
            return []
        count = self._config.cpu_slots
        return [Slot(None, threads or max(1, cores // count), self._config.device)] * count

    def gpu_has_room(self, index: int) -> bool:
        """Whether a GPU has the free memory that a job needs to start."""
        gpu = self._gpus.get(index)
        return gpu is not None and (gpu.free_bytes or 0) >= self._config.min_gpu_free_bytes

    def show_cluster(self, cluster: DeviceInfo) -> None:
        """Jobs run on a cluster, not here; from any thread."""
        self._cluster = cluster

    @property
    def has_gpu(self) -> bool:
        """Whether jobs run on GPUs."""
        return self.infos()[0].kind == "cuda"

    def infos(self) -> tuple[DeviceInfo, ...]:
        """The devices for the hello."""
        if self._cluster is not None:
            return (self._cluster,)
        if self._gpus:
            return tuple(self._gpus.values())
        return (DeviceInfo(f"CPU, {os.cpu_count() or 1} cores", "cpu", total_memory_bytes()),)


def query_gpus() -> dict[int, DeviceInfo]:
    """NVIDIA GPUs by index; empty where there are none."""
    if shutil.which("nvidia-smi") is None:
        return {}
    try:
        output = subprocess.run(_QUERY, capture_output=True, text=True, timeout=20.0, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_gpus(output)


def parse_gpus(output: str) -> dict[int, DeviceInfo]:
    """GPUs from the lines of ``nvidia-smi``: index, name, total and free MiB."""
    found = {}
    for line in output.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[0].isdecimal() and parts[2].isdecimal() and parts[3].isdecimal():
            found[int(parts[0])] = DeviceInfo(parts[1], "cuda", int(parts[2]) * _MEBIBYTE, int(parts[3]) * _MEBIBYTE)
    return found


def total_memory_bytes() -> int | None:
    """The machine's memory; None where the system does not say."""
    if not hasattr(os, "sysconf"):
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def resident_bytes() -> int | None:
    """Resident memory of this process; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def disk_bytes(folder: Path) -> tuple[int, int]:
    """(free, total) bytes of the disk of a folder."""
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


def priors() -> tuple[PriorInfo, ...]:
    """The ways to geometry that need no weights, and every known model, those that the user added included: whether
    its files are on this machine."""
    own = "GPL-3.0-or-later"
    models = (PriorInfo(state.model.name, state.found is not None, state.model.licence, state.model.commercial_use)
              for state in list_models())
    return (PriorInfo("plane-sweep", True, own, True), PriorInfo("given-depth", True, own, True), *models)
