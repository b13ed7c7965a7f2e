# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals ask a run to stop, and the process has its own handlers back afterwards."""

from __future__ import annotations

import signal

import pytest

from interngs.commands.progress import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_and_a_second_one_breaks(number):
    before = signal.getsignal(number)
    interrupt = Interrupt()
    with interrupt.listening() as should_stop:
        assert not should_stop()
        signal.raise_signal(number)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert interrupt.asked()
    assert signal.getsignal(number) == (signal.SIG_DFL if before is None else before)


def test_only_the_named_signals_are_taken():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt((signal.SIGINT,)).listening():
        assert signal.getsignal(signal.SIGTERM) == before
