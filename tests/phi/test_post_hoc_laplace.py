"""PostHocLaplace: against the exact posterior of linear models, and of a network's last layer."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayesmeta as bm
from bayesmeta.running.isolation import isolated
from tests.phi.test_fine_tune import FEATURES, SGD, SIGMA, TAU, data, linear, network

CONVERGED = bm.FineTune([bm.Full(steps=1500, lr=1e-2)], optimiser=SGD, progress=False)
PROBED = bm.FineTune([bm.Probe(steps=1500, lr=1e-2)], optimiser=SGD, progress=False)


def posterior(model, tasks, theta, phi):
    return bm.fit(model, tasks, theta=bm.Fixed({"theta": theta}), phi=phi, progress=False)


def check_moments(draws, x, y, centre):
    """Draws (draws, d) have the moments of linear regression's posterior, to 5 standard errors."""
    precision = x.T @ x / SIGMA**2 + torch.eye(x.shape[1], dtype=x.dtype) / TAU**2
    cov = torch.linalg.inv(precision)
    mean = cov @ (x.T @ y / SIGMA**2 + centre / TAU**2)
    sd = cov.diagonal().sqrt()
    count = len(draws)
    assert ((draws.mean(0) - mean).abs() < 5 * sd / count**0.5).all()
    error = (cov.square() + sd.square()[:, None] * sd.square()).sqrt() / count**0.5
    assert ((draws.T.cov() - cov).abs() < 5 * error).all()


def check_linear(**options):
    tasks, centre = data(features=FEATURES), torch.linspace(-1, 1, FEATURES).double()
    phi = bm.PostHocLaplace(CONVERGED, draws=4000, **options)
    draws = posterior(linear, tasks, centre, phi).phi["w"][0]
    for i in range(len(tasks)):
        real = tasks.mask[i]
        check_moments(draws[:, i], tasks.x["x"][i, real], tasks.y[i, real], centre)


def test_on_a_linear_model_it_is_exact():
    check_linear(scale=1.0)


def test_with_another_prior_it_is_not():
    with pytest.raises(AssertionError):
        check_linear(scale=0.5)


def test_over_the_last_layer_it_is_linear_regression_on_the_features():
    model, net = network()
    tasks, theta = data(), net.weights().double()
    post = posterior(model, tasks, theta, bm.PostHocLaplace(PROBED, draws=4000, scale=1.0))
    draws, head = post.phi["phi"][0], net.slices["4.weight"].start
    assert (draws[..., :head] == theta[:head]).all()
    body = nn.Sequential(*list(net._module)[:-1]).double()
    torch.nn.utils.vector_to_parameters(theta[:head], body.parameters())
    for i in range(len(tasks)):
        real = tasks.mask[i]
        with torch.no_grad():
            z = body(tasks.x["x"][i, real])
        z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        check_moments(draws[:, i, head:], z, tasks.y[i, real], theta[head:])


def test_the_scale_is_the_one_with_most_evidence():
    """Of a grid, by dense determinants, for each task."""
    from bayesmeta.phi.post_hoc_laplace import _SCALES, _best_scale
    from bayesmeta.task_level.positive_definite import LowRankPrecision

    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows, moved = normal(3, 4, 6), normal(3, 6)
    moved[1] *= 30
    diagonal = normal(3, 6).exp()
    found = _best_scale(LowRankPrecision(diagonal, rows), moved)[:, 0]
    for i in range(3):
        values = []
        for scale in _SCALES:
            prior = torch.diag(diagonal[i]) / scale**2
            whole = prior + rows[i].T @ rows[i]
            values.append(
                0.5 * (prior.logdet() - whole.logdet()) - 0.5 * moved[i] @ prior @ moved[i]
            )
        assert found[i] == _SCALES[torch.stack(values).argmax()]
    assert found[1] > found[0]


