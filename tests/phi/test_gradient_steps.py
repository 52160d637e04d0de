"""GradientSteps against the Gaussian MAP identity, and its outer gradient."""

from __future__ import annotations

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import normal_means

F64 = torch.float64


def curved(tasks):
    """A likelihood that is no quadratic in phi, so that the order of the gradient matters."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(torch.sin(2.0 * phi), 0.5), obs=tasks.y)


def density_of(model, tasks):
    return Density(read(model, tasks))


@pytest.mark.parametrize("steps", [0, 1, 5, 20])
def test_steps_on_a_quadratic_are_map_under_a_gaussian_prior_at_theta(steps):
    """Precision h (1 - a h)^k / (1 - (1 - a h)^k) of the prior: the design's oracle, to 1e-10."""
    tasks = normal_means.tasks(num_tasks=6, num_data=4, seed=2)
    lr, theta = 0.05, torch.tensor([0.7], dtype=F64)
    strategy = bm.GradientSteps(steps, lr)
    found = strategy.infer(
        density_of(normal_means.model, tasks), theta[None], tasks, torch.Generator(), is_point=True
    )[0, :, 0]
    sizes = tasks.sizes.to(F64)
    mean = torch.where(tasks.mask, tasks.y, 0.0).sum(1) / sizes
    h = sizes / normal_means.SIGMA**2
    left = (1 - lr * h) ** steps
    if steps == 0:
        expected = theta.expand(len(h))
    else:
        precision = h * left / (1 - left)
        expected = (precision * theta + h * mean) / (precision + h)
    assert torch.allclose(found, expected, atol=1e-10, rtol=0)


def outer_gradient(strategy, tasks, query, at):
    theta = torch.tensor([at], dtype=F64, requires_grad=True)
    support = tasks.with_query(query)
    value = strategy.log_evidence(density_of(curved, tasks), theta, support).sum()
    return torch.autograd.grad(value, theta)[0].item()


def finite_difference(strategy, tasks, query, at, eps=1e-5):
    density, support = density_of(curved, tasks), tasks.with_query(query)
    up, down = (
        strategy.log_evidence(density, torch.tensor([at + e], dtype=F64), support).sum().item()
        for e in (eps, -eps)
    )
    return (up - down) / (2 * eps)


def test_outer_gradient_equals_finite_differences_and_the_first_order_one_does_not():
    tasks = bm.Tasks.from_arrays(torch.linspace(-1, 1, 12, dtype=F64).reshape(3, 4))
    support, query = tasks.split(2, seed=0)
    at, second, first = 0.3, bm.GradientSteps(3, 0.1), bm.GradientSteps(3, 0.1, first_order=True)
    expected = finite_difference(second, support, query, at)
    assert outer_gradient(second, support, query, at) == pytest.approx(expected, rel=1e-6)
    # The negative control: dropping the dependence of the steps on theta must show.
    assert abs(outer_gradient(first, support, query, at) - expected) > 1e-2 * abs(expected)


def test_a_model_without_phi_is_refused_by_name():
    def pooled(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        plate = pyro.plate("tasks", tasks.num_tasks, dim=-2)
        with plate, pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=tasks.y)

    tasks = normal_means.tasks(num_tasks=3)
    with pytest.raises(bm.StructureError, match=r"no phi, but .*GradientSteps.*phi=bm.Joint"):
        bm.fit(pooled, tasks, theta=bm.Point(), phi=bm.GradientSteps(), progress=False)


def test_maml_learns_the_prior_mean_that_its_steps_need():
    """Trained with a query, theta beats theta = 0 on the query of tasks never seen."""
    train = normal_means.tasks(num_tasks=60, num_data=10, seed=0, ragged=False)
    shift = 3.0
    train = bm.Tasks.from_arrays(train.y + shift)
    support, query = train.split(2, seed=0)
    strategy = bm.GradientSteps(2, 0.1)
    post = bm.fit(
        normal_means.model,
        support,
        query=query,
        theta=bm.Point(adam=bm.Adam(lr=0.05, steps=400, compile=False)),
        phi=strategy,
        progress=False,
    )
    mean = train.y.mean().item()
    assert post.theta["mu"].item() == pytest.approx(mean, abs=0.35)
    assert post.losses[-50:].mean() < post.losses[:20].mean()


def test_with_prior_many_steps_reach_the_mode():
    tasks = normal_means.tasks(num_tasks=4, num_data=3, seed=2)
    density, theta = density_of(normal_means.model, tasks), torch.tensor([[0.7]], dtype=F64)
    mode = bm.Mode().infer(density, theta, tasks, torch.Generator(), is_point=True)
    for with_prior in (True, False):
        steps = bm.GradientSteps(40, 0.3, with_prior=with_prior)
        found = steps.infer(density, theta, tasks, torch.Generator(), is_point=True)
        assert torch.allclose(found, mode, atol=1e-8) == with_prior


