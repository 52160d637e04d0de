"""learning_curve: against the exact predictive of normal means, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

import bayesmeta as bm
from bayesmeta.engine.noise import seeds
from bayesmeta.models import normal_means
from bayesmeta.models.normal_means import MU_SD, SIGMA, TAU

NUTS = bm.NUTS(chains=2, tune=200, draws=1000, compile=False)
EVERY = normal_means.tasks(num_tasks=40, num_data=12, seed=1, ragged=False)
SOURCE, TARGET = EVERY[:8], EVERY[8:]
SHOTS = [0, 1, 5]


def curve(**options):
    return bm.learning_curve(
        normal_means.model,
        SOURCE,
        TARGET,
        **{"theta": NUTS, "phi": bm.Exact(), "tasks": [8], "shots": SHOTS} | options,
        progress=False,
    )


def exact(shots, source=SOURCE):
    """Error and log score of the target's query by the posterior predictive, in closed form."""
    own = TAU**2 + SIGMA**2 / source.num_data
    mu_variance = 1 / (1 / MU_SD**2 + len(source) / own)
    mu_mean = mu_variance * source.y.mean(1).sum() / own
    splits = seeds(0, 2, repeat=0)[1]
    most, query = TARGET.split(max(SHOTS), splits)
    given = most.split(shots, splits)[0]
    sums = torch.where(given.mask, given.y, 0.0).sum(1)
    precision = 1 / TAU**2 + shots / SIGMA**2
    mean = (mu_mean / TAU**2 + sums / SIGMA**2) / precision
    variance = 1 / precision + (1 / (TAU**2 * precision)) ** 2 * mu_variance
    error = (query.y - mean[:, None]).square().mean().sqrt()
    sd = (variance + SIGMA**2) ** 0.5
    # Each datapoint by itself, as `log_score` has it.
    z = (query.y - mean[:, None]) / sd
    return float(error), float((-0.5 * z**2 - math.log(sd) - 0.5 * math.log(2 * math.pi)).mean())


@pytest.mark.slow
def test_scores_are_those_of_the_exact_predictive():
    table = curve().table.set_index("shots")
    for shots in SHOTS:
        error, log_score = exact(shots)
        assert table.loc[shots, "error"] == pytest.approx(error, abs=0.03)
        assert table.loc[shots, "log_score"] == pytest.approx(log_score, abs=0.02)
    # Negative control: without shots, what other tasks said makes the difference.
    assert abs(exact(0)[0] - exact(0, SOURCE[:1])[0]) > 0.06


@pytest.mark.slow
def test_more_of_either_is_no_worse_and_the_figure_is_drawn(tmp_path):
    nuts = bm.NUTS(chains=1, tune=100, draws=200, compile=False)
    found = curve(theta=nuts, tasks=[2, 8], shots=[0, 4], repeats=2)
    assert len(found.table) == 8
    mean = found.table.groupby(["tasks", "shots"])["error"].mean()
    assert mean[8, 4] < mean[8, 0] and mean[8, 0] < mean[2, 0]
    figure = found.draw(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["2 tasks", "8 tasks"]
    assert str(found).count("\n") >= 3
    with pytest.raises(ValueError, match="measure='rmse'"):
        found.draw(measure="rmse")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": [9]}, "there are 8 source tasks"),
        ({"tasks": []}, "there are 8 source tasks"),
        ({"shots": [12]}, "has 12 datapoints, of which some must be left"),
        ({"shots": []}, "numbers from 0 to 11"),
    ],
)
def test_more_than_there_is_is_refused(options, message):
    with pytest.raises(bm.TasksError, match=message):
        curve(**options)


def test_repeats_of_neighbouring_seeds_are_others():
    known = {"theta": bm.Fixed({"mu": torch.tensor(0.0)}), "tasks": [2], "shots": [3]}
    first, second = (curve(repeats=3, seed=seed, **known).table for seed in (0, 1))
    assert not set(first["error"]) & set(second["error"])
    assert len(set(first["error"])) == 3
    # The control: the same seed, and fewer repeats of it.
    again = curve(repeats=2, seed=0, **known).table
    assert again["error"].tolist() == first["error"][:2].tolist()


def test_a_target_that_is_learned_from_is_refused():
    every = normal_means.tasks(num_tasks=6, num_data=12, ragged=False)
    given = {"tasks": [2], "shots": [0], "progress": False}
    with pytest.raises(bm.TasksError, match=r"target's tasks '3' are among those to learn from"):
        bm.learning_curve(normal_means.model, every[:4], every[3:], **given)
