"""FineTune: against closed forms on linear models; which layers move, and which do not."""

from __future__ import annotations

import itertools
import signal
import threading
import warnings
from dataclasses import replace
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayesmeta as bm
from bayesmeta.model.prior import prior_mean, theta_start
from bayesmeta.model.reading import read
from bayesmeta.running.isolation import isolated

SGD = partial(torch.optim.SGD, momentum=0.9)
FEATURES, TAU, SIGMA = 4, 0.5, 0.3


def linear(tasks):
    centre = pyro.param("theta", torch.zeros(FEATURES, dtype=tasks.dtype))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(centre, TAU).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal((w * tasks.x["x"]).sum(-1), SIGMA), obs=tasks.y)


def network(hidden=(6, 6), seed=0):
    """A network of tanh layers as phi around theta, with the network."""
    with isolated(seed):
        sizes = (3, *hidden, 1)
        layers = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.Tanh()]
        net = bm.nets.Net(nn.Sequential(*layers[:-1]))

    def model(tasks):
        theta = pyro.param("theta", lambda: net.weights().to(tasks.dtype))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, TAU).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = net(phi, tasks.x["x"])[..., 0]
                pyro.sample("y", dist.Normal(mean, SIGMA), obs=tasks.y)

    return model, net


def data(num_tasks=3, shots=12, features=3, seed=1):
    """Ragged: the second task has two thirds of the datapoints."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_tasks, shots, features, generator=generator, dtype=torch.float64)
    w = torch.randn(num_tasks, features, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_tasks, shots, generator=generator, dtype=torch.float64)
    mask = torch.ones(num_tasks, shots, dtype=torch.bool)
    mask[1, shots * 2 // 3 :] = False
    return bm.Tasks.from_arrays(torch.sin(x @ w)[..., 0] + 0.1 * noise, {"x": x}, mask)


def tuned(model, tasks, theta, stages, **options):
    """phi (tasks, d_phi) after these stages."""
    strategy = bm.FineTune(stages, progress=False, **options)
    post = bm.fit(model, tasks, theta=bm.Fixed({"theta": theta}), phi=strategy, progress=False)
    return post.free_phi[0, 0]


def ridge(x, y, centre):
    """MAP of y = x w + noise under w ~ N(centre, TAU^2)."""
    precision = x.T @ x / SIGMA**2 + torch.eye(x.shape[1], dtype=x.dtype) / TAU**2
    return torch.linalg.solve(precision, x.T @ y / SIGMA**2 + centre / TAU**2)


def check_l2_sp(**options):
    """The minimum is MAP under the Gaussian prior at theta: L2-SP (Li et al. 2018)."""
    tasks, centre = data(features=FEATURES), torch.linspace(-1.0, 1.0, FEATURES).double()
    stage = bm.Full(steps=1500, lr=1e-2)
    found = tuned(linear, tasks, centre, [stage], optimiser=SGD, **options)
    for i in range(len(tasks)):
        real = tasks.mask[i]
        exact = ridge(tasks.x["x"][i, real], tasks.y[i, real], centre)
        torch.testing.assert_close(found[i], exact, atol=1e-8, rtol=0)


def test_l2_sp_is_map_under_the_gaussian_prior():
    check_l2_sp()


def test_without_the_prior_it_is_not():
    with pytest.raises(AssertionError):
        check_l2_sp(with_prior=False)


def test_a_probe_is_ridge_regression_on_the_features():
    model, net = network()
    tasks, theta = data(), net.weights().double()
    found = tuned(model, tasks, theta, [bm.Probe(steps=4000, lr=1e-2)], optimiser=SGD)
    head = net.slices["4.weight"].start
    body = nn.Sequential(*list(net._module)[:-1]).double()
    torch.nn.utils.vector_to_parameters(theta[:head], body.parameters())
    for i in range(len(tasks)):
        real = tasks.mask[i]
        with torch.no_grad():
            z = body(tasks.x["x"][i, real])
        z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        exact = ridge(z, tasks.y[i, real], theta[head:])
        torch.testing.assert_close(found[i, head:], exact, atol=1e-6, rtol=0)
        assert torch.equal(found[i, :head], theta[:head])


def test_what_does_not_move_is_computed_once():
    """After folding, a probe's step has no tanh left; a full step has one each layer."""
    from bayesmeta.engine.task_noise import TaskNoise
    from bayesmeta.fine_tuning.tuning import Loss, Tuner
    from bayesmeta.model.density import Density
    from bayesmeta.nets.phi_layers import read_layers
    from bayesmeta.task_level.partial_density import PartialDensity

    model, _ = network()
    tasks = data()
    density = Density(read(model, tasks))
    theta = theta_start(density, tasks)
    layers = read_layers(density, theta, tasks)
    loss = Loss(density, theta, tasks, with_prior=True)
    noise = TaskNoise(torch.Generator(), tasks)
    tuner = Tuner(loss, layers, torch.optim.Adam, None, None, None, noise)
    phi = prior_mean(density, theta, tasks)
    probe, full = layers.of("phi.4"), layers.of("phi")
    counts = []
    for moves in (probe, full):
        step = tuner._step(PartialDensity(density, layers, moves, phi))
        counts.append(sum("tanh.default" in str(n.target) for n in step.graph.nodes))
        value, gradient = step(phi[:, moves])
        at = phi.clone().requires_grad_()
        (exact,) = torch.autograd.grad(loss(at, tasks).sum(), at)
        torch.testing.assert_close(gradient, exact[:, moves])
        torch.testing.assert_close(value, loss(phi, tasks).sum())
    assert counts == [0, 2]


