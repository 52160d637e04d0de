"""sbc passes a pair that is exact, and finds each thing that was made wrong, at its own row."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means
from tests.trust.worse import Worse

# Two datapoints a task: closed forms, and no search for fewer.
TASKS = normal_means.tasks(num_tasks=4, num_data=2, ragged=False)
EXACT, DRAWS = bm.Exact(draws=99), bm.Importance(draws=200, rounds=1)
CHEAP = bm.Importance(draws=100, rounds=1)
ROWS = ["mu", "phi", "log likelihood", "new phi", "new y"]


def calibrated(theta: bm.Theta, phi: bm.Phi = EXACT, simulations: int = 100) -> bm.SBC:
    model = normal_means.model
    given = {"theta": theta, "phi": phi, "simulations": simulations}
    return bm.sbc(model, TASKS, **given, progress=False)


@pytest.fixture(scope="module")
def exact() -> bm.SBC:
    return calibrated(DRAWS)


def test_an_exact_pair_passes_at_all_levels(exact: bm.SBC) -> None:
    table = exact.table
    assert sorted(table.index) == sorted(ROWS) and (table["p"] > 0.01).all()
    assert ((table["covers90"] - 0.9).abs() < 0.1).all() and (table["bias"].abs() < 0.3).all()
    assert (table["count"] == 100).all() and not exact.failing and not exact.failures
    assert "no failure was found" in str(exact) and "+- 5 points" in str(exact)


@pytest.mark.parametrize(
    ("worse", "row", "how"),
    [
        (Worse(CHEAP, spread=0.4), "mu", "too narrow"),
        (Worse(CHEAP, shift=0.8), "mu", "biased up"),
        (Worse(DRAWS, blind=True), "log likelihood", "explain the data worse"),
        (bm.Point(), "mu", "too narrow"),
    ],
)
def test_what_is_wrong_is_found_with_its_direction(worse: bm.Theta, row: str, how: str) -> None:
    """With 50 simulations; smaller errors are found by the 300 of the slow tests."""
    found = calibrated(worse, simulations=50)
    assert how in found.failing[row] and how in str(found)
    if isinstance(worse, Worse) and worse.blind:
        p = found.table["p"]  # The prior is calibrated; what reads the data finds it.
        assert p["log likelihood"] == p.min() < p["mu"]
    if isinstance(worse, bm.Point):
        table = found.table
        assert table.loc["mu", "covers90"] == 0 and table.loc["mu", "spread"] == np.inf


def test_simulation_k_is_of_the_seed_and_k_alone(exact: bm.SBC, tmp_path: Path) -> None:
    few = bm.sbc(
        normal_means.model,
        TASKS,
        theta=DRAWS,
        phi=EXACT,
        simulations=3,
        checkpoint=tmp_path,
        progress=False,
    )
    for name in ROWS:
        assert np.array_equal(few.places[name], exact.places[name][:3])


def test_the_study_of_simulation_k_is_that_of_simulate(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, seen = bm.Importance.fit, []

    def noted(self: bm.Importance, density: object, tasks: bm.Tasks, *more: object) -> object:
        seen.append(tasks.y)
        return fit(self, density, tasks, *more)

    monkeypatch.setattr(bm.Importance, "fit", noted)
    calibrated(CHEAP, simulations=3)
    studies = bm.simulate(normal_means.model, TASKS, studies=3)
    assert all(torch.equal(y, study.tasks.y) for y, study in zip(seen, studies, strict=True))


class Failing(Exception):
    """What a strategy may raise."""


def count_down(monkeypatch: pytest.MonkeyPatch, after: int, raised: BaseException) -> None:
    """Fits raise once, after so many."""
    fit, left = bm.Importance.fit, [after]

    def counted(*given: object) -> object:
        left[0] -= 1
        if left[0] == -1:
            raise raised
        return fit(*given)

    monkeypatch.setattr(bm.Importance, "fit", counted)


def test_a_fit_that_raises_is_counted_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    count_down(monkeypatch, 2, Failing("no mode was found"))
    found = calibrated(CHEAP, simulations=5)
    assert found.failures == {2: "Failing: no mode was found"} and found.simulations == 4
    assert "1 simulations raised, and are in no figure, the first number 2" in str(found)
    assert (found.table["count"] == 4).all()


def test_an_interrupt_leaves_what_ended_and_the_same_call_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(count: int, folder: Path | None, seed: int = 3, theta: bm.Theta = CHEAP) -> bm.SBC:
        return bm.sbc(
            normal_means.model,
            TASKS,
            theta=theta,
            phi=EXACT,
            simulations=count,
            seed=seed,
            checkpoint=folder,
            progress=False,
        )

    whole = run(5, None)
    with monkeypatch.context() as patch:
        count_down(patch, 3, KeyboardInterrupt())
        part = run(5, tmp_path)
    assert part.simulations == 3 and "2 of 5 simulations are left to do" in str(part)
    with monkeypatch.context() as patch:
        count_down(patch, 2, AssertionError("more were run than were left"))
        rest = run(5, tmp_path)
    assert rest.simulations == 5 and not rest.failures
    for name in ROWS:
        assert np.array_equal(rest.places[name], whole.places[name])
    assert run(2, tmp_path).simulations == 2
    with pytest.raises(bm.CheckpointError, match="its seed is 3, this one's 4"):
        run(5, tmp_path, seed=4)
    with pytest.raises(bm.CheckpointError, match="its theta is Importance"):
        run(5, tmp_path, theta=DRAWS)
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors"}


def test_ctrl_c_that_a_strategy_takes_for_its_end_ends_the_simulations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sampler returns the draws that it has, which are no fit."""
    fit, calls = bm.Importance.fit, []

    def caught(*given: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return fit(*given)

    monkeypatch.setattr(bm.Importance, "fit", caught)
    assert calibrated(CHEAP, simulations=9).simulations == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_cannot_be_judged_is_refused_before_anything_is_fitted() -> None:
    def flat(tasks: bm.Tasks) -> None:
        level = pyro.param("level", torch.tensor(0.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(level, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match="'level' has a flat prior"):
        bm.sbc(flat, TASKS)
    with pytest.raises(ValueError, match=r"theta=bm\.Fixed"):
        bm.sbc(normal_means.model, TASKS, theta=bm.Fixed({"mu": torch.tensor(0.0)}), phi=EXACT)
    with pytest.raises(ValueError, match="simulations=0"):
        calibrated(CHEAP, simulations=0)
    with pytest.raises(ValueError, match="holds no data"):
        bm.sbc(normal_means.model, TASKS, posterior=bm.prior(normal_means.model, TASKS))
    with pytest.raises(TypeError, match="posterior=dict"):
        bm.sbc(normal_means.model, TASKS, posterior={})  # type: ignore[arg-type]


def test_the_picture_is_saved(exact: bm.SBC, tmp_path: Path) -> None:
    figure = exact.draw(tmp_path / "sbc.png")
    assert (tmp_path / "sbc.png").stat().st_size > 10_000
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert set(ROWS) <= set(titles)


def test_contraction_is_that_of_the_closed_form(exact: bm.SBC, tmp_path: Path) -> None:
    """Of mu the posterior variance is the same in each study, and the truth's is the prior's."""
    each = 1 / (normal_means.TAU**2 + normal_means.SIGMA**2 / TASKS.num_data)
    variance = 1 / (normal_means.MU_SD**-2 + len(TASKS) * each)
    expected = 1 - variance / exact.truths["mu"].var()
    assert abs(exact.table["contraction"]["mu"] - expected) < 0.02
    figure = exact.draw_recovery(tmp_path / "recovery.png")
    assert (tmp_path / "recovery.png").stat().st_size > 10_000
    assert figure.axes[0].get_title(loc="left") == "mu"


def test_a_handful_of_simulations_says_nothing(exact: bm.SBC) -> None:
    def first(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: x[:5] for name, x in values.items()}

    parts = {part: first(getattr(exact, part)) for part in ("places", "z", "truths", "sds")}
    few = replace(exact, **parts, draws=exact.draws[:5], asked=5)
    assert "too few to say anything" in str(few) and "no failure" not in str(few)


def test_a_point_is_said_to_be_one_without_figures_that_it_does_not_have(tmp_path: Path) -> None:
    found = calibrated(bm.Point(), simulations=30)
    row, said = found.table.loc["mu"], str(found)
    assert row[["bias", "contraction"]].isna().all() and row["spread"] == np.inf
    assert "- mu: too narrow, a point: no width; intervals" in said
    assert "hold 0% and 0% (p" in said and "inf" not in said and "nan" not in said
    # Control: draws of a width have both.
    exact_row = calibrated(CHEAP, simulations=30).table.loc["mu"]
    assert np.isfinite(exact_row[["bias", "spread", "contraction"]]).all()
    found.draw_recovery(tmp_path / "point.png")
    figure = found.draw(tmp_path / "sbc.png")
    assert any("a point: no width" in t.get_text() for t in figure.axes[0].texts)


@pytest.mark.parametrize("by", [0.0, 1e-3])
def test_a_number_of_two_names_has_one_row(by: float) -> None:
    """And one that is another, if by little, has its own."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        pyro.deterministic("level", mu + by * mu**2)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            pyro.deterministic("effect", phi + by * phi**2)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    found = bm.sbc(model, TASKS, theta=CHEAP, phi=EXACT, simulations=10, progress=False)
    if by:
        assert not found.copies and len(found.table) == len(ROWS) + 3
        return
    assert found.copies == {"level": "mu", "effect": "phi", "new effect": "new phi"}
    assert sorted(found.table.index) == sorted(ROWS)
    assert "level is mu by another name" in str(found)


def test_a_pair_is_called_by_what_it_approximates_with() -> None:
    assert calibrated(CHEAP, simulations=1).pair == "Importance + Exact"
    for family, name in ((bm.MeanField(), "MeanField"), (bm.LowRank(3), "LowRank(rank=3)")):
        assert bm.Gaussian(family=family).label == f"Gaussian({name})"
    assert bm.Gaussian().label == "Gaussian(FullRank)"
    assert bm.Amortised(guide=bm.DiagonalNormal()).label == "Amortised(DiagonalNormal)"
