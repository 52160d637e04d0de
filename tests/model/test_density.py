"""The density is Pyro's own, term by term, on every model, in every parameterisation."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

import bayesmeta as bm
from bayesmeta.capturing.capture import capture, over_draws, value_and_gradient
from bayesmeta.model.density import Density, Terms
from bayesmeta.model.outcomes import pointwise
from bayesmeta.model.prior import draw_prior, theta_start
from bayesmeta.model.reading import read
from bayesmeta.models import eight_schools, normal_means
from bayesmeta.running.isolation import at_dtype, isolated
from tests.cases import EVERY, RICH_TASKS, ZOO, drop, rich


def point(density: Density, tasks: bm.Tasks, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        0.5 * torch.randn(density.d_theta, dtype=torch.float64, generator=generator),
        0.5 * torch.randn(tasks.num_tasks, density.d_phi, dtype=torch.float64, generator=generator),
    )


def build(name: str) -> tuple[Density, bm.Tasks, Tensor, Tensor]:
    model, tasks, _ = EVERY[name]
    density = Density(read(model, tasks))
    return density, tasks, *point(density, tasks)


def in_plates(density: Density, name: str, value: Tensor) -> Tensor:
    """A published value as the model holds it: phi (tasks, ...) with its place among plates."""
    node = density.structure.nodes[name]
    if name not in density.structure.phi:
        return value
    ahead = len(node.shape) - node.event_dim - 2
    return value.movedim(0, ahead).unsqueeze(ahead + 1)


def pyro_terms(density: Density, values: dict[str, Tensor], tasks: bm.Tasks) -> Terms:
    """The same three sums from Pyro's own trace, conditioned on the values."""
    whole = {n: in_plates(density, n, v) for n, v in values.items()}
    sums = {"theta": [], "phi": [], "data": []}
    with isolated(seed=0), at_dtype(tasks.dtype), pyro.validation_enabled(False):
        for node in density.structure.nodes.values():
            if node.name in values and node.distribution == "flat":
                pyro.get_param_store().setdefault(node.name, values[node.name])
        trace = poutine.trace(poutine.condition(density.model, whole)).get_trace(tasks)
        trace.compute_log_prob()
    for site in trace.nodes.values():
        if site["type"] != "sample" or type(site["fn"]).__name__ == "_Subsample":
            continue
        plates = {f.name for f in site["cond_indep_stack"]}
        log_prob = site["log_prob"]
        if "data" in plates:
            sums["data"].append(torch.where(tasks.mask, log_prob, 0.0).sum(-1))
        elif "tasks" in plates and not site["infer"].get("_deterministic"):
            rows = log_prob.sum(-1)
            sums["phi"].append(rows.sum(0) if rows.dim() > 1 else rows)
        elif "tasks" not in plates:
            sums["theta"].append(log_prob.sum())
    zero = torch.zeros(tasks.num_tasks, dtype=tasks.dtype)
    return Terms(*(sum(parts, zero[0] if k == "theta" else zero) for k, parts in sums.items()))


def assert_equal_terms(a: Terms, b: Terms, atol: float) -> None:
    for field, left, right in zip(Terms._fields, a, b, strict=True):
        assert left.shape == right.shape, field
        assert torch.allclose(left, right, rtol=1e-12, atol=atol), field


@pytest.mark.parametrize("name", EVERY)
def test_terms_are_pyros_own_sums(name: str) -> None:
    density, tasks, theta, phi = build(name)
    values = density.constrain(theta, phi, tasks)
    terms = density.terms(theta, phi, tasks, jacobian=False)
    assert terms.theta.dtype == torch.float64
    assert_equal_terms(terms, pyro_terms(density, values, tasks), 1e-10)
    back = density.terms(*density.unconstrain(values, tasks), tasks, jacobian=False)
    assert_equal_terms(terms, back, 1e-8)


