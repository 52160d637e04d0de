"""The learning rate over the steps, and settings that are refused."""

from __future__ import annotations

import pytest

import bayesmeta as bm
from bayesmeta.training.adam import Schedule


def test_the_rate_is_constant_and_then_falls_to_a_thousandth():
    schedule = Schedule(bm.Adam(lr=1.0, steps=100, decay=0.5, patience=0))
    rates = [schedule.rate([0.0] * n) for n in range(1, 102)]
    assert rates[0] == rates[50] == pytest.approx(1.0)
    assert rates[75] == pytest.approx(0.5, abs=0.02)
    assert rates[100] == pytest.approx(1e-3)


@pytest.mark.parametrize("bad", [{"lr": -1}, {"steps": 0}, {"chunk_size": 0}, {"validations": 0}])
def test_bad_settings_are_refused(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"{name}={bad[name]}"):
        bm.Adam(**bad)


def test_steps_are_a_whole_number():
    with pytest.raises(TypeError, match=r"steps=1000\.0; give a whole number"):
        bm.Adam(steps=1e3)
