"""Signals that wait until a step is whole: Ctrl-C, and SIGTERM, which ends the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = signal.SIGINT, signal.SIGTERM


@contextmanager
def whole() -> Iterator[None]:
    """A signal in this block has its effect at the end, so that no state is left half changed."""
    if not _is_main():
        # Signals reach the main thread only.
        yield
        return
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before = [(number, signal.signal(number, note)) for number in _SIGNALS if _is_ours(number)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        for late in caught:
            signal.raise_signal(late)


@contextmanager
def before_the_end(save: Callable[[], None]) -> Iterator[None]:
    """SIGTERM in this block saves first, and then ends the process as it does elsewhere.

    A handler of the user's own is left alone, and other threads have no say in signals.
    """
    if not _is_main() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
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


def _is_ours(number: int) -> bool:
    """Whether a signal's handler is known to Python, which can then put it back."""
    return signal.getsignal(number) is not None