@pytest.mark.parametrize("name", ZOO)
def test_noncentred_joint_is_the_centred_one_and_its_jacobian(name: str) -> None:
    density, tasks, theta, phi = build(name)
    values = density.constrain(theta, phi, tasks)
    other = density.noncentre(density.structure.phi)
    theta_u, u = other.unconstrain(values, tasks)
    assert torch.allclose(theta_u, theta)
    for key, value in other.constrain(theta_u, u, tasks).items():
        assert torch.allclose(value, values[key])
    scale = sum(
        torch.as_tensor(fn.stddev).log().sum((-2, -1) if fn.event_shape else -1)
        for fn in density.distributions(theta, phi, tasks).values()
    )
    centred, noncentred = (
        density.terms(theta, phi, tasks, jacobian=False),
        other.terms(theta_u, u, tasks, jacobian=False),
    )
    assert torch.allclose(noncentred.data, centred.data, atol=1e-10)
    assert torch.allclose(noncentred.phi, centred.phi + scale, atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_constrain_and_back(name: str) -> None:
    density, tasks, theta, phi = build(name)
    values = density.constrain(theta, phi, tasks)
    for site in density.structure.phi:
        assert len(values[site]) == tasks.num_tasks
    back = density.unconstrain(values, tasks)
    assert torch.allclose(back[0], theta, atol=1e-8)
    assert torch.allclose(back[1], phi, atol=1e-8)


@pytest.mark.parametrize("name", EVERY)
def test_padding_to_twice_the_width_changes_nothing(name: str) -> None:
    density, tasks, theta, phi = build(name)
    wide = tasks.widen(2 * tasks.num_data)
    assert wide.num_data == 2 * tasks.num_data
    assert torch.equal(wide.sizes, tasks.sizes)
    assert_equal_terms(density.terms(theta, phi, tasks), density.terms(theta, phi, wide), 1e-12)
    theta.requires_grad_()
    a, b = (sum(t.sum() for t in density.terms(theta, phi, d)) for d in (tasks, wide))
    assert torch.allclose(*(torch.autograd.grad(v, theta)[0] for v in (a, b)), atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_pointwise_sums_to_data(name: str) -> None:
    density, tasks, theta, phi = build(name)
    points = pointwise(density, theta, phi, tasks, density.reading.scored)
    assert points.shape == tasks.mask.shape
    assert not points[~tasks.mask].any()
    data = density.terms(theta, phi, tasks).data
    # A factor weighs phi and is no datapoint: prototypes has one.
    assert torch.allclose(points.sum(1), data, atol=1e-10) != density.has_data_factors


def test_jacobian_of_every_transform_by_autograd() -> None:
    """log |det dx/du| of HalfCauchy, Uniform(0, scale), simplex and parameter, from autograd."""
    density, tasks, theta, phi = build("eight_schools")
    with_it, without = (density.terms(theta, phi, tasks, jacobian=j) for j in (True, False))
    tau = density.constrain(theta, phi, tasks)["tau"]
    assert torch.allclose(with_it.theta - without.theta, tau.log())
    density, tasks, theta, phi = build("rich")
    terms = [density.terms(theta, phi, tasks, jacobian=j) for j in (True, False)]
    free = ("scale", "width", "level", "mix")

    def constrained(flat: Tensor) -> Tensor:
        values = density.constrain(flat, phi, tasks)
        return torch.cat([values[n].reshape(-1)[: 2 if n == "mix" else None] for n in free])

    columns = [i for n in free for i in range(density.segments[n].start, density.segments[n].stop)]
    jacobian = torch.autograd.functional.jacobian(constrained, theta)[:, columns]
    # The partial correlation z = tanh(u) is chol's lower left entry; its diagonal follows.
    u = theta[density.segments["chol"].start]
    expected = jacobian.det().abs().log() + (1 - torch.tanh(u) ** 2).log()
    assert torch.allclose(terms[0].theta - terms[1].theta, expected, atol=1e-8)


@pytest.mark.parametrize("name", ["eight_schools", "logistic_ragged", "rich"])
def test_gradients_by_finite_differences(name: str) -> None:
    density, tasks, theta, phi = build(name)

    def joint(theta: Tensor, phi: Tensor) -> Tensor:
        return sum(t.sum() for t in density.terms(theta, phi, tasks))

    inputs = theta.requires_grad_(), phi.requires_grad_()
    assert torch.autograd.gradcheck(joint, inputs)
    graph = capture(value_and_gradient(joint, 2), [theta, phi])
    value, *gradients = graph(theta.detach(), phi.detach())
    eager = joint(*inputs)
    assert torch.allclose(value, eager, atol=1e-12)
    for got, expected in zip(gradients, torch.autograd.grad(eager, inputs), strict=True):
        assert torch.allclose(got, expected, atol=1e-10)


@pytest.mark.parametrize("name", ["normal_means_ragged", "linear_ragged", "rich"])
def test_captured_graph_takes_other_data_and_vmaps(name: str) -> None:
    density, tasks, theta, phi = build(name)

    def terms(theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        return tuple(density.terms(theta, phi, tasks.with_tensors(data)))

    graph = capture(terms, [theta, phi, *tasks.tensors()])
    other = tasks[[*range(1, tasks.num_tasks), 0]]
    assert other.ragged
    points = [point(density, other, seed) for seed in range(5)]
    for at in points:
        expected = density.terms(*at, other)
        assert_equal_terms(Terms(*graph(*at, *other.tensors())), expected, 1e-12)
        assert not torch.allclose(density.terms(*at, tasks).data, expected.data)
    draws = [torch.stack(level) for level in zip(*points, strict=True)]
    together = over_draws(graph, draws, other.tensors(), at_once=2)
    for i, at in enumerate(points):
        assert_equal_terms(Terms(*(t[i] for t in together)), density.terms(*at, other), 1e-12)


def test_other_numbers_of_tasks_and_datapoints() -> None:
    density, _, theta, _ = build("normal_means")
    few = normal_means.tasks(num_tasks=3, num_data=2, seed=4)
    _, phi = point(density, few)
    terms = density.terms(theta, phi, few)
    expected = dist.Normal(phi, normal_means.SIGMA).log_prob(few.y).where(few.mask, 0.0).sum(1)
    assert torch.allclose(terms.data, expected)


def test_an_empty_task_has_no_evidence_and_keeps_its_prior() -> None:
    model, tasks, _ = ZOO["linear"]
    tasks = drop(tasks)
    density = Density(read(model, tasks))
    terms = density.terms(*point(density, tasks), tasks)
    assert terms.data[-1] == 0
    assert terms.phi[-1] != 0


def test_prior_draws_of_parameters_are_their_start() -> None:
    density = Density(read(rich, RICH_TASKS))
    with isolated(seed=1):
        theta, phi = draw_prior(density, RICH_TASKS)
    values = density.constrain(theta, phi, RICH_TASKS)
    assert values["level"] == 0.5
    assert (values["within"].abs() < values["width"]).all()
    assert torch.allclose(values["share"].sum(-1), torch.ones(4, dtype=torch.float64))
    assert values["bend"].shape == (4, 4)


def test_noncentring_refuses_what_has_no_location_and_scale() -> None:
    density = Density(read(rich, RICH_TASKS))
    for name, words in [
        ("share", "no loc"),
        ("pair", "no loc"),
        ("scale", "no loc"),
        ("nobody", "no latent"),
    ]:
        with pytest.raises(bm.StructureError, match=rf"'{name}'.*{words}"):
            density.noncentre([name])


def test_negative_control_another_prior_is_another_density() -> None:
    def wider(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.001))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            effect = pyro.sample("effect", dist.Normal(mu, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(effect, tasks.x["sigma"]), obs=tasks.y)

    density, tasks, theta, phi = build("eight_schools")
    assert density.model is eight_schools.model
    other = Density(read(wider, tasks))
    gap = density.terms(theta, phi, tasks).theta - other.terms(theta, phi, tasks).theta
    assert gap.abs() > 1e-5


def test_training_starts_from_prior_means_and_from_a_parameters_own_value() -> None:
    def model(tasks: bm.Tasks) -> None:
        start = torch.tensor([0.5, -1.0], dtype=torch.float64)
        weights = pyro.param("weights", start)
        mu = pyro.sample("mu", dist.Normal(weights[0], 1.0))
        tau = pyro.sample("tau", dist.HalfCauchy(2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    tasks = normal_means.tasks()
    density = Density(read(model, tasks))
    phi = torch.zeros(tasks.num_tasks, 1, dtype=torch.float64)
    found = density.constrain(theta_start(density, tasks), phi, tasks)
    assert found["weights"].tolist() == [0.5, -1.0]
    assert found["mu"] == 0.5
    # A half-Cauchy has no mean; its median is its scale.
    assert torch.isclose(found["tau"], torch.tensor(2.0, dtype=torch.float64))
