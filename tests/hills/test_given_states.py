"""A hill for each value of a discrete latent: against closed forms and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.hills import GivenStates, by_states, given_states
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.phi import laplace

GAP, NOISE = 3.0, 0.7
Y = [[-0.19, -0.62], [2.94], [2.48, 2.24, 0.6], [0.03, 0.54, -0.89, -0.27], [1.4, 1.7]]
TASKS = bm.Tasks.from_list(Y, names=list("abcde"))
# Kinds are far apart beside tau, and tau is as large as they are.
NARROW, WIDE = (
    {"share": torch.tensor(0.4), "mu": torch.tensor(-0.5), "tau": torch.tensor(tau)}
    for tau in (0.2, 2.5)
)


def plates(tasks: bm.Tasks) -> tuple[pyro.plate, pyro.plate]:
    return (
        pyro.plate("tasks", tasks.num_tasks, dim=-2),
        pyro.plate("data", tasks.num_data, dim=-1),
    )


def two_kinds(tasks: bm.Tasks) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    by_task, by_row = plates(tasks)
    with by_task:
        kind = pyro.sample("kind", dist.Bernoulli(share))
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        phi = pyro.deterministic("phi", mu + GAP * kind + tau * u)
        with by_row:
            pyro.sample("y", dist.Normal(phi, NOISE), obs=tasks.y)


def centred_kinds(tasks: bm.Tasks) -> None:
    """The same model, with phi itself drawn."""
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    by_task, by_row = plates(tasks)
    with by_task:
        kind = pyro.sample("kind", dist.Bernoulli(share))
        phi = pyro.sample("phi", dist.Normal(mu + GAP * kind, tau))
        with by_row:
            pyro.sample("y", dist.Normal(phi, NOISE), obs=tasks.y)


def closed_form(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """log p(D_i | theta), and p(kind_i = 1 | theta, D_i), (tasks,)."""
    each = []
    for kind, chance in enumerate((1 - values["share"], values["share"])):
        of_kind = []
        for y in Y:
            size = len(y)
            cov = NOISE**2 * torch.eye(size, dtype=torch.float64) + values["tau"] ** 2
            mean = (values["mu"] + GAP * kind).expand(size).double()
            at = torch.tensor(y, dtype=torch.float64)
            of_kind.append(dist.MultivariateNormal(mean, cov).log_prob(at) + chance.log())
        each.append(torch.stack(of_kind))
    total = torch.logaddexp(*each)
    return total, (each[1] - total).exp()


def evidence(model, phi: bm.Laplace, theta: Tensor | None = None, values=WIDE) -> Tensor:
    density = Density(read(model, TASKS))
    tasks = TASKS.to(dtype=torch.float64)
    at = density.theta_at(values, tasks) if theta is None else theta
    return phi.log_evidence(density, at, tasks)


@pytest.mark.parametrize("model", [two_kinds, centred_kinds])
@pytest.mark.parametrize("values", [NARROW, WIDE])
@pytest.mark.parametrize("particles", [0, 8])
def test_the_evidence_is_the_sum_over_values(model, values, particles: int) -> None:
    found = evidence(model, bm.Laplace(particles=particles), values=values)
    assert torch.allclose(found, closed_form(values)[0], atol=1e-6)


@pytest.mark.parametrize("particles", [0, 8])
def test_negative_control_one_expansion_of_the_sum_is_off(
    monkeypatch: pytest.MonkeyPatch, particles: int
) -> None:
    monkeypatch.setattr(laplace, "by_states", lambda *given: None)
    found = evidence(two_kinds, bm.Laplace(particles=particles))
    assert (found - closed_form(WIDE)[0]).abs().max() > 0.2


def test_its_slopes_are_those_of_the_sum() -> None:
    density = Density(read(two_kinds, TASKS))
    tasks = TASKS.to(dtype=torch.float64)
    theta = density.theta_at(WIDE, tasks).requires_grad_()
    (found,) = torch.autograd.grad(bm.Laplace().log_evidence(density, theta, tasks).sum(), theta)
    step, slopes = 1e-4, []
    for k in range(len(theta)):
        sides = []
        for sign in (1, -1):
            moved = theta.detach().clone()
            moved[k] += sign * step
            values = density.constrain(moved, torch.zeros(5, 1, dtype=torch.float64), tasks)
            sides.append(closed_form(values)[0].sum())
        slopes.append((sides[0] - sides[1]) / (2 * step))
    assert torch.allclose(found, torch.stack(slopes), atol=1e-5)


@pytest.mark.parametrize("model", [two_kinds, centred_kinds])
@pytest.mark.parametrize("values", [NARROW, WIDE])
def test_draws_are_from_all_hills(model, values) -> None:
    post = bm.fit(model, TASKS, theta=bm.Fixed(values), phi=bm.Laplace(draws=4000), progress=False)
    found, right = post.probabilities["kind"][..., 1].mean((0, 1)).double(), closed_form(values)[1]
    assert torch.allclose(found, right, atol=0.025)
    assert post.diagnose().pareto_k == {} and "places" not in str(post.diagnose())
    beside = bm.fit(model, TASKS, theta=bm.Fixed(values), phi=bm.Laplace(draws=50), progress=False)
    few = beside.adapt(TASKS.select(torch.tensor([1])))
    assert torch.equal(few.phi["phi"][:, :, 0], beside.adapt(TASKS).phi["phi"][:, :, 1])


def test_theta_is_that_of_quadrature() -> None:
    """The case that one expansion had .45 +- .27, without a word."""
    y = [[-0.19, -0.62], [-0.19, 0.71, -0.57], [2.94], [0.03, 0.54, -0.89, -0.27]]
    y += [[-2.24, -1.12], [2.48, 2.24, 0.6], [-0.19, -1.34], [2.19, 3.5, 2.2, 2.74, 3.38]]
    tasks = bm.Tasks.from_list(y)
    post = bm.fit(two_kinds, tasks, theta=bm.Importance(), phi=bm.Laplace(), progress=False)
    tau = post.theta["tau"]
    assert float(tau.mean()) == pytest.approx(0.553, abs=0.03)
    assert float(tau.std()) == pytest.approx(0.390, abs=0.04)


def test_hills_that_are_not_normal_are_weighed() -> None:
    """Counts of two kinds, against quadrature over phi."""
    counts = [[0, 1], [9, 14, 8], [3], [4, 2]]
    tasks = bm.Tasks.from_list([[float(v) for v in y] for y in counts])

    def model(tasks: bm.Tasks) -> None:
        low = pyro.sample("low", dist.Normal(0.0, 1.0))
        by_task, by_row = plates(tasks)
        with by_task:
            kind = pyro.sample("kind", dist.Bernoulli(0.3))
            phi = pyro.sample("phi", dist.Normal(low + 2.0 * kind, 0.8))
            with by_row:
                pyro.sample("y", dist.Poisson(phi.exp()), obs=tasks.y)

    grid = torch.linspace(-6, 8, 20001, dtype=torch.float64)
    log_p = torch.logaddexp(
        math.log(0.7) + dist.Normal(0.0, 0.8).log_prob(grid),
        math.log(0.3) + dist.Normal(2.0, 0.8).log_prob(grid),
    )
    like = [
        log_p + sum(dist.Poisson(grid.exp()).log_prob(torch.tensor(float(v))) for v in y)
        for y in counts
    ]
    right = torch.stack([x.logsumexp(0) + math.log(float(grid[1] - grid[0])) for x in like])
    density, exact = Density(read(model, tasks)), tasks.to(dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    found = bm.Laplace(particles=32).log_evidence(density, zero, exact)
    assert torch.allclose(found, right, atol=0.01)
    known = bm.Fixed({"low": torch.tensor(0.0)})
    post = bm.fit(model, tasks, theta=known, phi=bm.Laplace(draws=8000), progress=False)
    means = torch.stack([(x.softmax(0) * grid).sum() for x in like])
    squares = torch.stack([(x.softmax(0) * grid**2).sum() for x in like])
    sds = (squares - means.square()).sqrt()
    drawn = post.phi["phi"][0].double()
    assert torch.allclose(drawn.mean(0), means, atol=0.03)
    assert torch.allclose(drawn.std(0), sds, rtol=0.04)
    assert max(post.diagnose().pareto_k.values()) < 0.7


def test_what_has_no_values_is_left_as_it_is() -> None:
    def plain(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with by_row:
                absent = pyro.sample("absent", dist.Bernoulli(0.2))
                pyro.sample("y", dist.Normal(phi * (1 - absent), 1.0), obs=tasks.y)

    density = Density(read(plain, TASKS))
    assert by_states(density, TASKS) is None
    kinds = Density(read(two_kinds, TASKS))
    given, rows = by_states(kinds, TASKS)
    assert isinstance(given, GivenStates) and len(rows) == 10
    assert by_states(given, rows) is None


def test_a_model_that_holds_data_of_its_own_is_refused() -> None:
    own = torch.from_numpy(np.arange(5.0))[:, None]

    def model(tasks: bm.Tasks) -> None:
        by_task, by_row = plates(tasks)
        with by_task:
            kind = pyro.sample("kind", dist.Bernoulli(0.3))
            phi = pyro.sample("phi", dist.Normal(2.0 * kind + own.to(tasks.dtype), 0.8))
            with by_row:
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match=r"2 values of the discrete kind .*10 tasks side"):
        bm.fit(model, TASKS, theta=bm.Fixed({}), phi=bm.Laplace(), progress=False)
    assert given_states.check_rows(Density(read(two_kinds, TASKS)), TASKS) is None
