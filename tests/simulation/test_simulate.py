"""Studies are drawn of the density that is fitted, or the model is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import eight_schools, normal_means, radon
from tests.cases import RICH_TASKS, rich

TASKS = normal_means.tasks(num_tasks=4, num_data=3)
PAIRS = bm.Tasks.from_arrays(torch.rand(4, 3, 2, dtype=torch.float64), mask=TASKS.mask)


def of(outcome: Callable[[bm.Tasks, torch.Tensor], object]) -> Callable[[bm.Tasks], None]:
    """A model of one phi a task, with these outcomes."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                outcome(tasks, phi)

    return model


def observed(tasks: bm.Tasks, fn: object, name: str = "y") -> object:
    return pyro.sample(name, fn, obs=tasks.y)


def test_study_k_depends_on_the_seed_and_k_alone() -> None:
    few = bm.simulate(eight_schools.model, eight_schools.tasks(), studies=3, seed=5)
    many = bm.simulate(eight_schools.model, eight_schools.tasks(), studies=1000, seed=5)
    assert len(few) == 3 and len(many) == 1000 and len(list(few)) == len(few[:5]) == 3
    assert torch.equal(few[2].tasks.y, many[2].tasks.y) and torch.equal(
        few[-1].tasks.y, few[2].tasks.y
    )
    assert not torch.equal(few[0].tasks.y, few[1].tasks.y)
    other = bm.simulate(eight_schools.model, eight_schools.tasks(), seed=6)
    assert not torch.equal(few[0].tasks.y, other[0].tasks.y)
    for k, wanted in ((3, 4), (400, 401), (-4, 4)):
        said = f"no study {k}: simulate drew 3, which are numbered 0 to 2; give studies={wanted}"
        with pytest.raises(IndexError, match=said):
            few[k]


def test_a_study_has_the_design_and_the_truth_by_site() -> None:
    study = bm.simulate(normal_means.model, TASKS)[0]
    assert study.tasks.names == TASKS.names and torch.equal(study.tasks.mask, TASKS.mask)
    assert study.theta["mu"].shape == () and study.phi["phi"].shape == (4, 1)[:1]
    assert study.tasks.identity is None
    post = bm.fit(
        normal_means.model, study.tasks, theta=bm.Importance(), phi=bm.Exact(), progress=False
    )
    assert post.theta.keys() == study.theta.keys() and post.phi.keys() == study.phi.keys()


def test_moments_are_those_of_the_model() -> None:
    studies = list(bm.simulate(normal_means.model, TASKS, studies=400, seed=1))
    mu = torch.stack([s.theta["mu"] for s in studies])
    phi = torch.stack([s.phi["phi"] for s in studies])
    off = torch.stack([(s.tasks.y - s.phi["phi"][:, None])[TASKS.mask] for s in studies])
    assert float(mu.std()) == pytest.approx(normal_means.MU_SD, rel=0.12)
    assert float((phi - mu[:, None]).std()) == pytest.approx(normal_means.TAU, rel=0.1)
    assert float(off.std()) == pytest.approx(normal_means.SIGMA, rel=0.1)
    assert float(off.mean()) == pytest.approx(0.0, abs=0.1)


def test_outcomes_are_drawn_right_where_torch_does_not() -> None:
    """A quarter of torch's draws of Beta(.001, .001) are exactly one half."""
    ones = torch.full((4, 100), 0.001, dtype=torch.float64)
    tasks = bm.Tasks.from_arrays(torch.rand(4, 100, dtype=torch.float64))
    model = of(lambda t, phi: observed(t, dist.Beta(ones + 0 * phi, ones)))
    study = bm.simulate(model, tasks)[0]
    assert not (study.tasks.y == 0.5).any()
    assert (dist.Beta(ones, ones).sample() == 0.5).any()


