# SPDX-License-Identifier: GPL-3.0-or-later
"""Every event in order within a window; the newest of everything else."""

from __future__ import annotations

import pytest

from backend.session import Session
from backend.stream import SLOTS_PER_PING, Streams
from interngs.wire.limits import EVENT_WINDOW
from interngs.wire.messages import EventPush, PreviewPush, ProgressPush
from interngs.wire.records import JobEvent, PreviewInfo, ProgressInfo

JOB = "ab" * 16
MOST_JOBS = 20


class Recorded:
    """Streams over a list of events, and what they sent."""

    def __init__(self) -> None:
        self.events: list[JobEvent] = []
        self.sent: list[tuple[Session, object]] = []
        self.streams = Streams(lambda session, message: self.sent.append((session, message)), self._read, MOST_JOBS)

    def _read(self, job_id: str, after_seq: int, most: int) -> list[JobEvent]:
        return [event for event in self.events if event.seq > after_seq][:most]

    def happen(self, count: int = 1) -> None:
        for _ in range(count):
            event = JobEvent(len(self.events) + 1, "log", 0.0)
            self.events.append(event)
            self.streams.on_event(JOB, event)

    def seqs(self, session: Session) -> list[int]:
        return [message.event.seq for to, message in self.sent if to is session and isinstance(message, EventPush)]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def session() -> Session:
    return Session(b"r", "local")


def test_a_late_client_catches_up_and_goes_on_live(recorded, session):
    recorded.happen(5)
    recorded.streams.attach(session, JOB, 2)
    recorded.streams.catch_up(session, JOB)
    recorded.happen(2)
    assert recorded.seqs(session) == [3, 4, 5, 6, 7]


def test_the_window_bounds_what_is_on_its_way_and_loses_nothing(recorded, session):
    recorded.streams.attach(session, JOB, 0)
    recorded.happen(EVENT_WINDOW + 50)
    assert recorded.seqs(session) == list(range(1, EVENT_WINDOW + 1))
    recorded.streams.acknowledge(session, JOB, 10)
    assert recorded.seqs(session) == list(range(1, EVENT_WINDOW + 11))
    recorded.streams.acknowledge(session, JOB, 5)                   # old news
    recorded.streams.acknowledge(session, JOB, 10_000)              # never sent
    assert len(recorded.seqs(session)) == EVENT_WINDOW + 10
    recorded.streams.acknowledge(session, JOB, EVENT_WINDOW + 10)
    recorded.happen(3)
    assert recorded.seqs(session) == list(range(1, EVENT_WINDOW + 54))


def test_progress_is_newest_wins_for_a_reader_that_gives_no_sign_of_life(recorded, session):
    recorded.streams.attach(session, JOB, 0)
    for step in range(SLOTS_PER_PING + 100):
        recorded.streams.on_progress(JOB, ProgressInfo("optimise", step, 1000))
    recorded.streams.on_preview(JOB, PreviewInfo(1, 1, 1, 1))
    recorded.streams.on_preview(JOB, PreviewInfo(2, 2, 2, 2))
    assert len(recorded.sent) == SLOTS_PER_PING
    recorded.streams.on_sign_of_life(session)
    late = [message for _, message in recorded.sent[SLOTS_PER_PING:]]
    assert late == [ProgressPush(JOB, ProgressInfo("optimise", SLOTS_PER_PING + 99, 1000)),
                    PreviewPush(JOB, PreviewInfo(2, 2, 2, 2))]


def test_an_undone_event_is_sent_when_it_happens_again(recorded, session):
    recorded.streams.attach(session, JOB, 0)
    recorded.happen(3)
    recorded.events.pop()
    recorded.streams.rewind(JOB, 2)
    recorded.happen(2)
    assert recorded.seqs(session) == [1, 2, 3, 3, 4]      # the third was never out before: it stood behind the commit


def test_who_left_is_told_nothing(recorded, session):
    recorded.streams.attach(session, JOB, 0)
    recorded.streams.drop(session)
    recorded.happen()
    recorded.streams.on_progress(JOB, ProgressInfo("optimise", 1, 2))
    recorded.streams.catch_up(session, JOB)
    assert recorded.sent == [] and not recorded.streams.is_watched(JOB)


def test_attachments_have_a_bound(recorded, session):
    for number in range(MOST_JOBS):
        assert recorded.streams.attach(session, f"{number:032x}", 0)
    assert not recorded.streams.attach(session, JOB, 0)
    assert recorded.streams.attach(session, f"{0:032x}", 0)
    recorded.streams.detach(session, f"{0:032x}")
    assert recorded.streams.attach(session, JOB, 0)


def test_a_job_that_is_no_more_takes_no_place(recorded, session):
    for number in range(3 * MOST_JOBS):
        assert recorded.streams.attach(session, f"{number:032x}", 0)
        recorded.streams.end(f"{number:032x}")
        assert not recorded.streams.is_watched(f"{number:032x}")
