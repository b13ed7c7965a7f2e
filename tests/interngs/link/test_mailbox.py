# SPDX-License-Identifier: GPL-3.0-or-later
"""Newest wins in slots, every event kept, order as it came."""

from __future__ import annotations

import threading

from interngs.link.mailbox import QUEUE_ROOM, Mailbox
from interngs.link.state import LinkState
from interngs.link.updates import EventArrived, ProgressChanged, ServerNotice, StateChanged, TransferChanged
from interngs.wire.records import JobEvent, ProgressInfo


def progress(job: str, step: int) -> ProgressChanged:
    return ProgressChanged(job, ProgressInfo("optimise", step, 10))


def event(seq: int) -> EventArrived:
    return EventArrived("a", JobEvent(seq, "log", 0.0))


def test_newest_wins_where_the_first_one_stood():
    mailbox = Mailbox()
    for update in (progress("a", 1), event(1), progress("b", 1), progress("a", 2), event(2)):
        mailbox.put(update)
    assert mailbox.take(10) == [progress("a", 2), event(1), progress("b", 1), event(2)]
    assert mailbox.take(10) == []


def test_taking_little_leaves_the_rest():
    mailbox = Mailbox()
    for seq in range(5):
        mailbox.put(event(seq))
    assert mailbox.take(2) == [event(0), event(1)]
    assert mailbox.take(9) == [event(2), event(3), event(4)]


def test_slots_are_by_job_and_direction():
    mailbox = Mailbox()
    updates = [TransferChanged("a", "upload", 1, 2), TransferChanged("a", "download", 1, 2),
               TransferChanged("b", "upload", 1, 2), StateChanged(LinkState("lost")), ServerNotice("stopping")]
    for update in updates:
        mailbox.put(update)
    mailbox.put(StateChanged(LinkState("connected")))
    assert mailbox.take(10) == [*updates[:3], StateChanged(LinkState("connected")), updates[4]]


def test_full_is_a_matter_of_events_alone():
    mailbox = Mailbox()
    for step in range(2 * QUEUE_ROOM):
        mailbox.put(progress("a", step))
    assert not mailbox.is_full
    for seq in range(QUEUE_ROOM):
        mailbox.put(event(seq))
    assert mailbox.is_full
    mailbox.take(2)
    assert not mailbox.is_full


def test_threads_lose_nothing():
    mailbox, taken = Mailbox(), []

    def write(first: int) -> None:
        for seq in range(first, first + 2000):
            mailbox.put(event(seq))

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 2000)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        taken += mailbox.take(100)
    taken += mailbox.take(10_000)
    seqs = [update.event.seq for update in taken]
    assert sorted(seqs) == list(range(4000))
    assert [seq for seq in seqs if seq < 2000] == list(range(2000))
