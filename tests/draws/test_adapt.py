"""Adapting: a task's posterior is its own, whichever tasks are beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.models import normal_means

F64 = torch.float64
SHORT = bm.Adam(steps=30, compile=False)
POINT = bm.Point(adam=SHORT)
# Theta as a posterior of several draws.
SPREAD = bm.Gaussian(adam=SHORT, draws=4)
STRATEGIES = {
    "hmc": bm.HMC(draws=20),
    "exact": bm.Exact(draws=20),
    "laplace": bm.Laplace(draws=20),
    "steps": bm.VariationalSteps(steps=2, draws=20),
    "stein": bm.SteinParticles(steps=2, particles=4),
    "tuned": bm.PostHocLaplace(
        bm.FineTune([bm.Full(steps=5, lr=0.1)], progress=False), scale=1.0, draws=20
    ),
    "batches": bm.FineTune([bm.Full(steps=5, lr=0.1)], batch_size=2, progress=False),
    "held out": bm.FineTune([bm.Full(steps=5, lr=0.1)], held_out=0.4, progress=False),
}


def model(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2, dtype=tasks.dtype), 1.0).to_event(1))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            mean = phi[..., 0] + phi[..., 1] * tasks.x["x"]
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


def counts(tasks: bm.Tasks) -> None:
    """The same, where phi is no Gaussian given theta and the data."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2, dtype=tasks.dtype), 1.0).to_event(1))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            log_rate = phi[..., 0] + phi[..., 1] * tasks.x["x"]
            pyro.sample("y", dist.Poisson(log_rate.exp()), obs=tasks.y)


def made(**sizes: int) -> bm.Tasks:
    """Tasks by name, each with data of its own."""
    rows = {n: np.random.default_rng(list(n.encode())) for n in sizes}
    x = [rows[n].normal(size=sizes[n]) for n in sizes]
    y = [rows[n].poisson(2.0, size=sizes[n]).astype(float) for n in sizes]
    return bm.Tasks.from_list(y, {"x": x}, tuple(sizes)).to(dtype=F64)


FEW = made(a=3, b=5, c=4)
COMPANIES = [made(a=3, b=5, c=4, d=5), made(z=9, c=4, y=2, x=5, a=3, w=1, b=5), made(b=5)]


def check_alone(adapt: Callable[[bm.Tasks], bm.Posterior]) -> None:
    """With a task behind, among others in another order, and with none."""
    few = adapt(FEW)
    for company in COMPANIES:
        more = adapt(company)
        for name in set(FEW.names) & set(company.names):
            one, other = (p.phi["phi"][:, :, p.tasks.names.index(name)] for p in (few, more))
            torch.testing.assert_close(other, one, rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def fits() -> dict[str, bm.Posterior]:
    tasks = made(**{f"old{i}": 6 for i in range(6)})
    found = {}
    for name, of in (("linear", model), ("counts", counts)):
        for kind, theta in (("point", POINT), ("spread", SPREAD)):
            found[f"{name} {kind}"] = bm.fit(of, tasks, theta=theta, phi=bm.Joint(), progress=False)
    amortised = bm.Amortised(bm.DeepSet(8, width=8), draws=20)
    for kind, theta in (("point", POINT), ("spread", SPREAD)):
        found[f"amortised {kind}"] = bm.fit(
            counts, tasks, theta=theta, phi=amortised, progress=False
        )
    return found


@pytest.mark.parametrize("kind", ["point", "spread"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_draws_of_a_task_are_its_own(fits: dict[str, bm.Posterior], name: str, kind: str) -> None:
    post = fits[f"{'linear' if name == 'exact' else 'counts'} {kind}"]
    check_alone(lambda tasks: post.adapt(tasks, phi=STRATEGIES[name]))


@pytest.mark.parametrize("kind", ["point", "spread"])
@pytest.mark.parametrize("refine", [None, bm.Refine(steps=3, rerun=None)], ids=["plain", "refined"])
def test_draws_of_an_amortised_task_are_its_own(
    fits: dict[str, bm.Posterior], refine: bm.Refine | None, kind: str
) -> None:
    check_alone(lambda tasks: fits[f"amortised {kind}"].adapt(tasks, refine=refine))


def test_draws_by_place_are_found_out(
    fits: dict[str, bm.Posterior], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: numbers by place in one long draw."""

    def by_place(self: TaskNoise, shape: list[int], dtype: torch.dtype) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(TaskNoise, "normal", by_place)
    with pytest.raises(AssertionError):
        check_alone(lambda tasks: fits["counts point"].adapt(tasks, phi=bm.Laplace(draws=20)))


def test_tasks_of_which_only_inputs_are_known_are_predicted() -> None:
    def lines(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi * tasks.x["x"], 0.1), obs=tasks.y)

    seen = bm.Tasks.from_arrays(
        [[1.0, 2.0], [2.0, 3.0]], {"x": [[1.0, 2.0], [1.0, 2.0]]}, names="ab"
    )
    post = bm.fit(lines, seen, theta=bm.Point(), phi=bm.Laplace(), progress=False)
    new = bm.Tasks.from_arrays(None, {"x": [[1.0, 3.0]]}, names=["c"])
    for refused in (post.predict, post.adapt):
        with pytest.raises(ValueError, match=r"without_data\(\)"):
            refused(new)
    adapted = post.adapt(new.without_data())
    predicted = adapted.predict(new)
    mu = float(post.theta["mu"][0, 0])
    assert np.allclose(predicted.mean[0], [mu, 3 * mu], atol=0.3)
    assert np.allclose(predicted.sd[0], [1.0, 3.0], rtol=0.1)
    assert torch.equal(new.x["x"], new.without_data().x["x"]) and new.y is None


@pytest.mark.parametrize(
    ("phi", "other", "fits"),
    [
        (bm.GradientSteps(2, 0.1, learn_lr=True), bm.GradientSteps(7, 0.2, learn_lr=True), True),
        (bm.GradientSteps(2, 0.1), bm.GradientSteps(7, 0.1, learn_lr=True), False),
        (bm.Amortised(draws=5), bm.Amortised(draws=70, candidates=1, bound=bm.ELBO()), True),
        (bm.Amortised(draws=5), bm.Amortised(draws=5, width=8), False),
        (bm.Amortised(draws=5), bm.Amortised(bm.DeepSet(8), draws=5), False),
    ],
)
def test_what_was_trained_decides_whether_a_strategy_fits(
    phi: bm.Phi, other: bm.Phi, fits: bool
) -> None:
    tasks = bm.Tasks.from_arrays(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    theta = bm.Point(adam=bm.Adam(steps=2, compile=False))
    post = bm.fit(normal_means.model, tasks, theta=theta, phi=phi, progress=False)
    if not fits:
        with pytest.raises(ValueError, match="a part of which is trained with theta"):
            post.adapt(tasks, phi=other)
        return
    adapted = post.adapt(tasks, phi=other)
    assert adapted.phi["phi"].shape[:2] == (1, other.draws_at_point)
