"""amortisation_gap: what is no bound is NaN and said; the rest is in test_refine."""

from __future__ import annotations

import math
import sys
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm

SIGMA = 1.0


def known(tasks: bm.Tasks) -> None:
    """Normal means whose evidence is known: y ~ N(0, 1 + 1)."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, SIGMA), obs=tasks.y)


def counts(tasks: bm.Tasks) -> None:
    """An evidence without a closed form."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Poisson(phi.exp()), obs=tasks.y)


def trained(model: object, y: torch.Tensor) -> bm.Posterior:
    adam = bm.Adam(lr=3e-3, steps=150, patience=0, compile=False)
    theta, phi = bm.Point(adam=adam), bm.Amortised(draws=400)
    return bm.fit(model, bm.Tasks.from_arrays(y), theta=theta, phi=phi, progress=False)


def evidence(y: float) -> float:
    return -0.25 * y**2 - 0.5 * math.log(2 * math.pi * 2)


def test_tasks_that_were_run_again_have_no_bound() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(60, 1, generator=generator, dtype=torch.float64) * 2**0.5
    post, new = trained(known, y), bm.Tasks.from_list([[0.5], [1e4]], names=["near", "far"])
    # Whatever its k, a task is run again.
    again = bm.Refine(steps=0, candidates=1, above=-10.0)
    with pytest.warns(UserWarning, match=r"2 of 2 tasks \('near', 'far'\) were run again by phi"):
        table = bm.amortisation_gap(post, new, refine=again)
    ways = table.swaplevel()
    assert ways.loc["refined", ["elbo", "pareto_k"]].isna().all().all()
    assert ways.loc["exact", "elbo"]["near"] == pytest.approx(evidence(0.5), abs=1e-4)
    assert ways.loc["exact", "elbo"]["far"] == pytest.approx(evidence(1e4), rel=1e-4)
    # The control: draws of q have theirs.
    assert ways.loc["network", ["elbo", "pareto_k"]].notna().all().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bm.amortisation_gap(post, new[["near"]])["elbo"].notna().all()


def test_an_evidence_by_weights_that_are_not_to_be_trusted_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules["bayesmeta.evaluation.amortisation_gap"]
    monkeypatch.setattr(module, "pareto_k", lambda weights: torch.tensor([0.1, 0.9]))
    generator = torch.Generator().manual_seed(0)
    rate = torch.randn(60, 1, generator=generator, dtype=torch.float64).exp()
    post = trained(counts, torch.poisson(rate, generator=generator))
    new = bm.Tasks.from_list([[1.0], [2.0]], names=["near", "far"])
    with pytest.warns(UserWarning, match=r"of 'far' is not known, and NaN: it has no closed form"):
        table = bm.amortisation_gap(post, new, refine=bm.Refine(100, candidates=1, rerun=None))
    assert math.isnan(table.loc["far", "exact"]["elbo"])
    # By quadrature.
    phi = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    joint = dist.Normal(0.0, 1.0).log_prob(phi) + dist.Poisson(phi.exp()).log_prob(
        torch.tensor(1.0)
    )
    exact = float(torch.logsumexp(joint, 0) + math.log(float(phi[1] - phi[0])))
    assert table.loc["near", "exact"]["elbo"] == pytest.approx(exact, abs=0.05)