@pytest.mark.parametrize(
    ("stage", "still"),
    [
        (bm.Probe(steps=5), ["0", "2"]),
        (bm.Surgical("phi.2", steps=5), ["0", "4"]),
        (bm.Surgical("phi.0.bias", steps=5), ["0.weight", "2", "4"]),
        (bm.Full(steps=5), []),
        (bm.Gradual(steps=5), []),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, bm.Stage) else "",
)
def test_only_the_named_layers_move(stage, still):
    model, net = network()
    theta = net.weights().double()
    found = tuned(model, data(), theta, [stage])
    for name, place in net.slices.items():
        is_still = any(name == s or name.startswith(s + ".") for s in still)
        moved = (found[:, place] - theta[place]).abs().amax()
        assert (moved == 0) == is_still, name


def test_layer_wise_decay_is_a_rate_a_block():
    """The first step of SGD is the gradient times each block's rate."""
    model, net = network()
    theta, tasks = net.weights().double(), data()
    steps = [
        tuned(model, tasks, theta, [bm.Full(steps=1, lr=0.1, decay=d)], optimiser=torch.optim.SGD)
        - theta
        for d in (1.0, 0.5)
    ]
    for block, factor in (("0", 0.25), ("2", 0.5), ("4", 1.0)):
        place = net.slices[f"{block}.weight"]
        torch.testing.assert_close(steps[1][:, place], factor * steps[0][:, place])


@pytest.mark.parametrize(
    "phi", [bm.FineTune([bm.Full(steps=5)], progress=False), bm.GradientSteps(3), bm.Laplace(5)]
)
def test_what_is_frozen_stays_and_is_said(phi):
    with bm.nets.isolated(0):
        module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    module[0].requires_grad_(False)
    net = bm.nets.Net(module)

    def model(tasks):
        theta = pyro.param("theta", lambda: net.weights().to(tasks.dtype))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                loc = net(phi, tasks.x["x"]).squeeze(-1)
                pyro.sample("y", dist.Normal(loc, 1.0), obs=tasks.y)

    x = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tasks = bm.Tasks.from_arrays(x.sum(-1), {"x": x})
    fixed = bm.Fixed({"theta": net.weights().double()})
    post = bm.fit(model, tasks, theta=fixed, phi=phi, progress=False)
    assert post.phi["phi"].shape[-1] == 6
    assert (post.phi["phi"][0, 0] - net.weights()).abs().amax(-1).gt(0).all()
    if isinstance(phi, bm.FineTune):
        said = phi.summary(post).splitlines()[-1]
        assert said.startswith("Frozen by requires_grad=False, and no part of 'phi': 20 numbers")
        assert "0.weight" in said


