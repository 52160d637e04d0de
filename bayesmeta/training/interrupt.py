"""Signals that wait until a step is whole: Ctrl-C, and SIGTERM, which ends the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# What each block of `whole` that is open has caught.
_blocks: list[list[int]] = []


@contextmanager
def whole() -> Iterator[None]:
    """Ctrl-C in this block, and SIGTERM in one of `before_the_end`, has its effect at the end.

    So no state is left half changed.
    """
    if not _is_main():
        # Signals reach the main thread only.
        yield
        return
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before = signal.signal(signal.SIGINT, note)
    _blocks.append(caught)
    try:
        yield
    finally:
        _blocks.pop()
        signal.signal(signal.SIGINT, before)
        for late in caught:
            signal.raise_signal(late)


@contextmanager
def noted() -> Iterator[list[int]]:
    """Ctrl-C in this block has its effect, and is in the list: what it ends early is no result."""
    caught: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not _is_main() or not callable(before):
        yield caught
        return

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def before_the_end(save: Callable[[], None]) -> Iterator[None]:
    """SIGTERM in this block saves first, and then ends the process as it does elsewhere.

    A handler of the user's own is left alone, and other threads have no say in signals.
    """
    if not _is_main() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        if _blocks:
            _blocks[-1].append(number)
            return
        # Once more would interrupt the saving.
        signal.signal(number, signal.SIG_IGN)
        try:
            save()
        finally:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
