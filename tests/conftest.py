"""One thread a test process: the tests are many small computations. The longest come first."""

from __future__ import annotations

import signal

# ArviZ 0.23.0 writes the day of its last warning at import, to a file that another process which
# imports it at once finds empty, and fails: here it is imported before the workers start.
import arviz  # noqa: F401
import pytest
import torch

torch.set_num_threads(1)
# A shell starts what runs in its background with Ctrl-C ignored, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The code of documents, minutes of it, goes first: no worker is left with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_documents.py")
