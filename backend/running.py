# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as a whole: builds its threads, starts them, and ends them in good order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import zmq

from interngs.errors import InputError
from interngs.link.address import format_address

from .bulk import BulkLane
from .config import ServerConfig, validate_config
from .executor.base import Executor
from .executor.local import LocalExecutor
from .executor.ray import RayExecutor
from .health import Devices
from .server import ControlLane
from .service import Service
from .session import Sessions

_LOG = logging.getLogger(__name__)


class Server:
    """Control lane, bulk lane, service and executor of one process."""

    def __init__(self, config: ServerConfig) -> None:
        """Check the settings, bind the sockets, open the store.

        Raises:
            InternGSError: unsafe or impossible settings, address or store in use, keys missing.
        """
        validate_config(config)
        self.config = config
        self.failed = False
        self.stopped = threading.Event()
        self.devices = Devices(config)
        if config.executor == "local" and not self.devices.slots():
            raise InputError("no-gpu", "There is no NVIDIA GPU that gsplat can use.",
                             "Install gsplat for this GPU, or start with device = 'cpu'.")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=2)
        sessions = Sessions()
        try:
            self._control = ControlLane(self._context, config, sessions)
            self._bulk = BulkLane(self._context, config, sessions, self._control.port)
            self.service = Service(config, sessions, self.devices, self._control.post, self._bulk.post)
            self.service.bulk_port = self._bulk.port
            self._control.service = self._bulk.service = self.service
            self._threads = [self._thread("control", self._control.run), self._thread("bulk", self._bulk.run)]
            self._service_thread = self._start_service()
        except BaseException:
            self._context.destroy(linger=0)
            raise

    @property
    def address(self) -> str:
        """Where clients connect."""
        return format_address(self.config.host, self._control.port)

    def start(self) -> None:
        """Begin to answer."""
        self.devices.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End in good order: running jobs write a checkpoint and go on at the next start."""
        self.devices.stop()
        self.service.stop()
        self._service_thread.join()
        for lane in (self._control, self._bulk):
            lane.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._context.destroy(linger=500)

    def _start_service(self) -> threading.Thread:
        """Start the service's thread, which opens the store first, and wait until that is done."""
        opened = threading.Event()
        trouble: list[BaseException] = []

        def run() -> None:
            try:
                self.service.open(self._make_executor)
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread below
                trouble.append(error)
                return
            finally:
                opened.set()
            self.service.run()

        thread = self._thread("service", run)
        thread.start()
        opened.wait()
        if trouble:
            raise trouble[0]
        return thread

    def _make_executor(self, service: Service) -> Executor:
        config = self.config
        if config.executor == "ray":
            keep = [job.job_id for job in service.lifecycle.jobs.values() if job.state != "done"]
            return RayExecutor(config.ray, config.store, service.server_id, keep, config.tries, service.post_report,
                               self.devices.show_cluster)
        return LocalExecutor(self.devices.slots(), service.post_report, self.devices.gpu_has_room,
                             config.worker_niceness)

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
        """A thread whose failure ends the server instead of leaving half of it."""
        def guarded() -> None:
            try:
                run()
            except Exception:  # noqa: BLE001 - the last frame of a thread
                _LOG.exception("the %s thread failed; the server ends", name)
                self.failed = True
                self.stopped.set()

        return threading.Thread(target=guarded, name=name, daemon=True)
