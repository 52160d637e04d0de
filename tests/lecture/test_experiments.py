"""The experiments' numbers against their closed forms, and that a wrong model would be noticed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pyro
import pyro.distributions as dist
import pytest
from matplotlib.figure import Figure

import bayesmeta as bm
from bayesmeta.lecture import (
    entropy_drop,
    independence,
    learning_curves,
    limit,
    meta_overfitting,
    price,
    sinusoid_theta,
    studies,
    study,
    two_views,
)
from bayesmeta.lecture.section import Number, Section
from bayesmeta.models import lecture

SCRIPTS = (
    independence,
    entropy_drop,
    learning_curves,
    limit,
    meta_overfitting,
    price,
    sinusoid_theta,
    two_views,
)
# Trained networks come near to their oracle, and are not expected to reach it.
SAMPLED = SCRIPTS[:6]
ERRORS = 4.5


def check(numbers: Iterable[Number]) -> None:
    """Every number that has a closed form is within its Monte Carlo error of it."""
    numbers = [number for number in numbers if number.oracle is not None]
    assert numbers
    for number in numbers:
        # The smallest errors are those of numbers next to 0, which rounding may exceed.
        assert abs(number.found - number.oracle) < ERRORS * number.error + 1e-4, number


def by_what(section: Section) -> dict[str, float]:
    return {number.what: number.found for number in section.numbers}


def wider(tasks: bm.Tasks) -> None:
    """The lecture's model with tasks further apart than it says."""
    theta = pyro.sample("theta", dist.Normal(0.0, lecture.THETA_SD))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(theta, 1.5 * lecture.PHI_SD))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi * tasks.x["x"], lecture.NOISE), obs=tasks.y)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda module: module.__name__.split(".")[-1])
def test_a_section_says_something_and_shows_it(script: ModuleType) -> None:
    section = script.section(smoke=True)
    assert section.title and len(section.text.split("\n\n")) >= 2 and section.code
    assert "{" not in section.text
    assert all(isinstance(figure, Figure) for figure in section.figures.values())
    assert list(section.figures) == [script.__name__.split(".")[-1]]
    if script in SAMPLED[:2]:
        check(section.numbers)


def test_a_script_prints_its_numbers_and_writes_its_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bayesmeta.lecture.independence", "--smoke", "--out", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "closed form" in done.stdout and "independence.png" in done.stdout
    assert (tmp_path / "independence.png").stat().st_size > 10_000


@pytest.mark.parametrize("script", [independence, entropy_drop])
def test_other_tasks_than_the_lecture_says_are_noticed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lecture, "meta_learning", wider)
    with pytest.raises(AssertionError):
        check(script.section(smoke=True).numbers)


@pytest.mark.slow
@pytest.mark.parametrize("script", SAMPLED, ids=lambda module: module.__name__.split(".")[-1])
def test_the_numbers_are_their_closed_forms(script: ModuleType) -> None:
    check(script.section().numbers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "place", "name", "planted"),
    [
        (learning_curves, study, "NOISE", 1.5),
        (limit, limit, "around_theta", lambda sd, right=limit.around_theta: right(1.5 * sd)),
        (meta_overfitting, studies, "PHI_SD", 0.75),
        (entropy_drop, study, "NOISE", 1.5),
    ],
    ids=["learning curves", "limit", "meta-overfitting", "entropy drop"],
)
def test_a_wrong_model_is_noticed(
    script: ModuleType,
    place: ModuleType,
    name: str,
    planted: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, name, planted)
    with pytest.raises(AssertionError):
        check(script.section().numbers)


@pytest.mark.slow
def test_theta_learns_what_waves_share() -> None:
    found = by_what(sinusoid_theta.section())
    assert found["explained by sin x, cos x: tasks"] == pytest.approx(1.0, abs=1e-10)
    assert found["explained by sin x, cos x: after"] > 0.99
    assert found["period of the draws after training"] == pytest.approx(6.2832, abs=0.05)
    # Before training theta holds nothing of the kind: the measure tells.
    assert found["explained by sin x, cos x: before"] < 0.2


def test_the_share_that_waves_explain_tells_other_periods() -> None:
    waves: Callable = sinusoid_theta.explained
    assert waves(sinusoid_theta.waves(20)).min() > 1 - 1e-10
    assert waves(sinusoid_theta.waves(20), frequency=1.3).max() < 0.9


@pytest.mark.slow
def test_the_two_views_predict_the_same() -> None:
    found = by_what(two_views.section())
    assert found["KL, 1/1000 nat: between the two views"] < 1.0
    assert found["KL, 1/1000 nat: exact inference from inference"] < 0.1
    # Untrained, the same network predicts something else.
    assert found["KL, 1/1000 nat: exact inference from network, not trained"] > 1000