def test_learned_rates_beat_the_fixed_one_and_are_used_to_adapt():
    """One coordinate of phi needs large steps, the other must not move: Meta-SGD finds out."""

    def model(tasks):
        centre = pyro.sample("centre", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(centre, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = (phi * tasks.x["x"]).sum(-1)
                pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)

    generator = torch.Generator().manual_seed(0)
    slope = torch.randn(60, 1, generator=generator, dtype=F64)
    x = torch.randn(60, 10, 2, generator=generator, dtype=F64)
    noise = 0.5 * torch.randn(60, 10, generator=generator, dtype=F64)
    support, query = bm.Tasks.from_arrays(slope * x[..., 0] + noise, x={"x": x}).split(5)
    point = bm.Point(adam=bm.Adam(lr=0.05, steps=300, compile=False))
    posts = [
        bm.fit(model, support, query=query, theta=point, phi=phi, progress=False)
        for phi in (bm.GradientSteps(1, 0.05, learn_lr=True), bm.GradientSteps(1, 0.05))
    ]
    rates = posts[0].fit.state[0].exp()
    assert rates[0] > 0.1 and rates[1] < 0.05
    assert posts[0].losses[-1] < posts[1].losses[-1] - 0.05
    assert not posts[1].fit.state
    adapted = posts[0].adapt(support)
    assert torch.equal(adapted.phi["phi"], posts[0].phi["phi"])
    with pytest.raises(ValueError, match=r"learn_lr=True.* give it to bm\.fit"):
        posts[1].adapt(support, phi=bm.GradientSteps(1, 0.05, learn_lr=True))
    with pytest.raises(ValueError, match="NUTS samples theta and trains nothing"):
        bm.fit(model, support, phi=bm.GradientSteps(1, 0.05, learn_lr=True), progress=False)


def test_steps_that_lead_nowhere_are_reported():
    tasks = normal_means.tasks(num_tasks=4, num_data=5)
    adam = bm.Adam(steps=1, compile=False)
    phi = bm.GradientSteps(3, 0.01)
    post = bm.fit(normal_means.model, tasks, theta=bm.Point(adam=adam), phi=phi, progress=False)
    assert post.adapt(tasks).phi["phi"].isfinite().all()
    # Steps of size 1 overshoot where three datapoints or more give a curvature above 2.
    for steps in (20, 2000):
        with pytest.warns(
            UserWarning, match=r"went down instead of up in . of 4 tasks \('.*smaller"
        ):
            _ = post.adapt(tasks, phi=bm.GradientSteps(steps, 1.0)).phi


@pytest.mark.parametrize(
    "strategy", [bm.GradientSteps, bm.ReptileSteps, bm.VariationalSteps, bm.SteinParticles]
)
def test_steps_that_are_no_whole_number_are_refused(strategy):
    with pytest.raises(TypeError, match=rf"{strategy.__name__} got steps=0\.01; .*whole"):
        strategy(0.01, 5)
    with pytest.raises(TypeError, match=r"steps=1\.5"):
        strategy(1.5)


def kinds(curve=lambda mean: mean):
    """Each datapoint is of a kind, x one-hot, and phi holds a mean for each; theta has the sd."""

    def model(tasks):
        log_sd = pyro.param("log_sd", torch.zeros((), dtype=tasks.dtype))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.ones(3), 3.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = curve((phi * tasks.x["x"]).sum(-1))
                pyro.sample("y", dist.Normal(mean, log_sd.exp()), obs=tasks.y)

    return model


def of_kinds(*counts, seed=0):
    """A task for each triple of counts; and what the means of its kinds are."""
    generator = torch.Generator().manual_seed(seed)
    x = [torch.eye(3, dtype=F64).repeat_interleave(torch.tensor(n), 0) for n in counts]
    y = [torch.randn(len(rows), generator=generator, dtype=F64) + 2 for rows in x]
    means = [(rows.T @ y) / rows.sum(0) for rows, y in zip(x, y, strict=True)]
    return bm.Tasks.from_list(y, {"x": x}), torch.stack(means)


COUNTS = (1, 1, 1), (2, 2, 2), (1, 3, 2), (5, 1, 7)


@pytest.mark.parametrize("strategy", [bm.GradientSteps(1, None), bm.GradientSteps(1, 0.5)])
def test_a_newton_step_is_the_mean_whatever_the_counts_and_a_fixed_one_is_not(strategy):
    tasks, means = of_kinds(*COUNTS)
    known = bm.Fixed({"log_sd": torch.tensor(0.3, dtype=F64)})
    post = bm.fit(kinds(), tasks, theta=known, phi=strategy, progress=False)
    assert torch.allclose(post.free_phi[0, 0], means, atol=1e-12) == (strategy.lr is None)
    tasks, means = of_kinds((4, 1, 9), (1, 2, 1), seed=5)
    found = post.adapt(tasks).free_phi[0, 0]
    assert torch.allclose(found, means, atol=1e-12) == (strategy.lr is None)


def test_newton_steps_with_the_prior_are_the_mode():
    tasks, _ = of_kinds(*COUNTS)
    density, theta = density_of(kinds(), tasks), torch.tensor([[0.3]], dtype=F64)
    found, mode = (
        phi.infer(density, theta, tasks, torch.Generator(), is_point=True)
        for phi in (bm.GradientSteps(1, None, with_prior=True), bm.Mode())
    )
    assert torch.allclose(found, mode, atol=1e-10)


def test_the_outer_gradient_goes_through_the_step_and_its_curvature():
    support, _ = of_kinds((1, 3, 2), (2, 1, 4))
    query, _ = of_kinds((2, 2, 2), (1, 1, 1), seed=1)
    density = density_of(kinds(), support)

    def value(strategy, theta):
        given = support.with_query(query)
        return strategy.log_evidence(density, theta, given).sum()

    for with_prior in (False, True):
        strategy = bm.GradientSteps(1, None, with_prior=with_prior)
        at = torch.tensor([0.3], dtype=F64, requires_grad=True)
        (slope,) = torch.autograd.grad(value(strategy, at), at)
        up, down = (value(strategy, at.detach() + e).item() for e in (1e-5, -1e-5))
        assert slope.item() == pytest.approx((up - down) / 2e-5, rel=1e-7)
    # The negative control: with the prior, how far the step goes depends on theta.
    first = bm.GradientSteps(1, None, with_prior=True, first_order=True)
    (ignoring,) = torch.autograd.grad(value(first, at), at)
    assert abs(ignoring - slope) > 1e-3 * abs(slope)


@pytest.mark.parametrize(
    ("curve", "mix", "fault"),
    [
        (lambda mean: mean, 0.1, "couples coordinates of phi at task '0'"),
        (torch.sin, 0.0, "changes with phi at task '0'"),
        (lambda mean: mean, 0.0, None),
    ],
)
def test_newton_steps_are_refused_where_they_miss_the_maximum(curve, mix, fault):
    tasks, _ = of_kinds(*COUNTS)
    tasks = bm.Tasks.from_arrays(tasks.y, {"x": tasks.x["x"] + mix}, tasks.mask)
    known = bm.Fixed({"log_sd": torch.tensor(0.0)})
    fit = partial(
        bm.fit, kinds(curve), tasks, theta=known, phi=bm.GradientSteps(1, None), progress=False
    )
    if fault is None:
        assert fit().free_phi.isfinite().all()
        return
    with pytest.raises(bm.StructureError, match=f"{fault}; give a number as lr, or take"):
        fit()


def test_a_model_whose_first_tasks_alone_are_diagonal_is_refused_where_it_is_met():
    """Of forty tasks sixteen are tried before; here it is one of the others that couples phi."""
    tasks, _ = of_kinds(*[(2, 2, 2)] * 40)
    x = tasks.x["x"].clone()
    x[1] += 0.3
    known = bm.Fixed({"log_sd": torch.tensor(0.0)})
    odd = bm.Tasks.from_arrays(tasks.y, {"x": x})
    post = bm.fit(kinds(), odd, theta=known, phi=bm.GradientSteps(1, None), progress=False)
    with pytest.raises(bm.StructureError, match=r"maximum .* in 1 of 40 tasks \('1'\)"):
        _ = post.free_phi


def test_what_the_data_say_nothing_of_stays_and_is_named():
    tasks, means = of_kinds((2, 0, 1), (1, 1, 1), (0, 0, 0))
    known = bm.Fixed({"log_sd": torch.tensor(0.0)})
    said = r"in 1 of 3 tasks .*'phi\[1\]' of task '0'; it stays at its prior's mean"
    with pytest.warns(UserWarning, match=said) as warned:
        post = bm.fit(kinds(), tasks, theta=known, phi=bm.GradientSteps(1, None), progress=False)
    found = post.free_phi[0, 0]
    assert len(warned) == 1
    assert torch.equal(found.isnan() | (found == 1), means.isnan())
    assert torch.allclose(found[~means.isnan()], means[~means.isnan()], atol=1e-12)


def test_newton_rates_are_not_learned():
    with pytest.raises(ValueError, match="lr=None, learn_lr=True; rates that are learned start at"):
        bm.GradientSteps(1, None, learn_lr=True)
