"""Densities are zero outside of supports, whatever wraps them, and cost nothing where they are."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import transforms as t

import bayesmeta as bm
from bayesmeta.capturing.capture import capture, over_draws, value_and_gradient
from bayesmeta.distributions.supports import bijection, edges, log_prob_within, within
from bayesmeta.model.checked_run import run_followed
from bayesmeta.model.checks import edges_read
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.running import handlers
from bayesmeta.running.handlers import Model
from tests.cases import EVERY

TASKS = bm.Tasks.from_list([[3.0, 2.2, 5.0], [0.7, 0.9]]).to(dtype=torch.float64)
B = torch.tensor([0.5, 2.0], dtype=torch.float64)


def shifted(base: dist.Distribution, by: Tensor) -> dist.Distribution:
    return dist.TransformedDistribution(base, [t.AffineTransform(by, 1.0)])


def exponential(by: Tensor) -> dist.Distribution:
    return shifted(dist.Exponential(torch.ones_like(by)), by)


def lognormal(by: Tensor) -> dist.Distribution:
    normal = dist.Normal(torch.zeros_like(by), 1.0)
    parts = [t.ExpTransform(), t.ComposeTransform([t.AffineTransform(by, 2.0)])]
    return dist.TransformedDistribution(normal, parts)


def mixture(by: Tensor) -> dist.Distribution:
    pair = torch.stack([by, by + 1.0], -1)
    return dist.MixtureSameFamily(dist.Categorical(torch.ones_like(pair)), exponential(pair))


def oracle(kind: str, b: float, y: float) -> float:
    """The log density by scipy."""
    if kind == "pareto":
        return float(scipy.stats.pareto.logpdf(y, 2.0, scale=b))
    if kind == "uniform":
        return float(scipy.stats.uniform.logpdf(y, 0.0, b))
    if kind == "lognormal":
        return float(scipy.stats.lognorm.logpdf(y, 1.0, loc=b, scale=2.0))
    if kind == "mixture":
        both = [scipy.stats.expon.pdf(y, loc=b + k) for k in (0.0, 1.0)]
        return float(torch.tensor(sum(both) / 2).log())
    return float(scipy.stats.expon.logpdf(y, loc=b))


KINDS = {
    "pareto": lambda b: dist.Pareto(b, torch.full_like(b, 2.0)),
    "uniform": lambda b: dist.Uniform(torch.zeros_like(b), b),
    "exponential": exponential,
    "expanded": lambda b: dist.ExpandedDistribution(exponential(b), b.shape),
    "masked": lambda b: exponential(b).mask(torch.ones_like(b) > 0),
    "lognormal": lognormal,
    "mixture": mixture,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("y", [0.4, 1.0, 1.7, 2.5, 4.0])
def test_the_density_is_scipys_inside_and_outside(kind: str, y: float) -> None:
    b = B.clone().requires_grad_()
    fn, value = KINDS[kind](b), torch.full_like(B, y)
    found = log_prob_within(fn, value)
    expected = torch.tensor([oracle(kind, float(at), y) for at in B], dtype=torch.float64)
    assert torch.allclose(found, expected)
    assert within(fn, value).tolist() == (expected > -torch.inf).tolist()
    assert edges(fn)
    possible = found[expected > -torch.inf].sum()
    (gradient,) = torch.autograd.grad(possible + 0 * b.sum(), b)
    assert torch.isfinite(gradient).all()
    # All of it, as a density that is captured is differentiated.
    (whole,) = torch.autograd.grad(log_prob_within(KINDS[kind](b), value).sum(), b)
    assert torch.isfinite(whole).all()


def test_negative_control_torchs_own_density_goes_on_outside() -> None:
    outside, b = torch.full_like(B, 0.4), B.clone().requires_grad_()
    at = torch.tensor([0.5, 2.0], dtype=torch.float64)
    with pyro.validation_enabled(False):
        assert (exponential(B).log_prob(outside) > 0).all()
        assert lognormal(B).log_prob(outside).isnan().all()
        assert (dist.Pareto(B, torch.full_like(B, 2.0)).log_prob(outside) > -10).all()
        found = torch.where(at > b, lognormal(b).log_prob(at), -torch.inf)
    assert torch.autograd.grad(found.sum(), b)[0].isnan().all()


def test_events_are_outside_where_one_entry_is() -> None:
    fn = exponential(torch.zeros(2, 3)).to_event(1)
    value = torch.tensor([[1.0, 2.0, 3.0], [1.0, -2.0, 3.0]])
    assert within(fn, value).tolist() == [True, False]
    assert log_prob_within(fn, value).tolist() == [-6.0, -torch.inf]
    hidden = fn.mask(torch.tensor([True, False]))
    assert log_prob_within(hidden, value).tolist() == [-6.0, 0.0]


@pytest.mark.parametrize(
    "fn",
    [
        dist.LogNormal(B, 1.0),
        dist.Gamma(B, 1.0),
        dist.TransformedDistribution(dist.Normal(B, 1.0), [t.AffineTransform(B, 2.0)]),
        dist.TransformedDistribution(dist.Normal(0.0, B), [t.ExpTransform()]).to_event(1),
        dist.StudentT(3.0, B, 1.0).mask(False),
    ],
)
def test_the_edges_of_these_are_fixed(fn: dist.Distribution) -> None:
    assert not edges(fn)
    assert type(bijection(fn)) is type(torch.distributions.biject_to(fn.support))


def test_a_bijection_leads_onto_the_support_and_no_further() -> None:
    u = torch.linspace(-30, 30, 61, dtype=torch.float64)[:, None]
    for kind in ("exponential", "lognormal", "masked"):
        fn = KINDS[kind](B)
        x = bijection(fn)(u)
        assert within(fn, x).all()
        assert torch.allclose(bijection(fn)(bijection(fn).inv(x[20:])), x[20:])
    # Negative control: torch's own leads out of it.
    wide = torch.distributions.biject_to(exponential(B).support)(u)
    assert not within(exponential(B), wide).all()


def model(tasks: bm.Tasks) -> None:
    low = pyro.sample("low", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        b = pyro.sample("b", shifted(dist.Exponential(torch.ones(tasks.num_tasks, 1)), low))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", exponential(b + torch.zeros(1, 1)), obs=tasks.y)


def test_a_reading_knows_whose_support_is_drawn() -> None:
    found = read(model, TASKS)
    assert found.bounded == {"y": ("b",)}
    density = Density(found)
    theta = torch.tensor([-1.0], dtype=torch.float64)
    values = {"low": theta[0], "b": torch.tensor([[2.0], [0.8]], dtype=torch.float64)[:, 0]}
    theta, phi = density.unconstrain(values, TASKS)
    terms = density.terms(theta, phi, TASKS, jacobian=False)
    # Of the second task 0.7 is below 0.8; the first is exact.
    assert torch.isclose(terms.data[0], torch.tensor(-(3.0 + 2.2 + 5.0 - 6.0)).double())
    assert terms.data[1] == -torch.inf
    assert torch.isclose(terms.phi, -(values["b"] + 1.0)).all()


def test_an_edge_that_provenance_loses_is_found_by_another_draw() -> None:
    def hidden(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            moved = torch.zeros(b.shape)
            moved[:] = b
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", exponential(moved + torch.zeros(1, 1)), obs=tasks.y)

    far = bm.Tasks.from_list([[8.0, 9.0], [7.0]]).to(dtype=torch.float64)
    assert not edges_read(run_followed(hidden, far).followed["y"])
    assert read(hidden, far).bounded == {"y": ("b",)}


def test_a_latent_with_a_shifted_support_stays_on_it() -> None:
    density = Density(read(model, TASKS))
    phi = torch.tensor([[-20.0], [3.0]], dtype=torch.float64)
    values = density.constrain(torch.zeros(1, dtype=torch.float64), phi, TASKS)
    assert (values["b"] > 0).all()


def test_captured_and_over_draws_it_is_the_same() -> None:
    density = Density(read(model, TASKS))

    def joint(theta: Tensor, phi: Tensor) -> Tensor:
        return sum(x.sum() for x in density.terms(theta, phi, TASKS))

    theta = torch.zeros(3, 1, dtype=torch.float64)
    phi = torch.tensor([-0.5, 0.4, 3.0], dtype=torch.float64)[:, None, None].expand(3, 2, 1)
    graph = capture(value_and_gradient(joint, 2), [theta[0], phi[0]])
    value, *gradients = over_draws(graph, [theta, phi], [])
    assert (value > -torch.inf).tolist() == [True, False, False]
    assert torch.isclose(value[0], joint(theta[0], phi[0]))
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", EVERY)
def test_models_of_fixed_supports_have_the_graph_they_had(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tasks, _ = EVERY[name]

    def nodes(density: Density) -> int:
        theta = torch.zeros(density.d_theta, dtype=tasks.dtype)
        phi = torch.zeros(tasks.num_tasks, density.d_phi, dtype=tasks.dtype)
        terms = lambda *at: sum(x.sum() for x in density.terms(*at, tasks))  # noqa: E731
        return len(capture(value_and_gradient(terms, 2), [theta, phi]).graph.nodes)

    monkeypatch.setattr(handlers, "log_prob_within", None)
    reading = read(model, tasks)
    assert not reading.bounded
    assert nodes(Density(reading)) > 0


def test_negative_control_of_the_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    density = Density(read(model, TASKS))
    monkeypatch.setattr(handlers, "log_prob_within", None)
    with pytest.raises(TypeError):
        density.terms(torch.zeros(1).double(), torch.zeros(2, 1).double(), TASKS)


COUNTS = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]], [[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]]])


def counted(total: int) -> Model:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            share = pyro.sample("share", dist.Dirichlet(torch.ones(3)))
            with pyro.plate("data", tasks.num_data, dim=-1):
                chances = dist.Multinomial(total, probs=share, validate_args=False)
                pyro.sample("y", chances, obs=tasks.y)

    return model


def test_counts_that_do_not_add_up_are_refused() -> None:
    tasks = bm.Tasks.from_arrays(COUNTS.double())
    with pytest.raises(
        bm.StructureError, match=r"'y' is \[2.0, 1.0, 0.0\].* add up to total_count"
    ):
        read(counted(4), tasks)
    # torch's own density does not mind.
    assert dist.Multinomial(4, probs=torch.ones(3)).log_prob(COUNTS[0, 0]) > -torch.inf


def test_counts_have_the_density_of_scipy_and_vmap() -> None:
    tasks = bm.Tasks.from_arrays(COUNTS.double())
    density = Density(read(counted(3), tasks))
    phi = torch.tensor([[0.3, -0.2], [1.0, 0.4]], dtype=torch.float64)
    theta = torch.zeros(0, dtype=torch.float64)
    shares = density.constrain(theta, phi, tasks)["share"].numpy()
    found = density.terms(theta, phi, tasks).data
    for i, share in enumerate(shares):
        expected = scipy.stats.multinomial.logpmf(COUNTS[i].numpy(), 3, share).sum()
        assert float(found[i]) == pytest.approx(expected)
    post = bm.fit(counted(3), tasks, theta=bm.Fixed({}), phi=bm.HMC(2000), progress=False)
    exact = (1 + COUNTS.sum(1)) / 9
    assert (post.phi["share"][0].mean(0) - exact).abs().max() < 0.02


def mixture_of(components: object) -> Model:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            chances = dist.Categorical(torch.tensor([0.3, 0.7]))
            a = pyro.sample("a", dist.MixtureSameFamily(chances, components))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(a, 1.0), obs=tasks.y)

    return model


@pytest.mark.parametrize(
    "components",
    [
        dist.Normal(torch.tensor([-0.5, 1.0]), 0.5),
        dist.LogNormal(torch.tensor([-0.3, 0.4]), 0.5),
    ],
    ids=["Normal", "LogNormal"],
)
def test_a_mixture_as_prior_is_sampled(components: object) -> None:
    tasks = bm.Tasks.from_arrays([[0.4, -0.2], [1.2, 1.0]]).to(dtype=torch.float64)
    nuts = bm.NUTS(chains=2, tune=200, draws=1000, compile=False, noncentred=())
    post = bm.fit(mixture_of(components), tasks, theta=nuts, progress=False)
    a = torch.linspace(-6, 12, 20_001, dtype=torch.float64)
    a = a[a > 0] if isinstance(components, dist.LogNormal) else a
    prior = (components.log_prob(a[:, None]).exp() * torch.tensor([0.3, 0.7])).sum(1)
    for task in (0, 1):
        weight = prior * dist.Normal(a[:, None], 1.0).log_prob(tasks.y[task]).sum(1).exp()
        mean = (weight * a).sum() / weight.sum()
        assert abs(post.phi["a"][..., task].mean() - mean) < 0.12


def test_a_mixture_with_edges_of_its_own_is_refused_by_name() -> None:
    components = dist.Uniform(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 4.0]))
    tasks = bm.Tasks.from_arrays([[0.4, 1.2]])
    with pytest.raises(bm.StructureError, match=r"site 'a' \(MixtureSameFamily\) has the support"):
        bm.fit(mixture_of(components), tasks, progress=False)