def test_gradual_unfreezing_goes_from_either_end():
    model, net = network()
    fit = bm.Fixed({"theta": net.weights().double()})
    for from_input, order in ((False, ["phi.4", "phi.2", "phi.0"]), (True, ["phi.0", "phi.2"])):
        strategy = bm.FineTune([bm.Gradual(steps=1, from_input=from_input)], progress=False)
        post = bm.fit(model, data(), theta=fit, phi=strategy, progress=False)
        lines = strategy.summary(post).splitlines()
        assert len(lines) == 3
        for k, name in enumerate(order):
            assert name in lines[k] and (k == 0 or name not in lines[k - 1])
    assert f"{net.size} of {net.size} numbers" in lines[-1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"held_out": 0.3},
        pytest.param({"optimiser": torch.optim.Adafactor}, marks=pytest.mark.slow),
    ],
)
def test_surgery_finds_the_block_that_is_best_on_held_out_data(options):
    """Outcomes lie where no other layer can reach; the gradient beside the weights says another."""
    model, net = network()
    theta, tasks = net.weights().double(), data(shots=40)
    last = slice(net.slices["4.weight"].start, net.size)
    theta[net.slices["4.weight"]] *= 4
    tasks = bm.Tasks.from_arrays(tasks.y + 30, dict(tasks.x), tasks.mask)
    settings = {"steps": 300, "lr": 0.3 if options.get("optimiser") else 0.1}
    found = tuned(model, tasks, theta, [bm.Surgical(**settings)], with_prior=False, **options)
    assert torch.equal(found[:, : last.start], theta[: last.start].expand(3, -1))
    assert (found[:, last] != theta[last]).all()
    # What it chose by is trained on as well: phi is what the block by its name gives.
    named = [bm.Surgical("phi.4", **settings)]
    torch.testing.assert_close(
        found, tuned(model, tasks, theta, named, with_prior=False, **options)
    )


def test_surgery_is_refused_where_no_data_are_to_spare():
    model, net = network()
    tasks = bm.Tasks.from_list(
        [torch.zeros(1), torch.zeros(8)], {"x": [torch.ones(1, 3), torch.ones(8, 3)]}
    )
    with pytest.raises(bm.StructureError, match=r"task '0' has none to spare.*Surgical\('phi.4'\)"):
        tuned(model, tasks, net.weights(), [bm.Surgical(steps=1)])


def test_the_losses_are_kept_task_by_task(tmp_path):
    model, net = network()
    tasks, theta = data(), net.weights().double()
    known, stages = bm.Fixed({"theta": theta}), [bm.Probe(steps=40), bm.Full(steps=10)]
    posts = [
        bm.fit(model, given, theta=known, phi=bm.FineTune(stages, progress=False), progress=False)
        for given in (tasks, tasks.select(torch.tensor([1])))
    ]
    losses = posts[0].phi_stats["loss"]
    assert losses.shape == (1, 1, 3, 30) and (losses[..., -1] < losses[..., 0]).all()
    torch.testing.assert_close(losses[0, 0, 1], posts[1].phi_stats["loss"][0, 0, 0])
    # The last is the loss at phi, less what the prior has at its own mean.
    density, at = posts[0].density, posts[0].free_phi[0, 0]
    there, least = (
        density.terms(theta, phi, tasks, jacobian=False) for phi in (at, theta.expand(3, -1))
    )
    expected = -(there.data + there.phi - least.phi) / tasks.sizes
    torch.testing.assert_close(losses[0, 0, :, -1], expected)
    assert posts[0].adapt(tasks).phi_stats["loss"].shape == losses.shape
    posts[0].save(tmp_path / "post")
    kept = bm.load(tmp_path / "post", model).phi_stats["loss"]
    torch.testing.assert_close(kept, losses)
    still = bm.fit(model, tasks, theta=known, phi=bm.GradientSteps(0), progress=False)
    assert still.phi_stats == {}