def test_classes_get_less_certain_and_the_log_score_no_worse():
    """A probe on few labels is too sure; half the labels are noise."""
    with isolated(0):
        x = torch.randn(1, 230, 10)
        y = (x.sum(-1) + 4 * torch.randn(1, 230) > 0).float()
        net = bm.nets.Net(nn.Sequential(nn.Linear(10, 2)))

    def model(tasks):
        theta = pyro.param("theta", torch.zeros(net.size))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                logits = net(phi, tasks.x["x"])
                pyro.sample("y", dist.Categorical(logits=logits), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(y[:, :30], {"x": x[:, :30]})
    query = tasks.with_query(bm.Tasks.from_arrays(y[:, 30:], {"x": x[:, 30:]})).query
    tuning = bm.FineTune([bm.Full(steps=400, lr=0.1)], with_prior=False, progress=False)
    point = posterior(model, tasks, torch.zeros(net.size), tuning)
    spread = posterior(model, tasks, torch.zeros(net.size), bm.PostHocLaplace(tuning))
    scores = [float(p.log_score(query).mean()) for p in (point, spread)]
    sure = [float(p.predict(query).mean.amax(-1).mean()) for p in (point, spread)]
    assert scores[1] > scores[0] + 0.02
    assert sure[1] < sure[0] - 0.02


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: bm.PostHocLaplace(bm.Full()), TypeError),
        (lambda: bm.PostHocLaplace(layers="phi.4"), TypeError),
        (lambda: bm.PostHocLaplace(draws=0), ValueError),
        (lambda: bm.PostHocLaplace(scale=0.0), ValueError),
        (lambda: bm.PostHocLaplace(held_out=1.0), ValueError),
        (lambda: bm.PostHocLaplace(scale=1.0, held_out=0.2), ValueError),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, error):
    with pytest.raises(error, match="PostHocLaplace got"):
        make()


def test_layers_that_phi_does_not_have_are_refused():
    model, net = network()
    phi = bm.PostHocLaplace(PROBED, layers=["phi.5"])
    with pytest.raises(bm.StructureError, match=r"no layer 'phi.5'"):
        posterior(model, data(), net.weights().double(), phi)


def test_it_tells_the_scale_of_each_task_and_takes_the_priors_without_data():
    tasks = data(features=FEATURES)
    tasks = bm.Tasks.from_list(
        [*(tasks.y[i, tasks.mask[i]] for i in range(3)), torch.zeros(0).double()],
        {"x": [*(tasks.x["x"][i, tasks.mask[i]] for i in range(3)), torch.zeros(0, 4).double()]},
    )
    centre = torch.linspace(-1, 1, FEATURES).double()
    chosen = posterior(linear, tasks, centre, bm.PostHocLaplace(CONVERGED, draws=3))
    scales = chosen.phi_stats["scale"]
    assert scales.shape == (1, 3, 4) and scales[0, 0, 3] == 1
    assert chosen.phi_stats["loss"].shape[:3] == (1, 3, 4)
    for i, scale in enumerate(scales[0, 0].tolist()):
        phi = bm.PostHocLaplace(CONVERGED, draws=3, scale=scale)
        again = posterior(linear, tasks, centre, phi)
        torch.testing.assert_close(again.free_phi[0, :, i], chosen.free_phi[0, :, i])
        assert (again.phi_stats["scale"] == scale).all()


def test_the_scale_that_held_out_data_choose_is_near_the_best_on_others():
    """Where classes are certain a normal as wide as the prior, or wider, is sure of nothing."""
    with isolated(0):
        x = torch.randn(4, 240, 6)
        y = (x.sum(-1) > 0).float()
        net = bm.nets.Net(nn.Sequential(nn.Linear(6, 2)))

    def model(tasks):
        theta = pyro.param("theta", torch.zeros(net.size))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                logits = net(phi, tasks.x["x"])
                pyro.sample("y", dist.Categorical(logits=logits), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(y[:, :40], {"x": x[:, :40]})
    query = tasks.with_query(bm.Tasks.from_arrays(y[:, 40:], {"x": x[:, 40:]})).query
    tuning = bm.FineTune([bm.Full(steps=300, lr=0.1)], progress=False)

    def score(**options):
        phi = bm.PostHocLaplace(tuning, **options)
        return float(posterior(model, tasks, torch.zeros(net.size), phi).log_score(query).mean())

    fixed = [score(scale=scale) for scale in (1e-3, 0.3, 1.0, 3.0, 100.0)]
    assert score(held_out=0.4) > max(fixed) - 0.02
    # A joint score of what is held out would be that of the luckiest draw, and could be any scale.
    assert max(fixed) > fixed[-1] + 0.03


def test_a_task_with_none_to_hold_out_is_named_and_takes_the_evidence():
    model, net = network()
    tasks = bm.Tasks.from_list(
        [torch.zeros(1).double(), torch.randn(9).double()],
        {"x": [torch.ones(1, 3).double(), torch.randn(9, 3).double()]},
    )
    theta = net.weights().double()
    with pytest.warns(UserWarning, match=r"1 of 2 tasks \('0'\).*scale is the evidence's"):
        found = posterior(model, tasks, theta, bm.PostHocLaplace(PROBED, held_out=0.6)).phi_stats
    evidence = posterior(model, tasks, theta, bm.PostHocLaplace(PROBED)).phi_stats["scale"]
    assert found["scale"][0, 0, 0] == evidence[0, 0, 0]
