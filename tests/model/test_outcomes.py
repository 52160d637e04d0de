"""Outcomes by name, masked, weighted and by factors: what was observed is scored, once, unweighted.

The oracle of each score is the density written down by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

import bayesmeta as bm

RANDOM = np.random.default_rng(5)
A = np.array([[-1.0], [0.5], [2.0]])
HEIGHT = A + RANDOM.normal(size=(3, 4))
COUNT = RANDOM.poisson(np.exp(0.3 * A + 1.0), size=(3, 4)).astype(float)
SEEN = RANDOM.random((3, 4)) < 0.6
SEEN[:, 0], SEEN[0, 1] = True, False
MASK = np.array([[True] * 4, [True] * 3 + [False], [True] * 4])
FIT = {"theta": bm.Fixed({}), "phi": bm.Laplace(draws=50), "progress": False}


def two(tasks: bm.Tasks) -> None:
    """Heights and counts of the same plants."""
    y = tasks.y
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Normal(0.0, 2.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            height = None if y is None else y[..., 0]
            pyro.sample("height", dist.Normal(a, 1.0), obs=height)
            count = None if y is None else y[..., 1]
            pyro.sample("count", dist.Poisson((0.3 * a + 1.0).exp()), obs=count)


PLANTS = bm.Tasks.from_arrays(np.stack([HEIGHT, COUNT], -1), mask=MASK, names=list("pqr"))


def normal(a: Tensor, y: np.ndarray = HEIGHT) -> Tensor:
    return dist.Normal(a, 1.0).log_prob(torch.as_tensor(y))


def poisson(a: Tensor) -> Tensor:
    return dist.Poisson((0.3 * a + 1.0).exp()).log_prob(torch.as_tensor(COUNT))


def test_outcomes_are_scored_and_predicted_by_name() -> None:
    post = bm.fit(two, PLANTS, **FIT)
    a, mask = post.phi["a"][..., None], torch.as_tensor(MASK)
    for outcome, right in (
        ("height", normal(a)),
        ("count", poisson(a)),
        (None, normal(a) + poisson(a)),
    ):
        found = post.log_likelihood(outcome=outcome)
        assert torch.allclose(found, torch.where(mask, right, 0.0), atol=1e-10)
        score = right.exp().mean((0, 1)).log()
        assert torch.allclose(post.log_score(outcome=outcome)[mask], score[mask], atol=1e-10)
    height, count = (post.predict(outcome=n) for n in ("height", "count"))
    assert torch.allclose(height.means[0, 0][mask], a[0, 0].expand(3, 4)[mask])
    assert torch.allclose(count.means[0, 0][mask], (0.3 * a + 1).exp()[0, 0].expand(3, 4)[mask])
    assert (count.draws[0, 0][mask] % 1 == 0).all()
    with pytest.raises(bm.StructureError, match=r"several outcomes: height, count; .* outcome='h"):
        post.predict()
    with pytest.raises(bm.StructureError, match=r"no 'weight' among its outcomes: height, count"):
        post.log_score(outcome="weight")


def test_arviz_and_compare_have_outcomes_by_name() -> None:
    post = bm.fit(two, PLANTS, **FIT)
    groups = bm.posterior.arviz.groups(post.draws)
    a = post.phi["a"][..., None]
    for group in ("log_likelihood", "posterior_predictive", "prior_predictive", "observed_data"):
        assert set(groups[group]) == {"height", "count"}
        assert groups[group]["count"].dims[-1] == "observation"
    assert np.allclose(groups["log_likelihood"]["height"], normal(a)[:, :, MASK])
    assert np.allclose(groups["log_likelihood"]["count"], poisson(a)[:, :, MASK])
    assert np.allclose(groups["observed_data"]["count"], COUNT[MASK])
    assert list(groups["observed_data"]["observation_task"].values) == list("ppppqqqrrrr")
    table = bm.compare({"plants": post}, PLANTS)
    row = table.overall.loc["plants"]
    assert row["log_score"] == pytest.approx(float(post.log_score().nanmean()))
    off = post.predict(outcome="count").mean - torch.as_tensor(COUNT)
    assert row["error count"] == pytest.approx(
        float(off[torch.as_tensor(MASK)].square().mean().sqrt())
    )
    assert "error height" in row and table.by_task["error count", "plants"].notna().all()


def partly(how: str) -> Callable[[bm.Tasks], None]:
    """Heights of which some rows were not measured, said in one of Pyro's ways, or weighted."""

    def model(tasks: bm.Tasks) -> None:
        seen = tasks.x["seen"] > 0
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 2.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                fn = dist.Normal(a, 1.0)
                if how == "handler":
                    with poutine.mask(mask=seen):
                        pyro.sample("y", fn, obs=tasks.y)
                elif how == "weight":
                    with poutine.scale(scale=1 + tasks.x["seen"]):
                        pyro.sample("y", fn, obs=tasks.y)
                else:
                    pyro.sample("y", fn.mask(seen) if how == "mask" else fn, obs=tasks.y)

    return model


def partial_tasks(seen: np.ndarray = SEEN) -> bm.Tasks:
    filled = np.where(SEEN, HEIGHT, 9.0)
    return bm.Tasks.from_arrays(filled, {"seen": seen.astype(float)}, MASK, list("pqr"))


