"""Transfer and meta-learning on one dataset: errors equal their closed forms."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bayesmeta.lecture import settings


@pytest.mark.slow
def test_errors_equal_their_closed_forms() -> None:
    found = {n.what.split(",")[0]: n for n in settings.section().numbers}
    for name, number in found.items():
        # theta is learned from twenty sources, which costs the last two less than 0.01.
        excess = 0.01 if name in ("multi-task learning", "meta-learning") else 0.0
        assert number.oracle is not None
        assert abs(number.found - number.oracle) < 4 * number.error + excess, name
    # The claim: with few datapoints, a prior from many tasks beats one task's, which beats none.
    order = ["meta-learning", "transfer", "each target from scratch"]
    for better, worse in pairwise(order):
        assert found[better].found + 2 * found[better].error < found[worse].found, worse


def test_a_few_steps_from_another_task_are_expected_to_beat_none() -> None:
    known = settings.expected(lambda s: 1 / (settings.PRECISION + s))
    scratch = settings.expected(lambda s: 1 / s)
    assert known < settings.expected(settings.tuned) < scratch == pytest.approx(2.0)