@pytest.mark.parametrize("fresh", ["phi.4.bias", "phi.4"])
def test_a_fresh_parameter_is_drawn_anew(fresh):
    model, net = network()
    theta = net.weights().double()
    found = tuned(model, data(), theta, [], fresh=fresh)
    for name, place in net.slices.items():
        is_fresh = f"phi.{name}".startswith(fresh)
        assert (found[:, place] != theta[place]).all() == is_fresh, name


def test_a_fresh_layer_starts_anew_and_the_others_at_theta():
    model, net = network()
    theta = net.weights().double()
    found = tuned(model, data(), theta, [], fresh="phi.4")
    head = net.slices["4.weight"].start
    assert torch.equal(found[:, :head], theta[:head].expand(3, -1))
    assert (found[:, head:] != theta[head:]).all()
    assert found[:, head:].abs().max() <= 6**-0.5  # torch's bound for six inputs


def test_what_is_held_out_chooses_when_to_stop():
    """Labels of noise: every step away from theta makes what is held out worse."""
    model, net = network(hidden=(30,))
    tasks = data(shots=20)
    with isolated(3), torch.no_grad():
        theta = net.weights().double()
        noise = 3 * torch.randn(tasks.y.shape, dtype=torch.float64)
    tasks = bm.Tasks.from_arrays(noise, dict(tasks.x), tasks.mask)
    unseen = bm.Tasks.from_arrays(3 * torch.randn(3, 200).double(), {"x": torch.randn(3, 200, 3)})
    scores = []
    for options in ({}, {"held_out": 0.4}):
        strategy = bm.FineTune([bm.Full(steps=300, lr=0.03)], progress=False, **options)
        known = bm.Fixed({"theta": theta})
        post = bm.fit(model, tasks, theta=known, phi=strategy, progress=False)
        scores.append(float(post.adapt(tasks).log_score(_named(unseen, tasks)).mean()))
    assert scores[1] > scores[0] + 1


def _named(other, tasks):
    return tasks.with_query(other).query


def test_minibatches_come_near_the_same_minimum():
    tasks, centre = data(shots=40, features=FEATURES), torch.zeros(FEATURES).double()
    stages = [bm.Full(steps=600, lr=0.02), bm.Full(steps=600, lr=0.001)]
    whole, batched = (tuned(linear, tasks, centre, stages, batch_size=b) for b in (None, 8))
    assert not torch.equal(whole, batched)
    assert (whole - batched).abs().max() < 0.1


def test_a_task_that_diverges_stays_and_is_named():
    model, net = network()
    with pytest.warns(UserWarning, match=r"no number in 3 of 3 tasks \('0', '1', '2'\)"):
        found = tuned(
            model,
            data(),
            net.weights().double(),
            [bm.Full(steps=60, lr=1e200)],
            optimiser=torch.optim.SGD,
        )
    assert found.isfinite().all()


