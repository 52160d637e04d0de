"""Signals wait for the step; SIGTERM stores what was reached, and ends the process as it would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from bayesmeta.training import checkpoint, interrupt
from tests.training.test_store import fitted

TRAIN = """
import os, signal, sys
import bayesmeta as bm
from bayesmeta.training import loop
from tests.training.test_store import fitted
check = loop._check
def stop(losses, *rates):
    check(losses, *rates)
    if len(losses) == 25:
        os.kill(os.getpid(), signal.SIGTERM)
loop._check = stop
{handler}
fitted(sys.argv[1])
print("trained to the end")
"""


def train(folder, handler=""):
    code = TRAIN.format(handler=handler)
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_sigterm_stores_the_step_and_ends_the_process(tmp_path):
    ended = train(tmp_path)
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    assert "trained to the end" not in ended.stdout
    assert len(checkpoint.read(tmp_path)[0]["losses"]) == 25
    again, expected = fitted(tmp_path), fitted()
    assert torch.equal(again.losses, expected.losses)
    assert torch.equal(again.fit.theta, expected.fit.theta)


def test_a_handler_of_the_user_is_left_alone(tmp_path):
    ended = train(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: print('mine'))")
    assert ended.stdout.split("\n")[:2] == ["mine", "trained to the end"], ended.stderr


def test_signals_wait_until_the_block_is_whole():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("handled"))
    try:
        with interrupt.whole():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            seen.append("whole")
        assert seen == ["whole", "handled"]
        # The block's own error loses no signal.
        with pytest.raises(RuntimeError, match="of its own"), interrupt.whole():
            raise RuntimeError(f"of its own {os.kill(os.getpid(), signal.SIGINT)}")
        assert seen[2:] == ["handled"]
        # Negative control: without the block a signal does not wait.
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("next")
        assert seen[3:] == ["handled", "next"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_interrupt_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.whole():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_signals_alone():
    found = []

    def go():
        with interrupt.before_the_end(lambda: None), interrupt.whole():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
