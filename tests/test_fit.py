"""fit refuses what are no strategies, in words that say which and why, and notes flat priors."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means

TASKS = normal_means.tasks(num_tasks=3, num_data=2)
SHORT = bm.Gaussian(adam=bm.Adam(steps=5, compile=False), draws=5)


@pytest.mark.parametrize(
    ("theta", "phi", "message"),
    [
        (bm.Joint(), bm.NUTS(), r"theta=Joint\(\): Joint is a strategy for phi"),
        (bm.NUTS, bm.Joint(), r"NUTS is a class: call it, bm\.NUTS\(\)"),
        ("nuts", bm.Joint(), r"theta='nuts': give a strategy, such as theta=bm\.NUTS\(\)"),
        (bm.MAML(), bm.Joint(), r"a preset is a pair: unpack it, .*\*\*bm\.MAML\(\)"),
        (bm.Point(), bm.DeepSet(), r"part of a strategy: phi=bm\.Amortised\(DeepSet\("),
        (bm.Point(), "joint", r"phi='joint': give a strategy, such as phi=bm\.Joint\(\)"),
    ],
)
def test_what_is_no_strategy_is_named(theta, phi, message):
    with pytest.raises(TypeError, match=message):
        bm.fit(normal_means.model, TASKS, theta=theta, phi=phi)


def test_adapt_names_what_it_got():
    post = bm.prior(normal_means.model, TASKS, draws=2)
    with pytest.raises(TypeError, match=r"a list and phi=None; give bm\.Tasks"):
        post.adapt([[1.0]])
    with pytest.raises(TypeError, match=r"phi='laplace'.*such as phi=bm\.Laplace\(\)"):
        post.adapt(TASKS, phi="laplace")


def test_a_parameter_that_becomes_a_latent_is_noted():
    def model(tasks):
        mu = pyro.param("mu", torch.tensor(0.0, dtype=torch.float64))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    post = bm.fit(model, TASKS, theta=SHORT, progress=False)
    assert post.notes[-1].startswith("pyro.param mu: part of theta with a flat prior")
    point = bm.Point(adam=bm.Adam(steps=5, compile=False))
    assert not bm.fit(model, TASKS, theta=point, progress=False).notes


def test_a_query_that_nothing_would_read_is_refused():
    tasks = normal_means.tasks(num_tasks=3, num_data=4, ragged=False)
    support, query = tasks.split(2)
    known = bm.Fixed({"mu": torch.tensor(0.0)})
    with pytest.raises(
        ValueError, match=r"Fixed\(\) is known, so that there is nothing for query="
    ):
        bm.fit(normal_means.model, support, theta=known, phi=bm.Mode(), query=query)
    with pytest.raises(ValueError, match=r"phi=bm\.Joint\(\) has no few-shot objective"):
        bm.fit(normal_means.model, support, query=query, theta=SHORT)


def test_what_of_theta_the_objective_does_not_see_is_noted():
    """MAML's phi starts at the prior's mean, whatever the prior's scale."""

    def model(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    adam = bm.Adam(steps=3, compile=False)
    maml = bm.fit(model, TASKS, **bm.MAML(adam=adam), progress=False)
    note, other = maml.notes
    assert other.startswith("without a query phi=bm.GradientSteps() is scored by the data")
    assert note.startswith("phi=bm.GradientSteps() does not depend on tau, ")
    exact = bm.fit(model, TASKS, theta=bm.Point(adam=adam), phi=bm.Exact(), progress=False)
    assert not exact.notes


def test_counts_are_whole_numbers():
    with pytest.raises(TypeError, match=r"draws=100\.0.*whole number"):
        bm.NUTS(draws=1e2)


def test_a_model_without_theta_has_nothing_to_train():
    def model(tasks):
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    for theta in (bm.Point(), SHORT):
        with pytest.raises(bm.StructureError, match=r"no theta.*take theta=bm\.Fixed\(\{\}\)"):
            bm.fit(model, TASKS, theta=theta, phi=bm.Laplace(), progress=False)
    # Neither is a single task a worry where there is no theta that it would leave open.
    alone = TASKS[:1]
    for theta, phi in ((bm.Fixed({}), bm.Exact()), (SHORT, bm.Joint())):
        assert (
            bm.fit(model, alone, theta=theta, phi=phi, progress=False).phi["phi"].isfinite().all()
        )


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no CUDA device is here; device='cuda'"):
        bm.fit(normal_means.model, TASKS, theta=SHORT, device="cuda")


def test_a_model_that_branches_on_a_value_is_refused_by_a_public_error():
    def model(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            scale = 2.0 if phi.sum() > 1e6 else 1.0
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, scale), obs=tasks.y)

    with pytest.raises(bm.CaptureError, match=r"torch\.where"):
        bm.fit(model, TASKS, theta=SHORT, progress=False)


@pytest.mark.parametrize("phi", [bm.GradientSteps(), bm.Mode(), bm.Joint()])
def test_training_that_meets_an_edge_names_it(phi):
    tasks = bm.Tasks.from_arrays([[5.0, 30.0], [2.0, 8.0]])

    def bounded(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            top = pyro.sample("top", dist.LogNormal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Uniform(0.0, top), obs=tasks.y)

    short = bm.Point(adam=bm.Adam(steps=50, compile=False))
    with pytest.raises(bm.TrainingError, match=r"site 'y' has an edge at 'top'.*bm\.NUTS"):
        bm.fit(bounded, tasks, theta=short, phi=phi, progress=False)