@pytest.mark.parametrize("how", ["handler", "mask"])
def test_what_a_model_masks_is_not_observed(how: str) -> None:
    post = bm.fit(partly(how), partial_tasks(), **FIT)
    dropped = bm.Tasks.from_arrays(HEIGHT, {"seen": SEEN.astype(float)}, MASK & SEEN, list("pqr"))
    known = bm.fit(partly("none"), dropped, **FIT)
    there = torch.as_tensor(MASK & SEEN)
    assert torch.allclose(post.phi["a"], known.phi["a"])
    assert torch.equal(post.log_score().isnan(), ~there)
    assert torch.allclose(post.log_score()[there], known.log_score()[there])
    assert post.predict().mean.isnan().equal(~torch.as_tensor(MASK))
    ours, theirs = (
        bm.posterior.arviz.groups(p.draws)["log_likelihood"]["y"] for p in (post, known)
    )
    assert np.allclose(ours, theirs) and ours.dims[-1] == "y_observation"
    compared = bm.compare({"masked": post}, partial_tasks())
    assert int(compared.by_task["datapoints"].sum()) == int(there.sum())
    score = float(known.log_score()[there].mean())
    assert compared.overall["log_score"].iloc[0] == pytest.approx(score)
    with pytest.raises(bm.TasksError, match=r"other datapoints .*'a' \d+ and 'b' \d+"):
        bm.compare(
            {"a": post, "b": bm.fit(partly("none"), partial_tasks(), **FIT)}, partial_tasks()
        )


def test_weights_weigh_the_fit_and_not_the_scores() -> None:
    post = bm.fit(partly("weight"), partial_tasks(SEEN * 2), **FIT)
    right = normal(post.phi["a"][..., None], np.where(SEEN, HEIGHT, 9.0))
    assert torch.allclose(post.log_likelihood(), torch.where(torch.as_tensor(MASK), right, 0.0))
    assert "y: weighted in the fit" in " ".join(post.notes)
    plain = bm.fit(partly("none"), partial_tasks(), **FIT)
    assert not torch.allclose(post.phi["a"].mean((0, 1)), plain.phi["a"].mean((0, 1)), atol=0.1)
    assert "weighted" not in " ".join(plain.notes)


def by_factor(reads_y: bool, masks: bool) -> Callable[[bm.Tasks], None]:
    """Heights beyond a limit of 1 that a factor stands for, or a factor of inputs alone."""

    def model(tasks: bm.Tasks) -> None:
        over = tasks.x["over"] > 0
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 2.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                fn = dist.Normal(a, 1.0)
                pyro.sample("y", fn.mask(~over) if masks else fn, obs=tasks.y)
                if tasks.y is not None:
                    limit = tasks.y if reads_y else torch.ones(())
                    above = torch.special.log_ndtr(a - limit)
                    pyro.factor("beyond", torch.where(over, above, 0.0))

    return model


OVER = HEIGHT > 1
LIMITED = bm.Tasks.from_arrays(np.minimum(HEIGHT, 1.0), {"over": OVER.astype(float)}, MASK)


@pytest.mark.parametrize("reads_y", [True, False])
def test_a_factor_that_stands_for_an_outcome_is_scored(reads_y: bool) -> None:
    post = bm.fit(by_factor(reads_y, masks=True), LIMITED, **FIT)

    def censored(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 2.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", bm.Censored(dist.Normal(a, 1.0), upper=1.0), obs=tasks.y)

    right = bm.fit(censored, LIMITED, **FIT)
    assert torch.allclose(post.phi["a"], right.phi["a"])
    assert torch.allclose(post.log_likelihood(), right.log_likelihood())
    assert torch.equal(post.log_score().isnan(), ~torch.as_tensor(MASK))


def test_a_factor_of_inputs_alone_predicts_nothing() -> None:
    post = bm.fit(by_factor(reads_y=False, masks=False), LIMITED, **FIT)
    right = normal(post.phi["a"][..., None], np.minimum(HEIGHT, 1.0))
    assert torch.allclose(post.log_likelihood(), torch.where(torch.as_tensor(MASK), right, 0.0))
    assert bm.structure(by_factor(False, False), LIMITED).data_factors == ("beyond",)


@pytest.mark.parametrize("how", ["handler", "mask"])
@pytest.mark.parametrize("phi", [bm.Laplace(draws=20), bm.HMC(draws=20)])
def test_a_masked_placeholder_may_be_impossible(how: str, phi: bm.Phi) -> None:
    def model(tasks: bm.Tasks) -> None:
        seen = tasks.x["seen"] > 0
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 2.0))
            with (
                pyro.plate("data", tasks.num_data, dim=-1),
                poutine.mask(mask=seen if how == "handler" else True),
            ):
                fn = dist.LogNormal(a, 1.0)
                pyro.sample("y", fn.mask(seen) if how == "mask" else fn, obs=tasks.y)

    fits = []
    for placeholder in (1.0, -999.0):
        y = np.where(SEEN, np.exp(HEIGHT), placeholder)
        tasks = bm.Tasks.from_arrays(y, {"seen": SEEN.astype(float)}, MASK, list("pqr"))
        fits.append(bm.fit(model, tasks, theta=bm.Fixed({}), phi=phi, progress=False))
    assert torch.equal(fits[0].phi["a"], fits[1].phi["a"])
    assert torch.equal(fits[0].log_score().nan_to_num(), fits[1].log_score().nan_to_num())
