"""Who reads outcomes: another outcome, a factor, a report, a prior; and a model that reads none."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm

TWO = bm.Tasks.from_arrays(torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0)))
ONE = bm.Tasks.from_arrays(torch.randn(4, 5, generator=torch.Generator().manual_seed(1)))


def lagged(y: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)


def two_outcomes(
    read: Callable[[Tensor], Tensor], also: Callable[[Tensor, Tensor], object] = lambda w, y: None
) -> Callable[[bm.Tasks], None]:
    """A price that reads a yield, as a number of tasks.y."""

    def model(tasks: bm.Tasks) -> None:
        tons, price = (None, None) if tasks.y is None else tasks.y.unbind(-1)
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("tons", dist.Normal(phi, 1.0), obs=tons)
                known = torch.zeros(tasks.mask.shape) if tons is None else tons
                pyro.sample("price", dist.Normal(w * read(known), 1.0), obs=price)
                if tons is not None:
                    also(w, tons)

    return model


def test_an_outcome_that_reads_another_of_the_same_datapoint() -> None:
    nodes = bm.structure(two_outcomes(lambda tons: tons), TWO).nodes
    assert nodes["price"].parents == ("w", "tons") and not nodes["price"].elsewhere
    apart = bm.structure(two_outcomes(torch.ones_like), TWO).nodes
    assert apart["price"].parents == ("w",)


def test_and_of_the_datapoint_before() -> None:
    nodes = bm.structure(two_outcomes(lagged), TWO).nodes
    assert nodes["price"].parents == ("w", "tons") and nodes["price"].elsewhere == ("tons",)
    assert not nodes["tons"].elsewhere


def test_factors_and_reports_read_outcomes() -> None:
    model = two_outcomes(torch.ones_like, lambda w, y: pyro.factor("penalty", -((w * y) ** 2)))
    assert bm.structure(model, TWO).nodes["penalty"].parents == ("w", "tons")
    assert not bm.graph(model, TWO).independent("w", "tons[0,0]")
    model = two_outcomes(torch.ones_like, lambda w, y: pyro.deterministic("residual", y - w))
    assert bm.structure(model, TWO).nodes["residual"].parents == ("w", "tons")


def test_two_sites_of_one_number_are_tied_where_both_are_there() -> None:
    def model(tasks: bm.Tasks, together: bool) -> None:
        y = tasks.y
        up = torch.ones(tasks.mask.shape, dtype=torch.bool) if y is None else y > 0
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                first = dist.Normal(phi, 1.0)
                pyro.sample("one", first if together else first.mask(~up), obs=y)
                pyro.sample("other", dist.Normal(phi, 2.0).mask(up), obs=y)

    tied = bm.structure(lambda tasks: model(tasks, True), ONE).nodes
    assert tied["other"].parents == ("phi", "one")


def test_a_prior_that_reads_outcomes_is_told() -> None:
    def model(tasks: bm.Tasks) -> None:
        middle = torch.zeros(()) if tasks.y is None else tasks.y.mean()
        mu = pyro.sample("mu", dist.Normal(middle, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    post = bm.fit(model, ONE, theta=bm.Point(), phi=bm.Exact(), progress=False)
    assert any("mu: drawn from a distribution that reads tasks.y" in n for n in post.fit.notes)


def test_data_that_the_model_holds_itself_are_refused() -> None:
    held = ONE.y

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=None if tasks.y is None else held)

    with pytest.raises(bm.StructureError, match=r"no site's density moves with tasks\.y"):
        bm.structure(model, ONE)
    # Of outcomes that are all the same nothing can be told.
    bm.structure(model, bm.Tasks.from_arrays(torch.zeros(4, 5)))


REPORTS = {
    "centred": lambda p: p - p.mean(0),
    "ranks": lambda p: (p > p.mT).sum(1, keepdim=True),
    "shares": lambda p: p.softmax(0),
    "the best": lambda p: p >= p.max(),
}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_report_that_reads_other_tasks(report) -> None:
    def model(tasks: bm.Tasks) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(a, 1.0))
            pyro.deterministic("report", report(phi))
            pyro.deterministic("own", 2 * phi)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    graph = bm.graph(model, ONE)
    assert not graph.independent("report[0]", "phi[1]", ["a", "phi[0]"])
    assert graph.independent("report[0]", "a", "phi[:]")
    assert graph.independent("own[0]", "phi[1]", ["a", "phi[0]"])
    assert graph.markov_blanket("own[0]") == ("phi[0]",)
    assert graph.markov_blanket("report[0]") == ("phi[:]",)
    assert r"f(\{\phi_{i}\}_{i})" in graph.factorisation()