def test_an_interrupt_keeps_what_was_reached():
    model, net = network()
    timer = threading.Timer(4.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    theta = net.weights().double()
    with pytest.warns(UserWarning, match="interrupted in stage 2 of 2"):
        found = tuned(model, data(), theta, [bm.Full(steps=5), bm.Full(steps=10**6)])
    assert (found != theta).any(1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": [bm.Surgical("phi.1")]}, r"no layer 'phi.1'; its layers are phi.0, phi.2"),
        ({"blocks": ["phi.0", "phi.4"]}, "'phi.2.weight' is in no block"),
        ({"blocks": ["phi", "phi.4"]}, "'phi.4.weight' is in several blocks"),
        ({"fresh": "phi.9"}, "no layer 'phi.9'"),
    ],
)
def test_names_that_phi_does_not_have_are_refused(options, message):
    model, net = network()
    known = bm.Fixed({"theta": net.weights()})
    with pytest.raises(bm.StructureError, match=message):
        bm.fit(model, data(), theta=known, phi=bm.FineTune(**options), progress=False)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bm.FineTune([bm.Full]), TypeError, "give a list of stages"),
        (lambda: bm.FineTune(bm.Probe()), TypeError, "give a list of stages"),
        (lambda: bm.FineTune("probe"), TypeError, "stages='probe'; give a list"),
        (lambda: bm.FineTune(optimiser="adam"), TypeError, "give a class, such as"),
        (lambda: bm.FineTune(batch_size=0), ValueError, "at least 1, or None"),
        (lambda: bm.Full(lr="0.1"), TypeError, "lr='0.1'; give a finite number"),
        (lambda: bm.Full(lr=float("nan")), ValueError, "finite"),
        (lambda: bm.Probe(steps=10.5), TypeError, "steps=10.5; give a whole number"),
        (lambda: bm.FineTune(blocks="phi.0"), TypeError, "a sequence of names"),
        (lambda: bm.FineTune(patience=3), ValueError, "patience needs a share"),
        (lambda: bm.Full(lr=-1.0), ValueError, "lr=-1.0; .*above 0"),
        (lambda: bm.Full(decay=0.0), ValueError, "decay=0.0; .*above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_probe_of_everything_is_warned_of():
    tasks, known = data(features=FEATURES), bm.Fixed({"theta": torch.zeros(FEATURES)})
    with pytest.warns(UserWarning, match="a single layer, 'w', so that"):
        bm.fit(linear, tasks, theta=known, phi=bm.FineTune(progress=False), progress=False)


def test_it_infers_no_theta():
    model, _ = network()
    with pytest.raises(ValueError, match="has no log evidence"):
        bm.fit(model, data(), theta=bm.Point(), phi=bm.FineTune(), progress=False)


def test_fit_without_progress_silences_it(capsys):
    model, net = network()
    known, phi = bm.Fixed({"theta": net.weights()}), bm.FineTune([bm.Full(steps=2)])
    for strategy in (phi, bm.PostHocLaplace(phi, draws=2)):
        post = bm.fit(model, data(), theta=known, phi=strategy, progress=False)
        assert post.strategy == strategy and post.free_phi.isfinite().all()
        assert capsys.readouterr().err == ""


def test_the_loss_shown_is_zero_at_best(capsys, monkeypatch):
    """Data that the start explains: a penalty of 0, and no constants of the prior."""
    # As narrow as a terminal is by default.
    monkeypatch.setenv("COLUMNS", "80")
    tasks = data(features=FEATURES)
    tasks = replace(tasks, y=0 * tasks.y)
    tuning = bm.FineTune([bm.Full(steps=20)])
    theta = torch.zeros(FEATURES, dtype=torch.float64)
    post = bm.fit(linear, tasks, theta=bm.Fixed({"theta": theta}), phi=tuning)
    assert not post.free_phi.any()
    said = capsys.readouterr().err
    assert "loss=" in said, said
    shown = float(said.rsplit("loss=", 1)[1].split("]")[0])
    at_best = dist.Normal(0.0, SIGMA).log_prob(torch.tensor(0.0))
    assert shown == pytest.approx(-float(at_best), abs=1e-3)


def test_it_runs_silently_and_without_warnings(capsys):
    model, net = network()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tuned(model, data(), net.weights().double(), [bm.Full(steps=2)])
    assert capsys.readouterr().err == ""
