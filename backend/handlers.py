# SPDX-License-Identifier: GPL-3.0-or-later
"""One small function for each request of the control lane: message in, answer out."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from interngs import __version__
from interngs.config import PipelineConfig
from interngs.errors import InputError
from interngs.wire.codec import decode, encode
from interngs.wire.errors import ServiceError
from interngs.wire.limits import JOBS_PAGE, NAME_CHARACTERS
from interngs.wire.messages import (
    Accepted,
    Attach,
    Attached,
    CommandJob,
    Detach,
    Done,
    EventAck,
    GetHealth,
    GetInputs,
    HealthReport,
    Hello,
    JobList,
    JobStateAnswer,
    ListJobs,
    Message,
    PreflightCapture,
    PreflightReport,
    Submit,
    Welcome,
)
from interngs.wire.records import (
    RENDER_PRESET,
    CaptureRecord,
    Finding,
    Health,
    Preflight,
    ServerInfo,
    Settings,
    check_id,
)
from interngs.wire.states import WAITING
from interngs.wire.version import CAPABILITIES, PROTOCOL, PROTOCOL_MIN, agree

from .health import disk_bytes, priors, resident_bytes
from .preflight import estimate, judge
from .session import Session

if TYPE_CHECKING:
    from .service import Service

_LOG = logging.getLogger(__name__)
_STORED = (Submit, CommandJob)
"""Requests that change something: their answers are stored with the change, and a repeat gets the stored one."""
_SERVER_SETTINGS = ("device", "threads")


def answer_request(service: Service, session: Session, message: Message, request_id: str) -> None:
    """Answer one request of a session.

    Raises:
        InternGSError: the request is refused.
    """
    if isinstance(message, Hello):
        service.send(session, _hello(service, session, message), request_id)
        return
    if not session.ready:
        raise ServiceError("hello-first", "The server does not know this connection.", "Say hello first.")
    handler = _HANDLERS.get(type(message))
    if handler is None:
        raise ServiceError("bad-message", f"A {type(message).__name__} is no request.", "Update the client.")
    if not isinstance(message, _STORED):
        answer = handler(service, session, message)
        if answer is not None:
            service.send(session, answer, request_id)
            if isinstance(message, Attach):
                service.streams.catch_up(session, message.job_id)
        return
    check_id(request_id)
    stored = service.store.reply(session.owner, session.client_id, request_id)
    if stored is None:
        answer = handler(service, session, message)
        assert answer is not None
        service.store.add_reply(session.owner, session.client_id, request_id, bytes(encode(answer, request_id)[0]))
    else:
        answer = decode([stored]).message
    service.send(session, answer, request_id)


def _hello(service: Service, session: Session, hello: Hello) -> Welcome:
    protocol = agree(hello.protocol_min, hello.protocol_max)
    if protocol is None:
        side = "the server" if hello.protocol_min > PROTOCOL else "the client"
        raise ServiceError("protocol-unsupported", f"Client and server have no protocol in common: the server speaks "
                           f"{PROTOCOL_MIN} to {PROTOCOL}, the client {hello.protocol_min} to {hello.protocol_max}.",
                           f"Update {side}.")
    lacking = sorted(set(hello.requires) - set(CAPABILITIES))
    if lacking:
        raise ServiceError("capability-missing", f"The server cannot do: {', '.join(lacking)[:NAME_CHARACTERS]}.",
                           "Update the server.")
    session.client_id = check_id(hello.client_id)
    session.client_name = hello.client_name[:NAME_CHARACTERS]
    session.protocol, session.ready = protocol, True
    _LOG.info("hello", extra={"client": session.client_id[:8], "protocol": protocol, "version": hello.version[:20]})
    lifecycle, config = service.lifecycle, service.config
    info = ServerInfo(
        server_id=service.server_id, epoch=service.epoch, version=__version__, protocol=protocol,
        heartbeat_s=config.heartbeat_s, heartbeat_misses=config.heartbeat_misses, capabilities=CAPABILITIES,
        limits=config.limits, devices=service.devices.infos(), priors=priors(),
        workers=lifecycle.executor.workers if lifecycle.executor is not None else 0,
        queue_length=lifecycle.count(None, WAITING), stored_bytes=service.store.stored_bytes(session.owner))
    return Welcome(info, session.token, service.bulk_port)


def _settings_of(settings: Settings) -> dict[str, Any]:
    """A client's settings made whole and checked; what the server decides is not the client's to set."""
    for name in _SERVER_SETTINGS:
        if name in settings:
            raise InputError("unknown-setting", f"The server decides on {name!r} itself.", "Leave it out.")
    whole = PipelineConfig.from_dict(settings).to_dict()
    return {name: value for name, value in whole.items() if name not in _SERVER_SETTINGS}


def _preflight(service: Service, session: Session, message: PreflightCapture) -> PreflightReport:
    findings = judge(message.capture, service.config.limits)
    seconds, memory_bytes = 0.0, 0
    try:
        config = PipelineConfig.from_dict(_settings_of(message.settings))
        seconds, memory_bytes = estimate(message.capture, config, service.devices.has_gpu)
    except InputError as error:
        findings.append(Finding("error", error.code, error.cause, error.remedy))
    missing = tuple(ref for ref in message.capture.blobs() if not service.store.has_blob(session.owner, ref.sha256))
    return PreflightReport(Preflight(not any(finding.level == "error" for finding in findings), tuple(findings),
                                     seconds, memory_bytes, sum(ref.size_bytes for ref in missing), missing))


def _submit(service: Service, session: Session, message: Submit) -> Accepted:
    service.check_accepts_work()
    settings = _settings_of(message.settings)
    config = PipelineConfig.from_dict(settings)
    if message.capture.render is not None:
        settings = {"preset": RENDER_PRESET}    # the rest is in its frames
    _refuse_errors(message.capture, service)
    lifecycle, limits = service.lifecycle, service.config.limits
    if lifecycle.count(session.owner, WAITING) >= limits.jobs_waiting or (
            lifecycle.count(None, WAITING) >= limits.jobs_waiting_total):
        raise ServiceError("queue-full", "Too many jobs wait already.", "Try again when some of them are done.")
    needed = sum(ref.size_bytes for ref in message.capture.blobs()
                 if not service.store.has_blob(session.owner, ref.sha256))
    lifecycle.make_room(session.owner, needed)
    expected_s, _ = estimate(message.capture, config, service.devices.has_gpu)
    job = lifecycle.create(session, message.capture, settings, message.title, message.priority, expected_s)
    service.note_queue_changed()
    return Accepted(lifecycle.info(job), tuple(service.store.missing_inputs(job.job_id)))


def _refuse_errors(capture: CaptureRecord, service: Service) -> None:
    errors = [finding for finding in judge(capture, service.config.limits) if finding.level == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ServiceError(errors[0].code, errors[0].cause + more, errors[0].remedy)


def _inputs(service: Service, session: Session, message: GetInputs) -> Accepted:
    job = service.lifecycle.job_of(session.owner, message.job_id)
    missing = service.store.missing_inputs(job.job_id) if job.state in ("draft", "uploading") else []
    return Accepted(service.lifecycle.info(job), tuple(missing))


def _list_jobs(service: Service, session: Session, message: ListJobs) -> JobList:
    own = [job for job in service.lifecycle.jobs.values() if job.owner == session.owner]
    own.sort(key=lambda job: job.created_s, reverse=True)
    page = own[max(0, message.offset):][:JOBS_PAGE]
    service.lifecycle.place()
    return JobList(tuple(service.lifecycle.info(job) for job in page), len(own))


def _attach(service: Service, session: Session, message: Attach) -> Attached:
    job = service.lifecycle.job_of(session.owner, message.job_id)
    if not service.streams.attach(session, job.job_id, max(0, min(message.after_seq, job.last_seq))):
        raise ServiceError("limit-exceeded", "This client watches too many jobs.", "Detach from some.")
    return Attached(service.lifecycle.info(job), service.lifecycle.previews.get(job.job_id))


def _detach(service: Service, session: Session, message: Detach) -> Done:
    service.streams.detach(session, message.job_id)
    return Done()


def _command(service: Service, session: Session, message: CommandJob) -> JobStateAnswer:
    job = service.lifecycle.job_of(session.owner, message.job_id)
    if message.command == "resume":
        service.check_accepts_work()
    job = service.lifecycle.command(job, message.command)
    service.note_queue_changed()
    return JobStateAnswer(service.lifecycle.info(job))


def _event_ack(service: Service, session: Session, message: EventAck) -> None:
    service.streams.acknowledge(session, message.job_id, message.seq)


def _health(service: Service, session: Session, message: GetHealth) -> HealthReport:
    free, total = disk_bytes(service.config.store)
    states = Counter(job.state for job in service.lifecycle.jobs.values())
    executor = service.lifecycle.executor
    return HealthReport(Health(
        version=__version__, epoch=service.epoch, uptime_s=time.monotonic() - service.started_s,
        devices=service.devices.infos(), disk_free_bytes=free, disk_total_bytes=total,
        accepts_work=service.accepts_work, sessions=len(service.sessions),
        jobs={str(state): count for state, count in states.items()},
        workers=executor.workers if executor is not None else 0, resident_bytes=resident_bytes()))


_HANDLERS: dict[type[Message], Callable[[Any, Session, Any], Message | None]] = {
    PreflightCapture: _preflight, Submit: _submit, GetInputs: _inputs, ListJobs: _list_jobs, Attach: _attach,
    Detach: _detach, CommandJob: _command, EventAck: _event_ack, GetHealth: _health,
}