def limited(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    observed(tasks, bm.Censored(dist.Normal(phi, 1.0).expand(tasks.mask.shape), upper=0.5))


def two(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    y = (None, None) if tasks.y is None else tasks.y.unbind(-1)
    first = pyro.sample("first", dist.Normal(phi, 1.0), obs=y[1])
    pyro.sample("second", dist.Normal(first, 0.001), obs=y[0])


def mixed(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    z = pyro.sample("z", dist.Bernoulli(0.5))
    observed(tasks, dist.Normal(torch.where(z > 0, phi, phi + 100.0), 1.0))


def local(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    truth = pyro.sample("truth", dist.Normal(phi, 1.0))
    observed(tasks, dist.Normal(truth, 0.001))


def in_part(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    with poutine.mask(mask=torch.tensor([True, False, True])):
        observed(tasks, dist.Normal(phi, 1.0))


@pytest.mark.parametrize("outcome", [limited, mixed, local, in_part])
def test_models_that_can_be_simulated(outcome: Callable[..., None]) -> None:
    assert TASKS.y is not None
    tasks = replace(TASKS, y=TASKS.y.clamp(max=0.5)) if outcome is limited else TASKS
    study = bm.simulate(of(outcome), tasks, seed=3)[0]
    y, real = study.tasks.y, TASKS.mask
    assert y.isfinite().all()
    if outcome is limited:
        assert y.max() == 0.5
    if outcome is local:
        assert torch.allclose(study.phi["truth"][real], y[real], atol=0.01)
    if outcome is mixed:
        far = y > 50
        assert torch.equal(study.phi["z"][real] == 0, far[real])


def test_outcomes_that_read_each_other_belong_together_and_lie_where_they_are_observed() -> None:
    study = bm.simulate(of(two), PAIRS)[0]
    y = study.tasks.y[PAIRS.mask]
    assert torch.allclose(y[:, 0], y[:, 1], atol=0.01) and y.std() > 0.1


def test_outcomes_of_several_numbers_and_classes() -> None:
    def vector(tasks: bm.Tasks, phi: torch.Tensor) -> None:
        observed(tasks, dist.Normal(phi[..., None], 1.0).expand([*phi.shape, 2]).to_event(1))

    assert bm.simulate(of(vector), PAIRS)[0].tasks.y.shape == (4, 3, 2)
    classes = replace(TASKS, y=torch.arange(12.0, dtype=torch.float64).reshape(4, 3) % 3)
    model = of(
        lambda t, phi: observed(t, dist.Categorical(logits=phi[..., None] * torch.arange(3.0)))
    )
    found = bm.simulate(model, classes)[0].tasks.y
    assert set(found.unique().tolist()) <= {0.0, 1.0, 2.0} and found.dtype == torch.float64


def weighted(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    with poutine.scale(scale=2.0):
        observed(tasks, dist.Normal(phi, 1.0))


def factored(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    observed(tasks, dist.Normal(phi, 1.0))
    pyro.factor("extra", -0.1 * phi**2)


def logged(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    pyro.sample("y", dist.Normal(phi, 1.0), obs=None if tasks.y is None else tasks.y.exp())


def lagged(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    y = torch.zeros(tasks.mask.shape, dtype=torch.float64) if tasks.y is None else tasks.y
    before = torch.nn.functional.pad(y[:, :-1], (1, 0))
    observed(tasks, dist.Normal(phi + 0.5 * before, 1.0))


def masked_by_y(tasks: bm.Tasks, phi: torch.Tensor) -> None:
    y = torch.zeros(tasks.mask.shape, dtype=torch.float64) if tasks.y is None else tasks.y
    with poutine.mask(mask=y < 1.0):
        observed(tasks, dist.Normal(phi, 1.0))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (weighted, "'y' is weighted by poutine.scale"),
        (factored, "'extra' is a pyro.factor"),
        (logged, "'y' observes other numbers"),
        (lagged, "the density of site 'y' reads y"),
        (masked_by_y, "the density of site 'y' reads y"),
    ],
)
def test_what_is_of_no_draws_is_refused(outcome: Callable[..., None], said: str) -> None:
    with pytest.raises(bm.StructureError, match=said):
        bm.simulate(of(outcome), TASKS)


def test_flat_priors_are_refused_by_name() -> None:
    with pytest.raises(bm.StructureError, match="'theta' has a flat prior"):
        bm.simulate(with_param, TASKS)
    with pytest.raises(bm.StructureError, match="'level' has a flat prior"):
        bm.simulate(rich, RICH_TASKS)


def with_param(tasks: bm.Tasks) -> None:
    theta = pyro.param("theta", torch.tensor(0.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(theta, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            observed(tasks, dist.Normal(phi, 1.0))


def test_masked_latents_queries_and_no_tasks_are_refused() -> None:
    def masked(tasks: bm.Tasks) -> None:
        with poutine.mask(mask=False):
            mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                observed(tasks, dist.Normal(phi, 1.0))

    with pytest.raises(bm.StructureError, match="latent 'mu' is masked"):
        bm.simulate(masked, TASKS)
    with pytest.raises(bm.StructureError, match="tasks with a query"):
        bm.simulate(normal_means.model, TASKS.with_query(TASKS))
    with pytest.raises(TypeError, match="tasks is a list"):
        bm.simulate(normal_means.model, [TASKS])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="studies=0"):
        bm.simulate(normal_means.model, TASKS, studies=0)


def test_outcomes_that_overflow_are_told_of() -> None:
    model = of(lambda t, phi: observed(t, dist.Normal((1000 * (3 + phi)).exp(), 1.0)))
    with pytest.raises(ValueError, match="'y' drew an outcome that is no finite number in task"):
        list(bm.simulate(model, TASKS, studies=20))


def test_ragged_tasks_and_columns() -> None:
    tasks = radon.tasks()
    study = bm.simulate(radon.model, tasks)[0]
    assert torch.equal(study.tasks.x["floor"], tasks.x["floor"])
    assert study.tasks.y.isfinite().all() and torch.equal(study.tasks.sizes, tasks.sizes)
